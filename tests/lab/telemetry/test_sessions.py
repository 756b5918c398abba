from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import closing

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from bookstore.database import embedded
from bookstore.database.embedded import Cluster
from bookstore.database.url import conninfo
from bookstore.lab.telemetry.sessions import APPLICATION_NAME, NoAnswer, Sessions
from bookstore.lab.testbed.process import wait_until
from bookstore.reaper import Reaper

WITHIN_S = 30
WORKER = 4711
OURS = f"bookstore/asyncpg-json/{WORKER}"

SETTINGS = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_utility": "off"}


@pytest.fixture(scope="module")
def cluster(reaper: Reaper) -> Iterator[Cluster]:
    """A server with pg_stat_statements and a database `shop`."""
    with embedded.temporary(reaper, SETTINGS) as cluster:
        with psycopg.connect(conninfo(cluster.url()), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
            connection.execute("CREATE DATABASE shop")
        yield cluster


@pytest.fixture
def own(cluster: Cluster) -> Iterator[psycopg.Connection]:
    url = conninfo(cluster.url())
    with psycopg.connect(url, autocommit=True, application_name=APPLICATION_NAME) as connection:
        assert wait_until(lambda: _others(connection) == 0, WITHIN_S)  # those of the test before
        yield connection


def _others(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    ).fetchone()
    assert row
    return int(row[0])


def connect(cluster: Cluster, name: str, database: str = "shop", *, autocommit: bool = True) -> psycopg.Connection:
    return psycopg.connect(conninfo(cluster.url(database)), application_name=name, autocommit=autocommit)


def asked(sessions: Sessions) -> Mapping[str, float]:
    sessions.ask()
    return sessions.answer(time.monotonic() + WITHIN_S)


def test_states(cluster: Cluster, own: psycopg.Connection) -> None:
    """Each session counts in its state, of those that name a worker; others are foreign, the lab's own nowhere."""
    with (
        closing(connect(cluster, OURS)) as busy,
        connect(cluster, OURS) as _idle,
        connect(cluster, OURS, autocommit=False) as within,
        connect(cluster, OURS, autocommit=False) as failed,
        closing(connect(cluster, OURS)) as waiting,
        connect(cluster, f"bookstore/asyncpg-json/{WORKER + 1}") as _another_worker,
        connect(cluster, "pgbench") as _other,
        connect(cluster, APPLICATION_NAME) as _the_lab,
    ):
        within.execute("SELECT pg_advisory_xact_lock(1)")
        with pytest.raises(psycopg.Error):
            failed.execute("SELECT 1/0")
        for one, sql in ((waiting, "SELECT pg_advisory_lock(1)"), (busy, "SELECT pg_sleep(600)")):
            one.pgconn.send_query(sql.encode())
            one.pgconn.flush()
        sessions = Sessions(own, [WORKER, 5], "shop", named=True)
        assert wait_until(lambda: asked(sessions)["sessions_waiting"] == 2, WITHIN_S)  # for a lock, and asleep
        assert {name: value for name, value in asked(sessions).items() if name.startswith(("sess", "conn", "max"))} == {
            "sessions_active": 2,
            "sessions_idle": 1,
            "sessions_idle_in_transaction": 2,
            "sessions_other": 0,
            "sessions_waiting": 2,
            "sessions_foreign": 2,
            "connections": 5,
            "max_connections": 100,
        }
        for one in (waiting, busy):
            one.cancel()


def test_unnamed(cluster: Cluster, own: psycopg.Connection) -> None:
    """Of a service that does not name its sessions, all in its database are its own."""
    with connect(cluster, "django"), connect(cluster, ""), connect(cluster, "django", "postgres"):
        found = asked(Sessions(own, [WORKER], "shop", named=False))
    assert (found["connections"], found["sessions_foreign"]) == (2, 1)


def test_statements(cluster: Cluster, own: psycopg.Connection) -> None:
    """Statements and rows count at once, those of the database alone, and without BEGIN and COMMIT; the lab's own
    statement is told apart."""
    sessions = Sessions(own, [WORKER], "shop", named=True)
    before = asked(sessions)
    with connect(cluster, OURS, autocommit=False) as shop, connect(cluster, OURS, "postgres") as elsewhere:
        for _ in range(3):
            shop.execute("SELECT * FROM generate_series(1, 7)")
        shop.commit()
        elsewhere.execute("SELECT * FROM generate_series(1, 9)")
        after = asked(sessions)
    assert (after["statements"] - before["statements"], after["rows"] - before["rows"]) == (3, 21)
    assert after["statements_ms"] > before["statements_ms"]
    assert after["own_ms"] > before["own_ms"]


def test_own_statement_in_the_same_database(cluster: Cluster) -> None:
    """Where the lab looks from within the service's database, its statement is not the service's."""
    with connect(cluster, APPLICATION_NAME) as own:
        own.execute("CREATE EXTENSION pg_stat_statements")
        sessions = Sessions(own, [WORKER], "shop", named=True)
        first, second, third = asked(sessions), asked(sessions), asked(sessions)
        own.execute("DROP EXTENSION pg_stat_statements")
    assert first["statements"] == second["statements"] == third["statements"]
    assert third["own_ms"] > first["own_ms"]


def test_commits(cluster: Cluster, own: psycopg.Connection) -> None:
    """Commits and rollbacks of the database are told when the session that made them has gone, at the latest."""
    sessions = Sessions(own, [WORKER], "shop", named=True)
    before = asked(sessions)
    with connect(cluster, OURS, autocommit=False) as shop:
        for _ in range(3):
            shop.execute("SELECT 1")
            shop.commit()
        shop.execute("SELECT 1")
        shop.rollback()
    assert wait_until(lambda: asked(sessions)["rollbacks"] == before["rollbacks"] + 1, WITHIN_S)
    assert asked(sessions)["commits"] - before["commits"] >= 3
    assert asked(sessions)["blocks"] >= asked(sessions)["hits"] > 0


def test_without_the_extension(cluster: Cluster) -> None:
    """A server without pg_stat_statements tells all but statements."""
    with connect(cluster, APPLICATION_NAME, "template1") as own:
        found = asked(Sessions(own, [WORKER], "shop", named=True))
    assert found["max_connections"] == 100
    assert "statements" not in found


def test_without_its_library(reaper: Reaper) -> None:
    """So does one where the extension is made and its library not loaded, which refuses to be asked."""
    with embedded.temporary(reaper) as bare, connect(bare, APPLICATION_NAME, "postgres") as own:
        own.execute("CREATE EXTENSION pg_stat_statements")
        found = asked(Sessions(own, [WORKER], "postgres", named=True))
    assert "connections" in found
    assert "statements" not in found


def test_a_server_that_hangs(cluster: Cluster, own: psycopg.Connection) -> None:
    """An answer that is not there in time is none; when the server goes on, so do the answers."""
    sessions = Sessions(own, [WORKER], "shop", named=True)
    backend = own.info.backend_pid
    os.kill(backend, signal.SIGSTOP)
    try:
        for _ in range(3):
            sessions.ask()
            with pytest.raises(NoAnswer, match="too late"):
                sessions.answer(time.monotonic() + 0.01)
    finally:
        os.kill(backend, signal.SIGCONT)

    def answers() -> bool:
        try:
            return asked(sessions)["max_connections"] == 100
        except NoAnswer:
            return False  # the answer of the look that was given up is still on its way

    assert wait_until(answers, WITHIN_S)
    sessions.close()
    assert own.execute("SELECT 7").fetchone() == (7,)
    assert own.info.transaction_status == TransactionStatus.IDLE


def test_close_with_an_answer_owed(cluster: Cluster) -> None:
    """The connection is as it was, where the server answers at last, and closed where it does not."""
    with connect(cluster, APPLICATION_NAME) as own:
        sessions = Sessions(own, [WORKER], "shop", named=True)
        sessions.ask()
        sessions.close(WITHIN_S)
        assert own.execute("SELECT 7").fetchone() == (7,)
        backend = own.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        try:
            sessions.ask()
            sessions.close(within_s=0.01)
            assert own.closed
        finally:
            os.kill(backend, signal.SIGCONT)


def test_a_server_that_is_gone(reaper: Reaper) -> None:
    """A connection that breaks, or is closed from the start, answers nothing and raises nothing else."""
    with embedded.temporary(reaper) as brief, connect(brief, APPLICATION_NAME, "postgres") as own:
        sessions = Sessions(own, [WORKER], "postgres", named=True)
        asked(sessions)
        brief.stop("immediate")
        for _ in range(2):
            sessions.ask()
            with pytest.raises(NoAnswer):
                sessions.answer(time.monotonic() + WITHIN_S)
        own.close()
        sessions = Sessions(own, [WORKER], "postgres", named=True)
        sessions.ask()
        with pytest.raises(NoAnswer):
            sessions.answer(time.monotonic() + WITHIN_S)
        sessions.close()
