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
    with embedded.temporary_cluster(reaper, SETTINGS) as cluster:
        with psycopg.connect(conninfo(cluster.url()), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
            connection.execute("CREATE DATABASE shop")
        yield cluster


@pytest.fixture
def own(cluster: Cluster) -> Iterator[psycopg.Connection]:
    url = conninfo(cluster.url())
    with psycopg.connect(url, autocommit=True, application_name=APPLICATION_NAME) as connection:
        assert wait_until(lambda: other_sessions(connection) == 0, WITHIN_S)  # sessions of the previous test
        yield connection


def other_sessions(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    ).fetchone()
    assert row
    return int(row[0])


def connect(cluster: Cluster, name: str, database: str = "shop", *, autocommit: bool = True) -> psycopg.Connection:
    return psycopg.connect(conninfo(cluster.url(database)), application_name=name, autocommit=autocommit)


def query(sessions: Sessions) -> Mapping[str, float]:
    sessions.send()
    return sessions.receive(time.monotonic() + WITHIN_S)


def test_states(cluster: Cluster, own: psycopg.Connection) -> None:
    """Each session that names a worker counts in its state; others are foreign, and the lab's own are not counted."""
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
        for connection, sql in ((waiting, "SELECT pg_advisory_lock(1)"), (busy, "SELECT pg_sleep(600)")):
            connection.pgconn.send_query(sql.encode())
            connection.pgconn.flush()
        sessions = Sessions(own, [WORKER, 5], "shop", named=True)
        assert wait_until(lambda: query(sessions)["sessions_waiting"] == 2, WITHIN_S)  # for a lock, and in pg_sleep
        assert {name: value for name, value in query(sessions).items() if name.startswith(("sess", "conn", "max"))} == {
            "sessions_active": 2,
            "sessions_idle": 1,
            "sessions_idle_in_transaction": 2,
            "sessions_other": 0,
            "sessions_waiting": 2,
            "sessions_foreign": 2,
            "connections": 5,
            "max_connections": 100,
        }
        for connection in (waiting, busy):
            connection.cancel()


def test_unnamed(cluster: Cluster, own: psycopg.Connection) -> None:
    """All sessions in the database of an external service are its own."""
    with connect(cluster, "django"), connect(cluster, ""), connect(cluster, "django", "postgres"):
        figures = query(Sessions(own, [WORKER], "shop", named=False))
    assert (figures["connections"], figures["sessions_foreign"]) == (2, 1)


def test_statements(cluster: Cluster, own: psycopg.Connection) -> None:
    """Statements and rows of this database count at once, without BEGIN, COMMIT and the lab's own query."""
    sessions = Sessions(own, [WORKER], "shop", named=True)
    before = query(sessions)
    with connect(cluster, OURS, autocommit=False) as shop, connect(cluster, OURS, "postgres") as elsewhere:
        for _ in range(3):
            shop.execute("SELECT * FROM generate_series(1, 7)")
        shop.commit()
        elsewhere.execute("SELECT * FROM generate_series(1, 9)")
        after = query(sessions)
    assert (after["statements"] - before["statements"], after["rows"] - before["rows"]) == (3, 21)
    assert after["statements_ms"] > before["statements_ms"]
    assert after["own_ms"] > before["own_ms"]


def test_own_statement_in_the_same_database(cluster: Cluster) -> None:
    """If the lab queries from within the service's database, its query is not counted as the service's."""
    with connect(cluster, APPLICATION_NAME) as own:
        own.execute("CREATE EXTENSION pg_stat_statements")
        sessions = Sessions(own, [WORKER], "shop", named=True)
        first, second, third = query(sessions), query(sessions), query(sessions)
        own.execute("DROP EXTENSION pg_stat_statements")
    assert first["statements"] == second["statements"] == third["statements"]
    assert third["own_ms"] > first["own_ms"]


def test_commits(cluster: Cluster, own: psycopg.Connection) -> None:
    """Commits and rollbacks are reported at the latest when the session that made them has ended."""
    sessions = Sessions(own, [WORKER], "shop", named=True)
    before = query(sessions)
    with connect(cluster, OURS, autocommit=False) as shop:
        for _ in range(3):
            shop.execute("SELECT 1")
            shop.commit()
        shop.execute("SELECT 1")
        shop.rollback()
    assert wait_until(lambda: query(sessions)["rollbacks"] == before["rollbacks"] + 1, WITHIN_S)
    assert query(sessions)["commits"] - before["commits"] >= 3
    assert query(sessions)["blocks"] >= query(sessions)["hits"] > 0


def test_without_the_extension(cluster: Cluster) -> None:
    """A server without pg_stat_statements provides all figures but those of statements."""
    with connect(cluster, APPLICATION_NAME, "template1") as own:
        figures = query(Sessions(own, [WORKER], "shop", named=True))
    assert figures["max_connections"] == 100
    assert "statements" not in figures


def test_without_its_library(reaper: Reaper) -> None:
    """So does a server with the extension but without its library, which rejects the query."""
    with embedded.temporary_cluster(reaper) as bare, connect(bare, APPLICATION_NAME, "postgres") as own:
        own.execute("CREATE EXTENSION pg_stat_statements")
        figures = query(Sessions(own, [WORKER], "postgres", named=True))
    assert "connections" in figures
    assert "statements" not in figures


def test_a_server_that_hangs(cluster: Cluster, own: psycopg.Connection) -> None:
    """A late answer is NoAnswer; once the server continues, so do the answers."""
    sessions = Sessions(own, [WORKER], "shop", named=True)
    backend = own.info.backend_pid
    os.kill(backend, signal.SIGSTOP)
    try:
        for _ in range(3):
            sessions.send()
            with pytest.raises(NoAnswer, match="too late"):
                sessions.receive(time.monotonic() + 0.01)
    finally:
        os.kill(backend, signal.SIGCONT)

    def answers() -> bool:
        try:
            return query(sessions)["max_connections"] == 100
        except NoAnswer:
            return False  # the answer of the abandoned poll is still pending

    assert wait_until(answers, WITHIN_S)
    sessions.close()
    assert own.execute("SELECT 7").fetchone() == (7,)
    assert own.info.transaction_status == TransactionStatus.IDLE


def test_close_with_an_answer_owed(cluster: Cluster) -> None:
    """The connection stays usable if the server answers eventually, and is closed if it does not."""
    with connect(cluster, APPLICATION_NAME) as own:
        sessions = Sessions(own, [WORKER], "shop", named=True)
        sessions.send()
        sessions.close(WITHIN_S)
        assert own.execute("SELECT 7").fetchone() == (7,)
        backend = own.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        try:
            sessions.send()
            sessions.close(within_s=0.01)
            assert own.closed
        finally:
            os.kill(backend, signal.SIGCONT)


def test_a_server_that_is_gone(reaper: Reaper) -> None:
    """A connection that breaks, or is closed from the start, raises NoAnswer only."""
    with embedded.temporary_cluster(reaper) as brief, connect(brief, APPLICATION_NAME, "postgres") as own:
        sessions = Sessions(own, [WORKER], "postgres", named=True)
        query(sessions)
        brief.stop("immediate")
        for _ in range(2):
            sessions.send()
            with pytest.raises(NoAnswer):
                sessions.receive(time.monotonic() + WITHIN_S)
        own.close()
        sessions = Sessions(own, [WORKER], "postgres", named=True)
        sessions.send()
        with pytest.raises(NoAnswer):
            sessions.receive(time.monotonic() + WITHIN_S)
        sessions.close()
