"""Behind PgBouncer in transaction mode every driver gives the same results and errors as on PostgreSQL itself."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, get_args

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy.orm import Session

from bookstore.catalog.models import Book
from bookstore.cli import bookstore
from bookstore.database import pooler, sqlstate
from bookstore.database.engine import application_name
from bookstore.database.unit_of_work import Database, make_database
from bookstore.database.url import conninfo
from bookstore.lab.testbed.pgbouncer import PgBouncer
from bookstore.profile.engine_profile import Driver, EngineProfile

pytestmark = pytest.mark.anyio

PATIENCE_S = 20.0
SERVERS = 2
Pooled = Callable[..., AbstractContextManager[PgBouncer]]
Observer = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def shared_url(server_url: sa.URL, template: str) -> Iterator[sa.URL]:
    """A migrated database for all tests here, without PgBouncer."""
    name = f"bookstore_test_{os.getpid()}_pooled"
    with psycopg.connect(conninfo(server_url), autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        yield server_url.set(database=name)
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="module")
def pgbouncer(pooled: Pooled, shared_url: sa.URL) -> Iterator[PgBouncer]:
    """A PgBouncer with two sessions, shared by the tests that do not change it."""
    with pooled(default_pool_size=str(SERVERS)) as bouncer:
        yield bouncer


@pytest.fixture
def observer(shared_url: sa.URL) -> Iterator[Observer]:
    """A separate connection, which sees only committed changes."""
    with psycopg.connect(conninfo(shared_url), autocommit=True) as connection:
        yield connection


@pytest.fixture(params=get_args(Driver))
def driver(request: pytest.FixtureRequest) -> Driver:
    driver: Driver = request.param
    return driver


@asynccontextmanager
async def running_database(
    bouncer: PgBouncer, shared_url: sa.URL, driver: Driver, **keys: Any
) -> AsyncIterator[Database]:
    """A started Database through PgBouncer, with a profile like the shipped ones; stopped afterwards."""
    reads = "READ COMMITTED" if driver == "asyncpg" else "AUTOCOMMIT"
    behind: dict[str, Any] = {"behind_pooler": True, "prepared_statements": False, "isolation_level": reads}
    profile = EngineProfile(name=f"test-{driver}", driver=driver, **(behind | keys))
    database = make_database(profile, bouncer.url(str(shared_url.database)))
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


def select_scalar(statement: str, **values: Any) -> Callable[[Session], Any]:
    """A unit of work that reads one value."""

    def work(session: Session) -> Any:
        return session.scalar(sa.text(statement), values)

    return work


def add_book(title: str) -> Callable[[Session], None]:
    """A unit of work that stores a book."""

    def work(session: Session) -> None:
        session.add(Book(title=title))
        session.flush()

    return work


def is_idle(bouncer: PgBouncer, database: str) -> bool:
    """Whether PgBouncer has assigned no session of the database to a client."""
    with pooler.console(bouncer.url(pooler.CONSOLE)) as console:
        pools = [row for row in pooler.show(console, "POOLS") if row["database"] == database]
    return not any(row["sv_active"] for row in pools)


async def test_many_clients_share_few_sessions(
    pgbouncer: PgBouncer, shared_url: sa.URL, driver: Driver, observer: Observer
) -> None:
    """With ten connections and two sessions, concurrent reads and writes all get their own result."""
    title = f"shared by {driver}"
    async with running_database(pgbouncer, shared_url, driver, pool_size=10) as database:
        reads = [database.run(select_scalar(f"SELECT {i} + :x", x=i), reading=True) for i in range(100)]
        writes = [database.run(add_book(title)) for _ in range(50)]
        answers = await asyncio.gather(*reads, *writes)
        assert answers[:100] == [2 * i for i in range(100)]
        row = observer.execute(
            "SELECT (SELECT count(*) FROM book WHERE title = %s), count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
            [title],
        ).fetchone()
    assert row
    assert row[0] == 50
    assert 1 <= row[1] <= SERVERS


async def test_nothing_stays_prepared(
    pgbouncer: PgBouncer, shared_url: sa.URL, driver: Driver, observer: Observer
) -> None:
    """After many executions of a statement no session has a named prepared statement."""
    prepared = select_scalar("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")
    async with running_database(pgbouncer, shared_url, driver) as database:
        for _ in range(20):
            assert await database.run(select_scalar("SELECT 1 + :x", x=1), reading=True) == 2
        assert {await database.run(prepared) for _ in range(SERVERS * 3)} == {0}


async def test_application_name_is_passed_on(
    pgbouncer: PgBouncer, shared_url: sa.URL, driver: Driver, observer: Observer
) -> None:
    """PgBouncer passes application_name on, so PostgreSQL shows the profile and the process."""
    async with running_database(pgbouncer, shared_url, driver) as database:
        name = await database.run(select_scalar("SELECT current_setting('application_name')"), reading=True)
        assert name == application_name(database.profile)


@pytest.mark.parametrize("reading", [True, False], ids=["reading", "writing"])
async def test_rejected_value_occupies_no_session(
    pgbouncer: PgBouncer, shared_url: sa.URL, driver: Driver, reading: bool
) -> None:
    """A value out of its type's range is rejected as without a pooler, and PgBouncer gets its session back."""
    statement = sa.text("SELECT CAST(:x AS bigint)").bindparams(sa.bindparam("x", type_=sa.BigInteger))
    async with running_database(pgbouncer, shared_url, driver) as database:
        with pytest.raises(sa.exc.DBAPIError) as caught:
            await database.run(lambda session: session.scalar(statement, {"x": 2**70}), reading=reading)
        assert sqlstate.client_problem(caught.value) == ("invalid_body", "A number is too large.")
        assert is_idle(pgbouncer, str(shared_url.database))


