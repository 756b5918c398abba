"""Behind PgBouncer in transaction mode, on every driver: the same results and errors as before PostgreSQL itself."""

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
    """A PgBouncer with two sessions, for all tests here that do not change it."""
    with pooled(default_pool_size=str(SERVERS)) as it:
        yield it


@pytest.fixture
def observer(shared_url: sa.URL) -> Iterator[Observer]:
    """A connection of somebody else, who sees what is committed."""
    with psycopg.connect(conninfo(shared_url), autocommit=True) as opened:
        yield opened


@pytest.fixture(params=get_args(Driver))
def driver(request: pytest.FixtureRequest) -> Driver:
    found: Driver = request.param
    return found


@asynccontextmanager
async def started(it: PgBouncer, shared_url: sa.URL, driver: Driver, **keys: Any) -> AsyncIterator[Database]:
    """A started Database through PgBouncer, of a profile such as the shipped ones, stopped afterwards."""
    reads = "READ COMMITTED" if driver == "asyncpg" else "AUTOCOMMIT"
    behind: dict[str, Any] = {"behind_pooler": True, "prepared_statements": False, "isolation_level": reads}
    profile = EngineProfile(name=f"test-{driver}", driver=driver, **(behind | keys))
    database = make_database(profile, it.url(str(shared_url.database)))
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


def scalar(statement: str, **values: Any) -> Callable[[Session], Any]:
    """The unit of work that reads one value."""

    def work(session: Session) -> Any:
        return session.scalar(sa.text(statement), values)

    return work


def add(title: str) -> Callable[[Session], None]:
    """The unit of work that stores a book."""

    def work(session: Session) -> None:
        session.add(Book(title=title))
        session.flush()

    return work


def idle(it: PgBouncer, database: str) -> bool:
    """Whether PgBouncer has given no session of the database to a client."""
    with pooler.console(it.url(pooler.CONSOLE)) as console:
        pools = [row for row in pooler.shown(console, "POOLS") if row["database"] == database]
    return not any(row["sv_active"] for row in pools)


async def test_many_clients_share_few_sessions(
    pgbouncer: PgBouncer, shared_url: sa.URL, driver: Driver, observer: Observer
) -> None:
    """Ten connections and two sessions: reads and writes at once are all answered, each with its own answer."""
    title = f"shared by {driver}"
    async with started(pgbouncer, shared_url, driver, pool_size=10) as database:
        reads = [database.run(scalar(f"SELECT {i} + :x", x=i), reading=True) for i in range(100)]
        writes = [database.run(add(title)) for _ in range(50)]
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
    """After the same statement many times, no session has a prepared one by a name."""
    prepared = scalar("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")
    async with started(pgbouncer, shared_url, driver) as database:
        for _ in range(20):
            assert await database.run(scalar("SELECT 1 + :x", x=1), reading=True) == 2
        assert {await database.run(prepared) for _ in range(SERVERS * 3)} == {0}


async def test_sessions_are_named_after_who_uses_them(
    pgbouncer: PgBouncer, shared_url: sa.URL, driver: Driver, observer: Observer
) -> None:
    """PgBouncer passes application_name on: whoever looks at PostgreSQL finds the profile and the process."""
    async with started(pgbouncer, shared_url, driver) as database:
        named = await database.run(scalar("SELECT current_setting('application_name')"), reading=True)
        assert named == application_name(database.profile)


@pytest.mark.parametrize("reading", [True, False], ids=["reading", "writing"])
async def test_what_cannot_be_sent_takes_no_session(
    pgbouncer: PgBouncer, shared_url: sa.URL, driver: Driver, reading: bool
) -> None:
    """A value beyond the type is refused as before PostgreSQL, and PgBouncer has its session back."""
    statement = sa.text("SELECT CAST(:x AS bigint)").bindparams(sa.bindparam("x", type_=sa.BigInteger))
    async with started(pgbouncer, shared_url, driver) as database:
        with pytest.raises(sa.exc.DBAPIError) as caught:
            await database.run(lambda session: session.scalar(statement, {"x": 2**70}), reading=reading)
        assert sqlstate.rejection(caught.value) == ("invalid_body", "A number is too large.")
        assert idle(pgbouncer, str(shared_url.database))


async def test_a_conflict_is_tried_again(pgbouncer: PgBouncer, shared_url: sa.URL, driver: Driver) -> None:
    """Who is rolled back for another one's sake begins anew, in whatever session."""
    tried = 0

    def work(session: Session) -> str:
        nonlocal tried
        tried += 1
        if tried == 1:
            session.execute(sa.text("DO $$BEGIN RAISE 'in the way' USING ERRCODE = '40001'; END$$"))
        return "done"

    async with started(pgbouncer, shared_url, driver) as database:
        assert await database.run(work) == "done"
    assert tried == 2


