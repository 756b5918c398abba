"""run(work) on every driver: results, transactions, connections and what is left of them."""

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
    """A migrated database for all tests here: each test's books have titles of their own."""
    name = f"bookstore_test_{os.getpid()}_database"
    with psycopg.connect(conninfo(server_url), autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        yield server_url.set(database=name)
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def observer(shared_url: sa.URL) -> Iterator[Observer]:
    """A connection of somebody else, who sees what is committed."""
    with psycopg.connect(conninfo(shared_url), autocommit=True) as opened:
        yield opened


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    found: Driver = request.param
    return found


@asynccontextmanager
async def started(url: sa.URL, driver: Driver, **keys: Any) -> AsyncIterator[Database]:
    """A started Database of a profile named after the test process, stopped afterwards."""
    database = make_database(EngineProfile(name=f"test-{driver}", driver=driver, **keys), url)
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


async def until(holds: Callable[[], bool], what: str) -> None:
    """Waits for something that comes about elsewhere; fails where it does not."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


def checked_out(database: Database) -> int:
    assert isinstance(database.pool, sa.QueuePool)
    return database.pool.checkedout()


def sessions(observer: Observer, database: Database, where: LiteralString = "true") -> int:
    """How many sessions of `database` PostgreSQL has."""
    row = observer.execute(
        psycopg.sql.SQL("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND {}").format(
            psycopg.sql.SQL(where)
        ),
        [application_name(database.profile)],
    ).fetchone()
    assert row
    return int(row[0])


def scalar(statement: str, **values: Any) -> Callable[[Session], Any]:
    """The unit of work that reads one value."""

    def work(session: Session) -> Any:
        return session.scalar(sa.text(statement), values)

    return work


def add(title: str, then: Callable[[Session], Any] = lambda _: None) -> Callable[[Session], Any]:
    """The unit of work that stores a book and then does, and returns, something else."""

    def work(session: Session) -> Any:
        session.add(Book(title=title))
        session.flush()
        return then(session)

    return work


def stored(observer: Observer, title: str) -> int:
    row = observer.execute("SELECT count(*) FROM book WHERE title = %s", [title]).fetchone()
    assert row
    return int(row[0])


async def test_results_are_the_same(shared_url: sa.URL, driver: Driver) -> None:
    """A unit of work reads and returns the same on every driver: a struct, raw JSON, numbers, texts, None."""

    def work(session: Session) -> schemas.Author:
        number, text = session.execute(
            sa.select(sa.literal(2**62, sa.BigInteger), sa.literal("\N{SNOWMAN} 'quoted' 100%"))
        ).one()
        return schemas.Author(number, text)

    async with started(shared_url, driver) as database:
        assert await database.run(work) == schemas.Author(2**62, "\N{SNOWMAN} 'quoted' 100%")
        for given in (7, "seven", None, True):
            assert await database.run(lambda _, given=given: given) == given  # type: ignore[misc]


async def test_success_commits(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """When run() returns, other sessions see what was written."""
    title = f"commits with {driver}"
    async with started(shared_url, driver) as database:
        await database.run(add(title))
        assert stored(observer, title) == 1


async def test_failure_rolls_back(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """run() raises what the work raised, nothing of it stays, and the connection is good for the next."""
    title = f"fails with {driver}"

    def fail(_: Session) -> None:
        raise LookupError(title)

    async with started(shared_url, driver, pool_size=1) as database:
        with pytest.raises(LookupError, match=title):
            await database.run(add(title, fail))
        with pytest.raises(sa.exc.IntegrityError):
            await database.run(add("", scalar("SELECT 1")))
        assert stored(observer, title) == 0
        assert await database.run(scalar("SELECT 1")) == 1
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
async def test_only_structs_come_out(
    shared_url: sa.URL, driver: Driver, observer: Observer, wrong: Callable[[Session], Any]
) -> None:
    """What could load lazily later is refused by TypeError, and what the work wrote is rolled back."""
    title = f"comes out with {driver}"
    async with started(shared_url, driver, pool_size=1) as database:
        with pytest.raises(TypeError, match="wire structs"):
            await database.run(add(title, wrong))
    assert stored(observer, title) == 0


async def test_cancelled_requests_leave_nothing(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """After 50 units of work were cancelled anywhere in their course no connection is out, none sits in a
    transaction, none is lost, and the database goes on working."""
    chance = random.Random(7)  # noqa: S311 - the same moments in every run
    title = f"cancelled with {driver}"

    async with started(shared_url, driver, pool_size=4, pool_timeout=PATIENCE_S) as database:

        async def request(number: int) -> None:
            await database.run(add(f"{title} {number}", scalar("SELECT pg_sleep(0.02)::text")))

        tasks = [asyncio.create_task(request(number)) for number in range(50)]
        for task in chance.sample(tasks, len(tasks)):
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(chance.random() / 1000)
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        cancelled = sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert cancelled > 10
        assert [one for one in outcomes if one is not None and not isinstance(one, asyncio.CancelledError)] == []

        await until(lambda: checked_out(database) == 0, "a connection stayed out")
        await until(lambda: sessions(observer, database, "state <> 'idle'") == 0, "a session is not idle")
        await until(lambda: sessions(observer, database) <= 4, "a session was lost")
        again = await asyncio.gather(*(database.run(scalar("SELECT 1")) for _ in range(8)))
        assert again == [1] * 8
        await database.run(add(title))
        assert stored(observer, title) == 1
    await until(lambda: sessions(observer, database) == 0, "stop() left a session")
    gc.collect()  # SQLAlchemy warns of a connection that was forgotten; a warning is an error here
    for number, outcome in enumerate(outcomes):
        if outcome is None:
            assert stored(observer, f"{title} {number}") == 1


async def test_cancelled_while_connecting(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """A request cancelled at any moment of its connect leaves no session, and needs no garbage collector
    for that."""
    threads = {"threads": 4} if driver == "psycopg-sync" else {}
    async with started(shared_url, driver, pool="null", **threads) as database:
        gc.collect()
        gc.disable()
        try:
            for tenths in range(100):
                request = asyncio.create_task(database.run(scalar("SELECT 1")))
                await asyncio.sleep(tenths / 10_000)
                request.cancel()
                await asyncio.gather(request, return_exceptions=True)
                del request
            await until(lambda: sessions(observer, database) == 0, "a session was lost")
        finally:
            gc.enable()
        assert await database.run(scalar("SELECT 1")) == 1


@pytest.mark.parametrize("threads", [2, 10])
async def test_more_work_than_connections_all_ends(shared_url: sa.URL, threads: int) -> None:
    """20 concurrent units of work end on 2 connections, with as many threads or more of them."""
    async with started(shared_url, "psycopg-sync", pool_size=2, threads=threads, pool_timeout=PATIENCE_S) as database:
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
    """20 concurrent units of work end on one connection, on every driver."""
    async with started(shared_url, driver, pool_size=1, pool_timeout=PATIENCE_S) as database:
        done = await asyncio.gather(*(database.run(scalar("SELECT pg_backend_pid()")) for _ in range(20)))
        assert len(set(done)) == 1


@asynccontextmanager
async def busy(database: Database, observer: Observer, count: int) -> AsyncIterator[None]:
    """`count` units of work that hold their connections until the block ends."""
    observer.execute("SELECT pg_advisory_lock(1)")
    work = scalar("SELECT pg_advisory_xact_lock(1)::text")
    tasks = [asyncio.create_task(database.run(work)) for _ in range(count)]
    try:
        waiting = "wait_event_type = 'Lock'"
        await until(lambda: sessions(observer, database, waiting) == count, "no session waits")
        yield
    finally:
        observer.execute("SELECT pg_advisory_unlock(1)")
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("keys", [{}, {"threads": 5}], ids=["as many threads", "more threads"])
async def test_exhausted_pool_is_told(
    shared_url: sa.URL, driver: Driver, observer: Observer, keys: dict[str, int]
) -> None:
    """Who finds no connection within pool_timeout gets sqlalchemy's TimeoutError, which is 503
    pool_exhausted; afterwards all is as before."""
    if keys and driver != "psycopg-sync":
        keys = {"max_overflow": 1}
    async with started(shared_url, driver, pool_size=2, pool_timeout=0.1, **keys) as database:
        async with busy(database, observer, 2 + database.profile.max_overflow):
            late = await asyncio.gather(*(database.run(scalar("SELECT 1")) for _ in range(3)), return_exceptions=True)
            assert [type(one) for one in late] == [sa.exc.TimeoutError] * 3
            for one in late:
                assert isinstance(one, BaseException)
                assert sqlstate.trouble(one) == ("pool_exhausted", "All database connections are in use.")
        assert await database.run(scalar("SELECT 1")) == 1
        assert checked_out(database) == 0


async def test_waiting_requests_come_before_the_timeout(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """A request that waits for a connection gets the one that is given back."""
    async with started(shared_url, driver, pool_size=1, pool_timeout=PATIENCE_S) as database:
        async with busy(database, observer, 1):
            waiting = asyncio.create_task(database.run(scalar("SELECT 1")))
            await asyncio.sleep(0)
            assert not waiting.done()
        assert await waiting == 1


async def test_pool_is_warm_and_gone(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """After start() there are exactly pool_size sessions, named after profile and process; requests open no
    more; after stop() there is none."""
    database = make_database(EngineProfile(name="warm", driver=driver, pool_size=3, max_overflow=2), shared_url)
    assert application_name(database.profile) == f"bookstore/warm/{os.getpid()}"
    assert sessions(observer, database) == 0
    await database.start()
    try:
        assert sessions(observer, database) == 3
        first = observer.execute(
            "SELECT array_agg(pid ORDER BY pid) FROM pg_stat_activity WHERE application_name LIKE 'bookstore/warm/%'"
        ).fetchone()
        assert first
        pids = [await database.run(scalar("SELECT pg_backend_pid()"), reading=True) for _ in range(6)]
        assert set(pids) <= set(first[0])
        assert sessions(observer, database) == 3
    finally:
        await database.stop()
    await until(lambda: sessions(observer, database) == 0, "sessions are left")


async def test_application_name_fits(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """The longest profile name leaves room for the pid in PostgreSQL's 63 bytes."""
    profile = EngineProfile(name="n" * 80, driver=driver, pool_size=1)
    name = application_name(profile)
    assert (len(name), name.endswith(f"n/{os.getpid()}")) == (63, True)
    database = make_database(profile, shared_url)
    await database.start()
    try:
        assert sessions(observer, database) == 1
    finally:
        await database.stop()


async def test_statement_timeout(shared_url: sa.URL, driver: Driver) -> None:
    """The profile's statement_timeout stands in each session; a longer statement is 503 db_timeout, and the
    connection is good for the next."""
    async with started(shared_url, driver, pool_size=1, statement_timeout=0.2) as database:
        assert await database.run(scalar("SHOW statement_timeout")) == "200ms"
        assert await database.run(scalar("SHOW idle_in_transaction_session_timeout")) == "10s"
        before = await database.run(scalar("SELECT pg_backend_pid()"))
        for reading in (True, False):
            with pytest.raises(Exception) as caught:  # noqa: PT011 - drivers differ in the type
                await database.run(scalar("SELECT pg_sleep(60)::text"), reading=reading)
            known = sqlstate.trouble(caught.value)
            assert known
            assert known[0] == "db_timeout"
        assert await database.run(scalar("SELECT pg_backend_pid()")) == before


@pytest.mark.parametrize("prepared", [True, False])
async def test_prepared_statements(shared_url: sa.URL, driver: Driver, prepared: bool) -> None:
    """With prepared_statements the driver prepares what comes again, without them never."""
    async with started(shared_url, driver, pool_size=1, prepared_statements=prepared) as database:
        for number in range(10):  # psycopg prepares at the sixth time
            assert await database.run(scalar("SELECT cast(:number AS int)", number=number), reading=True) == number
        count = await database.run(
            scalar("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT cast(%'"), reading=True
        )
        assert count == (1 if prepared else 0)


def twice(statement: str) -> Callable[[Session], str]:
    def work(session: Session) -> str:
        return " ".join(str(session.scalar(sa.text(statement))) for _ in range(2))

    return work


@pytest.mark.parametrize("isolation", ["AUTOCOMMIT", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
async def test_isolation(shared_url: sa.URL, driver: Driver, isolation: Any) -> None:
    """The level is for reading only: writing is one READ COMMITTED transaction, also on the same connection
    right after."""
    async with started(shared_url, driver, pool_size=1, isolation_level=isolation) as database:
        for _ in range(2):
            ids = {
                reading: (await database.run(twice("SELECT pg_current_xact_id()::text"), reading=reading)).split()
                for reading in (True, False)
            }
            assert len(set(ids[False])) == 1
            assert len(set(ids[True])) == (2 if isolation == "AUTOCOMMIT" else 1)
            shown = {True: isolation.lower().replace("autocommit", "read committed"), False: "read committed"}
            for reading in (True, False):
                assert await database.run(scalar("SHOW transaction_isolation"), reading=reading) == shown[reading]


async def test_autocommit_never_splits_a_write(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """With AUTOCOMMIT for reading, a write that fails half way leaves no half."""
    title = f"half with {driver}"

    def half(session: Session) -> None:
        session.add(Book(title=title))
        session.flush()
        session.add(Book(title=""))
        session.flush()

    async with started(shared_url, driver, pool_size=1, isolation_level="AUTOCOMMIT") as database:
        assert await database.run(scalar("SELECT 1"), reading=True) == 1
        with pytest.raises(sa.exc.IntegrityError):
            await database.run(half)
    assert stored(observer, title) == 0


async def test_without_a_pool(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """pool: null opens a connection for each unit of work and closes it."""
    threads = {"threads": 3} if driver == "psycopg-sync" else {}
    async with started(shared_url, driver, pool="null", **threads) as database:
        await until(lambda: sessions(observer, database) == 0, "start left a session")
        pids = [await database.run(scalar("SELECT pg_backend_pid()")) for _ in range(3)]
        assert len(set(pids)) == 3
        await until(lambda: sessions(observer, database) == 0, "a unit of work left its session")


@pytest.mark.parametrize(("lifo", "different"), [(True, 1), (False, 3)])
async def test_which_connection_is_lent(shared_url: sa.URL, driver: Driver, lifo: bool, different: int) -> None:
    """pool_use_lifo lends the connection used last, otherwise they take turns."""
    async with started(shared_url, driver, pool_size=3, pool_use_lifo=lifo) as database:
        pids = [await database.run(scalar("SELECT pg_backend_pid()")) for _ in range(6)]
        assert len(set(pids)) == different


@pytest.mark.parametrize("reading", [True, False])
@pytest.mark.parametrize("pre_ping", [True, False])
async def test_killed_backend(
    shared_url: sa.URL, driver: Driver, observer: Observer, reading: bool, pre_ping: bool
) -> None:
    """A session that PostgreSQL ended fails one request at most, with 503 db_unavailable, and none where
    connections are tried first; the next one works, on a new session."""
    async with started(shared_url, driver, pool_size=1, pool_pre_ping=pre_ping) as database:
        killed = await database.run(scalar("SELECT pg_backend_pid()"), reading=reading)
        observer.execute("SELECT pg_terminate_backend(%s, 5000)", [killed])
        request = database.run(scalar("SELECT pg_backend_pid()"), reading=reading)
        outcome: Any = (await asyncio.gather(request, return_exceptions=True))[0]
        if isinstance(outcome, BaseException):
            assert not pre_ping
            assert sqlstate.trouble(outcome) == ("db_unavailable", "The database cannot be reached.")
        assert await database.run(scalar("SELECT pg_backend_pid()"), reading=reading) != killed
        assert checked_out(database) == 0
        assert sessions(observer, database) == 1


async def test_killed_in_the_middle(shared_url: sa.URL, driver: Driver, observer: Observer) -> None:
    """Sessions ended while they work fail their requests with 503 db_unavailable; the pool fills again."""
    async with started(shared_url, driver, pool_size=2) as database:
        tasks = [asyncio.create_task(database.run(scalar("SELECT pg_sleep(60)::text"))) for _ in range(2)]
        await until(lambda: sessions(observer, database, "wait_event = 'PgSleep'") == 2, "nobody sleeps")
        observer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            [application_name(database.profile)],
        )
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, BaseException)
            known = sqlstate.trouble(outcome)
            assert known
            assert known[0] == "db_unavailable"
        assert await asyncio.gather(*(database.run(scalar("SELECT 1")) for _ in range(4))) == [1] * 4
        assert checked_out(database) == 0


async def test_start_without_a_server_fails(shared_url: sa.URL, driver: Driver) -> None:
    """start() raises where nobody listens, it does not hang; stop() then still ends all threads."""
    before = set(threading.enumerate())
    database = make_database(EngineProfile(name="test", driver=driver, pool_size=3), nowhere(shared_url))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - drivers differ in the type
        await database.start()
    cause = caught.value.exceptions[0] if isinstance(caught.value, ExceptionGroup) else caught.value
    assert sqlstate.trouble(cause) == ("db_unavailable", "The database cannot be reached.")
    await database.stop()
    left = [one for one in threading.enumerate() if one not in before and one.name.startswith("database")]
    assert left == []


def nowhere(url: sa.URL) -> sa.URL:
    """A port of this machine where nobody listens."""
    return url.set(host="127.0.0.1", port=1, query={})