async def test_conflict_is_retried(pgbouncer: PgBouncer, shared_url: sa.URL, driver: Driver) -> None:
    """A transaction that is rolled back because of another one is retried, in whatever session."""
    attempts = 0

    def work(session: Session) -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            session.execute(sa.text("DO $$BEGIN RAISE 'in the way' USING ERRCODE = '40001'; END$$"))
        return "done"

    async with running_database(pgbouncer, shared_url, driver) as database:
        assert await database.run(work) == "done"
    assert attempts == 2


async def test_timeout_comes_from_pgbouncer(pooled: Pooled, shared_url: sa.URL, driver: Driver) -> None:
    """PgBouncer's connect_query sets statement_timeout, which causes the same error as without a pooler."""
    with pooled("SET statement_timeout = '200ms'", default_pool_size="1") as bouncer:
        async with running_database(bouncer, shared_url, driver) as database:
            with pytest.raises(sa.exc.DBAPIError) as caught:
                await database.run(select_scalar("SELECT pg_sleep(30)::text"), reading=True)
            assert sqlstate.server_problem(caught.value) == ("db_timeout", "The database took too long.")
            assert await database.run(select_scalar("SELECT 1"), reading=True) == 1


async def test_cancelled_request_ends_its_statement(
    pgbouncer: PgBouncer, shared_url: sa.URL, observer: Observer
) -> None:
    """PgBouncer passes asyncpg's cancellation on, so the statement of a cancelled request ends."""
    async with running_database(pgbouncer, shared_url, "asyncpg") as database:
        request = asyncio.create_task(database.run(select_scalar("SELECT pg_sleep(60)::text"), reading=True))
        await wait_until(lambda: sleeping_sessions(observer) == 1, "the statement did not start")
        request.cancel()
        await wait_until(lambda: sleeping_sessions(observer) == 0, "the statement still runs")
        assert await database.run(select_scalar("SELECT 1"), reading=True) == 1


async def test_survives_a_restart_of_pgbouncer(pooled: Pooled, shared_url: sa.URL, driver: Driver) -> None:
    """While PgBouncer is down requests fail as if the database were; when it is back they succeed."""
    with pooled() as bouncer:
        async with running_database(bouncer, shared_url, driver) as database:
            bouncer.stop()
            for _ in range(2):  # first an open connection breaks, then there is no socket to connect to
                with pytest.raises(Exception) as caught:  # noqa: PT011 - each driver has its own
                    await database.run(select_scalar("SELECT 1"), reading=True)
                assert sqlstate.server_problem(caught.value) == ("db_unavailable", "The database cannot be reached.")
            bouncer.start()
            # Each connection of the pool fails at most once.
            requests = [
                database.run(select_scalar("SELECT 1"), reading=True) for _ in range(database.profile.pool_size)
            ]
            failed = [outcome for outcome in await asyncio.gather(*requests, return_exceptions=True) if outcome != 1]
            assert all(isinstance(outcome, Exception) and sqlstate.server_problem(outcome) for outcome in failed)
            assert await database.run(select_scalar("SELECT 1"), reading=True) == 1


async def test_too_many_clients(pooled: Pooled, shared_url: sa.URL, driver: Driver) -> None:
    """Beyond max_client_conn PgBouncer rejects connections, which counts as an unavailable database."""
    with pooled(max_client_conn="1") as bouncer:
        async with running_database(bouncer, shared_url, driver, pool_size=1, max_overflow=1) as database:
            held = asyncio.create_task(database.run(select_scalar("SELECT pg_sleep(1)::text"), reading=True))
            with pytest.raises(sa.exc.DBAPIError) as caught:
                await asyncio.gather(held, database.run(select_scalar("SELECT 1"), reading=True))
            assert sqlstate.server_problem(caught.value) == ("db_unavailable", "The database cannot be reached.")
            await held


def sleeping_sessions(observer: Observer) -> int:
    """Count the sessions of the database that sleep in a statement."""
    row = observer.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    ).fetchone()
    assert row
    return int(row[0])


async def wait_until(condition: Callable[[], bool], message: str) -> None:
    """Wait for a condition that another task or process fulfils; fail after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, message
        await asyncio.sleep(0.01)


def test_commands_through_pgbouncer(pooled: Pooled, blank_url: sa.URL) -> None:
    """Migrations and imports take locks and temporary tables within one transaction and leave nothing prepared, so any
    number of them can share one session."""
    with pooled(default_pool_size="1") as bouncer:
        url = conninfo(bouncer.url(str(blank_url.database)))
        runner = CliRunner()
        for command in (["db", "upgrade"], ["db", "check"], ["catalog", "generate", "--books", "3000"]):
            result = runner.invoke(bookstore, command, env={"DATABASE_URL": url})
            assert result.exit_code == 0, (command, result.output, result.exception)
        with psycopg.connect(url, prepare_threshold=None) as connection:
            leftovers = connection.execute(
                "SELECT (SELECT count(*) FROM pg_prepared_statements),"
                " (SELECT count(*) FROM pg_class WHERE relpersistence = 't'),"
                " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), (SELECT count(*) FROM book)"
            ).fetchone()
    assert leftovers == (0, 0, 0, 3000)