async def test_the_timeout_comes_from_pgbouncer(pooled: Pooled, shared_url: sa.URL, driver: Driver) -> None:
    """PgBouncer's connect_query sets the statement_timeout, and its end is the same trouble as everywhere."""
    with pooled("SET statement_timeout = '200ms'", default_pool_size="1") as it:
        async with started(it, shared_url, driver) as database:
            with pytest.raises(sa.exc.DBAPIError) as caught:
                await database.run(scalar("SELECT pg_sleep(30)::text"), reading=True)
            assert sqlstate.trouble(caught.value) == ("db_timeout", "The database took too long.")
            assert await database.run(scalar("SELECT 1"), reading=True) == 1


async def test_a_cancelled_request_ends_its_statement(
    pgbouncer: PgBouncer, shared_url: sa.URL, observer: Observer
) -> None:
    """PgBouncer passes on that asyncpg has given up: nothing runs on for a client who is gone."""
    async with started(pgbouncer, shared_url, "asyncpg") as database:
        asking = asyncio.create_task(database.run(scalar("SELECT pg_sleep(60)::text"), reading=True))
        await until(lambda: sleeping(observer) == 1, "it never ran")
        asking.cancel()
        await until(lambda: sleeping(observer) == 0, "it runs on")
        assert await database.run(scalar("SELECT 1"), reading=True) == 1


async def test_a_restart_of_pgbouncer_is_survived(pooled: Pooled, shared_url: sa.URL, driver: Driver) -> None:
    """While PgBouncer is away requests are told that the database is; when it is back, so is the service."""
    with pooled() as it:
        async with started(it, shared_url, driver) as database:
            it.stop()
            for _ in range(2):  # an open connection breaks; then there is not even a socket to connect to
                with pytest.raises(Exception) as caught:  # noqa: PT011 - each driver has its own
                    await database.run(scalar("SELECT 1"), reading=True)
                assert sqlstate.trouble(caught.value) == ("db_unavailable", "The database cannot be reached.")
            it.start()
            # Each connection of the pool finds out for itself, once at most.
            asked = [database.run(scalar("SELECT 1"), reading=True) for _ in range(database.profile.pool_size)]
            failed = [one for one in await asyncio.gather(*asked, return_exceptions=True) if one != 1]
            assert all(isinstance(one, Exception) and sqlstate.trouble(one) for one in failed)
            assert await database.run(scalar("SELECT 1"), reading=True) == 1


async def test_too_many_clients_are_told(pooled: Pooled, shared_url: sa.URL, driver: Driver) -> None:
    """Beyond max_client_conn PgBouncer lets nobody in, which is the database's trouble and no bug."""
    with pooled(max_client_conn="1") as it:
        async with started(it, shared_url, driver, pool_size=1, max_overflow=1) as database:
            held = asyncio.create_task(database.run(scalar("SELECT pg_sleep(1)::text"), reading=True))
            with pytest.raises(sa.exc.DBAPIError) as caught:
                await asyncio.gather(held, database.run(scalar("SELECT 1"), reading=True))
            assert sqlstate.trouble(caught.value) == ("db_unavailable", "The database cannot be reached.")
            await held


def sleeping(observer: Observer) -> int:
    """How many sessions of the database sleep in a statement."""
    row = observer.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    ).fetchone()
    assert row
    return int(row[0])


async def until(holds: Callable[[], bool], what: str) -> None:
    """Waits for something that comes about elsewhere; fails where it does not."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


def test_commands_go_through_it(pooled: Pooled, blank_url: sa.URL) -> None:
    """Migrations and imports take their locks and temporary tables in one transaction, and prepare nothing that
    stays: any number of them share one session."""
    with pooled(default_pool_size="1") as it:
        url = conninfo(it.url(str(blank_url.database)))
        runner = CliRunner()
        for command in (["db", "upgrade"], ["db", "check"], ["catalog", "generate", "--books", "3000"]):
            result = runner.invoke(bookstore, command, env={"DATABASE_URL": url})
            assert result.exit_code == 0, (command, result.output, result.exception)
        with psycopg.connect(url, prepare_threshold=None) as connection:
            left = connection.execute(
                "SELECT (SELECT count(*) FROM pg_prepared_statements),"
                " (SELECT count(*) FROM pg_class WHERE relpersistence = 't'),"
                " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), (SELECT count(*) FROM book)"
            ).fetchone()
    assert left == (0, 0, 0, 3000)
