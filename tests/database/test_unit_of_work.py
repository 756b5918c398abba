"""run(work) on every driver: results, transactions, connections, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString, get_args

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog import schemas
from bookstore.catalog.models import Author, Book
from bookstore.database import sqlstate
from bookstore.database.engine import application_name
from bookstore.database.unit_of_work import Database, make_database
from bookstore.database.url import conninfo
from bookstore.profile.engine_profile import Driver, EngineProfile

pytestmark = pytest.mark.anyio

DRIVERS: tuple[Driver, ...] = get_args(Driver)
PATIENCE_S = 20.0
Observer = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def shared_url(server_url: sa.URL, template: str) -> Iterator[sa.URL]:
    """A migrated database for all tests here; each test's books have unique titles."""
    name = f"bookstore_test_{os.getpid()}_database"
    with psycopg.connect(conninfo(server_url), autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        yield server_url.set(database=name)
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def observer(shared_url: sa.URL) -> Iterator[Observer]:
    """A separate connection, which sees only committed changes."""
    with psycopg.connect(conninfo(shared_url), autocommit=True) as connection:
        yield connection


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    driver: Driver = request.param
    return driver


@asynccontextmanager
async def running_database(url: sa.URL, driver: Driver, **keys: Any) -> AsyncIterator[Database]:
    """A started Database with a profile named after the driver, stopped afterwards."""
    database = make_database(EngineProfile(name=f"test-{driver}", driver=driver, **keys), url)
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


async def wait_until(condition: Callable[[], bool], message: str) -> None:
    """Wait for a condition that another task or process fulfils; fail after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, message
        await asyncio.sleep(0.01)


def checked_out(database: Database) -> int:
    assert isinstance(database.pool, sa.QueuePool)
    return database.pool.checkedout()


def count_sessions(observer: Observer, database: Database, where: LiteralString = "true") -> int:
    """Count the sessions of `database` in PostgreSQL."""
    row = observer.execute(
        psycopg.sql.SQL("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND {}").format(
            psycopg.sql.SQL(where)
        ),
        [application_name(database.profile)],
    ).fetchone()
    assert row
    return int(row[0])


def select_scalar(statement: str, **values: Any) -> Callable[[Session], Any]:
    """A unit of work that reads one value."""

    def work(session: Session) -> Any:
        return session.scalar(sa.text(statement), values)

    return work


def add_book(title: str, then: Callable[[Session], Any] = lambda _: None) -> Callable[[Session], Any]:
    """A unit of work that stores a book, then calls `then` and returns its result."""

    def work(session: Session) -> Any:
        session.add(Book(title=title))
        session.flush()
        return then(session)

    return work


def count_books(observer: Observer, title: str) -> int:
    row = observer.execute("SELECT count(*) FROM book WHERE title = %s", [title]).fetchone()
    assert row
    return int(row[0])


async def test_results_are_the_same(shared_url: sa.URL, driver: Driver) -> None:
    """A unit of work returns the same on every driver: a struct, numbers, texts, None."""

    def work(session: Session) -> schemas.Author:
        number, text = session.execute(
            sa.select(sa.literal(2**62, sa.BigInteger), sa.literal("\N{SNOWMAN} 'quoted' 100%"))
        ).one()
        return schemas.Author(number, text)

    async with running_database(shared_url, driver) as database:
        assert await database.run(work) == schemas.Author(2**62, "\N{SNOWMAN} 'quoted' 100%")
        for value in (7, "seven", None, True):
            assert await database.run(lambda _, value=value: value) == value  # type: ignore[misc]


async def test_success_commits(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """When run() returns, other sessions see the changes."""
    title = f"commits with {driver}"
    async with running_database(shared_url, driver) as database:
        await database.run(add_book(title))
        assert count_books(observer, title) == 1


async def test_failure_rolls_back(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """run() raises what the work raised, rolls its changes back, and the connection stays usable."""
    title = f"fails with {driver}"

    def fail(_: Session) -> None:
        raise LookupError(title)

    async with running_database(shared_url, driver, pool_size=1) as database:
        with pytest.raises(LookupError, match=title):
            await database.run(add_book(title, fail))
        with pytest.raises(sa.exc.IntegrityError):
            await database.run(add_book("", select_scalar("SELECT 1")))
        assert count_books(observer, title) == 0
        assert await database.run(select_scalar("SELECT 1")) == 1
        assert checked_out(database) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda session: session.scalars(sa.select(Book)).first(),
        lambda session: session.scalars(sa.select(Book)).all(),
        lambda _: [schemas.Author(1, "in a list")],
        lambda _: {"id": 1},
        lambda _: Author(name="new"),
        lambda session: session.execute(sa.select(Book.id)).first(),
    ],
    ids=["object", "list of objects", "list", "dict", "new object", "row"],
)
async def test_only_structs_are_returned(
    shared_url: sa.URL, driver: Driver, observer: Observer, wrong: Callable[[Session], Any]
) -> None:
    """A result that could load lazily raises TypeError, and the work's changes are rolled back."""
    title = f"comes out with {driver}"
    async with running_database(shared_url, driver, pool_size=1) as database:
        with pytest.raises(TypeError, match="wire structs"):
            await database.run(add_book(title, wrong))
    assert count_books(observer, title) == 0


async def test_cancelled_requests_leave_nothing(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """After 50 units of work were cancelled at random moments no connection is checked out, in a transaction or lost,
    and the database still works."""
    rng = random.Random(7)  # noqa: S311 - the same sequence in every run
    title = f"cancelled with {driver}"

    async with running_database(shared_url, driver, pool_size=4, pool_timeout=PATIENCE_S) as database:

        async def request(number: int) -> None:
            await database.run(add_book(f"{title} {number}", select_scalar("SELECT pg_sleep(0.02)::text")))

        tasks = [asyncio.create_task(request(number)) for number in range(50)]
        for task in rng.sample(tasks, len(tasks)):
            for _ in range(rng.randrange(8)):
                await asyncio.sleep(rng.random() / 1000)
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        cancelled = sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert cancelled > 10
        assert [outcome for outcome in outcomes if not isinstance(outcome, asyncio.CancelledError | None)] == []

        await wait_until(lambda: checked_out(database) == 0, "a connection is still checked out")
        await wait_until(lambda: count_sessions(observer, database, "state <> 'idle'") == 0, "a session is not idle")
        await wait_until(lambda: count_sessions(observer, database) <= 4, "a session was lost")
        again = await asyncio.gather(*(database.run(select_scalar("SELECT 1")) for _ in range(8)))
        assert again == [1] * 8
        await database.run(add_book(title))
        assert count_books(observer, title) == 1
    await wait_until(lambda: count_sessions(observer, database) == 0, "stop() left a session")
    gc.collect()  # SQLAlchemy warns about a leaked connection, and warnings are errors here
    for number, outcome in enumerate(outcomes):
        if outcome is None:
            assert count_books(observer, f"{title} {number}") == 1


async def test_cancelled_while_connecting(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """A request cancelled at any moment of its connect leaves no session, even without garbage collection."""
    threads = {"threads": 4} if driver == "psycopg-sync" else {}
    async with running_database(shared_url, driver, pool="null", **threads) as database:
        gc.collect()
        gc.disable()
        try:
            for tenths in range(100):
                request = asyncio.create_task(database.run(select_scalar("SELECT 1")))
                await asyncio.sleep(tenths / 10_000)
                request.cancel()
                await asyncio.gather(request, return_exceptions=True)
                del request
            await wait_until(lambda: count_sessions(observer, database) == 0, "a session was lost")
        finally:
            gc.enable()
        assert await database.run(select_scalar("SELECT 1")) == 1


@pytest.mark.parametrize("threads", [2, 10])
async def test_more_work_than_connections_all_ends(shared_url: sa.URL, threads: int) -> None:
    """20 concurrent units of work complete on 2 connections, with as many threads or more."""
    async with running_database(
        shared_url, "psycopg-sync", pool_size=2, threads=threads, pool_timeout=PATIENCE_S
    ) as database:
        ran: set[str] = set()

        def work(session: Session) -> int:
            ran.add(threading.current_thread().name)
            session.scalar(sa.text("SELECT pg_sleep(0.002)::text"))
            return session.scalar(sa.text("SELECT 1")) or 0

        done = await asyncio.gather(*(database.run(work) for _ in range(20)))
        assert done == [1] * 20
        assert 1 < len(ran) <= threads
        assert all(name.startswith("database") for name in ran)
        assert checked_out(database) == 0


async def test_requests_queue_for_one_connection(shared_url: sa.URL, driver: Driver) -> None:
    """20 concurrent units of work complete on one connection, on every driver."""
    async with running_database(shared_url, driver, pool_size=1, pool_timeout=PATIENCE_S) as database:
        done = await asyncio.gather(*(database.run(select_scalar("SELECT pg_backend_pid()")) for _ in range(20)))
        assert len(set(done)) == 1


@asynccontextmanager
async def busy_connections(database: Database, observer: Observer, count: int) -> AsyncIterator[None]:
    """Run `count` units of work that hold their connections until the block ends."""
    observer.execute("SELECT pg_advisory_lock(1)")
    work = select_scalar("SELECT pg_advisory_xact_lock(1)::text")
    tasks = [asyncio.create_task(database.run(work)) for _ in range(count)]
    try:
        waiting = "wait_event_type = 'Lock'"
        await wait_until(lambda: count_sessions(observer, database, waiting) == count, "no session waits")
        yield
    finally:
        observer.execute("SELECT pg_advisory_unlock(1)")
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("keys", [{}, {"threads": 5}], ids=["as many threads", "more threads"])
async def test_exhausted_pool(shared_url: sa.URL, driver: Driver, observer: Observer, keys: dict[str, int]) -> None:
    """A request without a connection after pool_timeout gets SQLAlchemy's TimeoutError, which is 503 pool_exhausted;
    afterwards everything works again."""
    if keys and driver != "psycopg-sync":
        keys = {"max_overflow": 1}
    async with running_database(shared_url, driver, pool_size=2, pool_timeout=0.1, **keys) as database:
        async with busy_connections(database, observer, 2 + database.profile.max_overflow):
            late = await asyncio.gather(
                *(database.run(select_scalar("SELECT 1")) for _ in range(3)), return_exceptions=True
            )
            assert [type(error) for error in late] == [sa.exc.TimeoutError] * 3
            for error in late:
                assert isinstance(error, BaseException)
                assert sqlstate.server_problem(error) == ("pool_exhausted", "All database connections are in use.")
        assert await database.run(select_scalar("SELECT 1")) == 1
        assert checked_out(database) == 0


async def test_waiting_requests_come_before_the_timeout(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """A request that waits for a connection gets the one that is returned."""
    async with running_database(shared_url, driver, pool_size=1, pool_timeout=PATIENCE_S) as database:
        async with busy_connections(database, observer, 1):
            waiting = asyncio.create_task(database.run(select_scalar("SELECT 1")))
            await asyncio.sleep(0)
            assert not waiting.done()
        assert await waiting == 1


async def test_pool_is_filled_and_closed(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """After start() there are exactly pool_size sessions, named after profile and process; requests open no more; after
    stop() there are none."""
    database = make_database(EngineProfile(name="warm", driver=driver, pool_size=3, max_overflow=2), shared_url)
    assert application_name(database.profile) == f"bookstore/warm/{os.getpid()}"
    assert count_sessions(observer, database) == 0
    await database.start()
    try:
        assert count_sessions(observer, database) == 3
        first = observer.execute(
            "SELECT array_agg(pid ORDER BY pid) FROM pg_stat_activity WHERE application_name LIKE 'bookstore/warm/%'"
        ).fetchone()
        assert first
        pids = [await database.run(select_scalar("SELECT pg_backend_pid()"), reading=True) for _ in range(6)]
        assert set(pids) <= set(first[0])
        assert count_sessions(observer, database) == 3
    finally:
        await database.stop()
    await wait_until(lambda: count_sessions(observer, database) == 0, "sessions are left")


async def test_application_name_fits(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """The longest profile name leaves room for the pid in PostgreSQL's 63 bytes."""
    profile = EngineProfile(name="n" * 80, driver=driver, pool_size=1)
    name = application_name(profile)
    assert (len(name), name.endswith(f"n/{os.getpid()}")) == (63, True)
    database = make_database(profile, shared_url)
    await database.start()
    try:
        assert count_sessions(observer, database) == 1
    finally:
        await database.stop()


async def test_statement_timeout(shared_url: sa.URL, driver: Driver) -> None:
    """The profile's statement_timeout is set in each session; a longer statement is 503 db_timeout, and the connection
    stays usable."""
    async with running_database(shared_url, driver, pool_size=1, statement_timeout=0.2) as database:
        assert await database.run(select_scalar("SHOW statement_timeout")) == "200ms"
        assert await database.run(select_scalar("SHOW idle_in_transaction_session_timeout")) == "10s"
        before = await database.run(select_scalar("SELECT pg_backend_pid()"))
        for reading in (True, False):
            with pytest.raises(Exception) as caught:  # noqa: PT011 - the type depends on the driver
                await database.run(select_scalar("SELECT pg_sleep(60)::text"), reading=reading)
            problem = sqlstate.server_problem(caught.value)
            assert problem
            assert problem[0] == "db_timeout"
        assert await database.run(select_scalar("SELECT pg_backend_pid()")) == before


@pytest.mark.parametrize("prepared", [True, False])
async def test_prepared_statements(shared_url: sa.URL, driver: Driver, prepared: bool) -> None:
    """With prepared_statements the driver prepares repeated statements, without it none."""
    async with running_database(shared_url, driver, pool_size=1, prepared_statements=prepared) as database:
        for number in range(10):  # psycopg prepares at the sixth execution
            assert (
                await database.run(select_scalar("SELECT cast(:number AS int)", number=number), reading=True) == number
            )
        count = await database.run(
            select_scalar("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT cast(%'"),
            reading=True,
        )
        assert count == (1 if prepared else 0)


def select_twice(statement: str) -> Callable[[Session], str]:
    def work(session: Session) -> str:
        return " ".join(str(session.scalar(sa.text(statement))) for _ in range(2))

    return work


@pytest.mark.parametrize("isolation", ["AUTOCOMMIT", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
async def test_isolation(shared_url: sa.URL, driver: Driver, isolation: Any) -> None:
    """The isolation level applies to reading only; writing is one READ COMMITTED transaction, even right afterwards on
    the same connection."""
    async with running_database(shared_url, driver, pool_size=1, isolation_level=isolation) as database:
        for _ in range(2):
            ids = {
                reading: (
                    await database.run(select_twice("SELECT pg_current_xact_id()::text"), reading=reading)
                ).split()
                for reading in (True, False)
            }
            assert len(set(ids[False])) == 1
            assert len(set(ids[True])) == (2 if isolation == "AUTOCOMMIT" else 1)
            shown = {True: isolation.lower().replace("autocommit", "read committed"), False: "read committed"}
            for reading in (True, False):
                assert (
                    await database.run(select_scalar("SHOW transaction_isolation"), reading=reading) == shown[reading]
                )


async def test_autocommit_never_splits_a_write(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """With AUTOCOMMIT for reading, a write that fails halfway leaves nothing."""
    title = f"half with {driver}"

    def write_half(session: Session) -> None:
        session.add(Book(title=title))
        session.flush()
        session.add(Book(title=""))
        session.flush()

    async with running_database(shared_url, driver, pool_size=1, isolation_level="AUTOCOMMIT") as database:
        assert await database.run(select_scalar("SELECT 1"), reading=True) == 1
        with pytest.raises(sa.exc.IntegrityError):
            await database.run(write_half)
    assert count_books(observer, title) == 0


async def test_without_pool(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """`pool: null` opens a connection for each unit of work and closes it afterwards."""
    threads = {"threads": 3} if driver == "psycopg-sync" else {}
    async with running_database(shared_url, driver, pool="null", **threads) as database:
        await wait_until(lambda: count_sessions(observer, database) == 0, "start left a session")
        pids = [await database.run(select_scalar("SELECT pg_backend_pid()")) for _ in range(3)]
        assert len(set(pids)) == 3
        await wait_until(lambda: count_sessions(observer, database) == 0, "a unit of work left its session")


@pytest.mark.parametrize(("lifo", "different"), [(True, 1), (False, 3)])
async def test_order_of_connections(shared_url: sa.URL, driver: Driver, lifo: bool, different: int) -> None:
    """pool_use_lifo reuses the most recently used connection; otherwise connections take turns."""
    async with running_database(shared_url, driver, pool_size=3, pool_use_lifo=lifo) as database:
        pids = [await database.run(select_scalar("SELECT pg_backend_pid()")) for _ in range(6)]
        assert len(set(pids)) == different


@pytest.mark.parametrize("reading", [True, False])
@pytest.mark.parametrize("pre_ping", [True, False])
async def test_killed_backend(
    shared_url: sa.URL, driver: Driver, observer: Observer, reading: bool, pre_ping: bool
) -> None:
    """A session that PostgreSQL terminated fails at most one request, with 503 db_unavailable, and none with
    pool_pre_ping; the next one uses a new session."""
    async with running_database(shared_url, driver, pool_size=1, pool_pre_ping=pre_ping) as database:
        killed = await database.run(select_scalar("SELECT pg_backend_pid()"), reading=reading)
        observer.execute("SELECT pg_terminate_backend(%s, 5000)", [killed])
        request = database.run(select_scalar("SELECT pg_backend_pid()"), reading=reading)
        outcome: Any = (await asyncio.gather(request, return_exceptions=True))[0]
        if isinstance(outcome, BaseException):
            assert not pre_ping
            assert sqlstate.server_problem(outcome) == ("db_unavailable", "The database cannot be reached.")
        assert await database.run(select_scalar("SELECT pg_backend_pid()"), reading=reading) != killed
        assert checked_out(database) == 0
        assert count_sessions(observer, database) == 1


async def test_killed_in_the_middle(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """Sessions that are terminated during a statement fail their requests with 503 db_unavailable; the pool is
    refilled."""
    async with running_database(shared_url, driver, pool_size=2) as database:
        tasks = [asyncio.create_task(database.run(select_scalar("SELECT pg_sleep(60)::text"))) for _ in range(2)]
        await wait_until(lambda: count_sessions(observer, database, "wait_event = 'PgSleep'") == 2, "no session sleeps")
        observer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            [application_name(database.profile)],
        )
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, BaseException)
            problem = sqlstate.server_problem(outcome)
            assert problem
            assert problem[0] == "db_unavailable"
        assert await asyncio.gather(*(database.run(select_scalar("SELECT 1")) for _ in range(4))) == [1] * 4
        assert checked_out(database) == 0


async def test_start_without_a_server_fails(shared_url: sa.URL, driver: Driver) -> None:
    """start() raises, rather than hangs, if no server listens; stop() still ends all threads."""
    before = set(threading.enumerate())
    database = make_database(EngineProfile(name="test", driver=driver, pool_size=3), closed_port(shared_url))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the type depends on the driver
        await database.start()
    cause = caught.value.exceptions[0] if isinstance(caught.value, ExceptionGroup) else caught.value
    assert sqlstate.server_problem(cause) == ("db_unavailable", "The database cannot be reached.")
    await database.stop()
    left = [thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("database")]
    assert left == []


def closed_port(url: sa.URL) -> sa.URL:
    """Return `url` with a port of this machine on which nothing listens."""
    return url.set(host="127.0.0.1", port=1, query={})
