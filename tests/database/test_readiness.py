"""Readiness under load, on every driver: how often the database is queried, and the result with a full pool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, get_args

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.database import readiness
from bookstore.database.readiness import Readiness
from bookstore.database.unit_of_work import Database, make_database
from bookstore.database.url import conninfo
from bookstore.exceptions import ApiError
from bookstore.profile.engine_profile import Driver, EngineProfile

pytestmark = pytest.mark.anyio

PATIENCE_S = 20.0
FOREVER_S = 3600.0


@pytest.fixture(params=get_args(Driver))
def driver(request: pytest.FixtureRequest) -> Driver:
    driver: Driver = request.param
    return driver


@asynccontextmanager
async def running_database(url: sa.URL, driver: Driver, **keys: Any) -> AsyncIterator[Database]:
    keys = {"pool_size": 1, "pool_timeout": PATIENCE_S, "statement_timeout": 60.0} | keys
    database = make_database(EngineProfile(name="ready", driver=driver, **keys), url)
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """The statements that are sent within the block."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


async def wait_until(condition: Callable[[], bool], message: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, message
        await asyncio.sleep(0.01)


def select_one(session: Session) -> int:
    return session.scalar(sa.text("SELECT 1")) or 0


def take_lock(session: Session) -> int:
    session.execute(sa.text("SELECT pg_advisory_xact_lock(1)"))
    return 1


@asynccontextmanager
async def full_pool(database: Database, url: sa.URL) -> AsyncIterator[None]:
    """Units of work hold all connections until the block ends."""
    count = database.profile.units_at_once
    with psycopg.connect(conninfo(url), autocommit=True) as blocker:
        blocker.execute("SELECT pg_advisory_lock(1)")
        holders = [asyncio.create_task(database.run(take_lock)) for _ in range(count)]
        try:
            await wait_until(lambda: _waiting(blocker) == count, "not all connections are held")
            assert database.is_full
            yield
        finally:
            blocker.execute("SELECT pg_advisory_unlock(1)")
            assert await asyncio.gather(*holders) == [1] * count


def _waiting(observer: psycopg.Connection[Any]) -> int:
    row = observer.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchone()
    assert row
    return int(row[0])


async def test_probes_share_a_check(url: sa.URL, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of concurrent probes, and later ones while the result is cached, cause one query."""
    monkeypatch.setattr(readiness, "CACHE_TTL_S", FOREVER_S)
    async with running_database(url, driver) as database:
        ready = Readiness(database)
        with statements(database) as sent:
            assert await asyncio.gather(*(ready.obstacle() for _ in range(20))) == [None] * 20
            assert await ready.obstacle() is None
            assert len(sent) == 1
            monkeypatch.setattr(ready, "_kept_until_s", 0.0)
            assert await ready.obstacle() is None
            assert len(sent) == 2


async def test_cancelled_probe_cancels_no_other(url: sa.URL, driver: Driver) -> None:
    """Cancelling one probe does not cancel others."""
    async with running_database(url, driver) as database:
        ready = Readiness(database)
        first, second = (asyncio.create_task(ready.obstacle()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second is None
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_busy_worker_is_ready(url: sa.URL, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """If all connections are in use and work succeeds, the worker is ready and the check takes no connection."""
    monkeypatch.setattr(readiness, "CACHE_TTL_S", 0.0)
    monkeypatch.setattr(readiness, "PROOF_TTL_S", FOREVER_S)
    async with running_database(url, driver, pool_size=2) as database:
        ready = Readiness(database)
        assert await database.run(select_one) == 1
        async with full_pool(database, url):
            with statements(database) as sent:
                assert [await ready.obstacle() for _ in range(3)] == [None] * 3
            assert sent == []
            assert database.in_progress == 2


async def test_a_stuck_worker_is_not_ready(url: sa.URL, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """If all connections are in use and no work succeeds, the worker is not ready; it is again once a connection is
    free, and no connection is lost."""
    monkeypatch.setattr(readiness, "CACHE_TTL_S", 0.0)
    monkeypatch.setattr(readiness, "PROOF_TTL_S", 0.0)
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT_S", 0.1)
    async with running_database(url, driver) as database:
        ready = Readiness(database)
        assert await database.run(select_one) == 1
        async with full_pool(database, url):
            assert await ready.obstacle() == "db_timeout"
        monkeypatch.setattr(readiness, "CHECK_TIMEOUT_S", PATIENCE_S)
        assert await ready.obstacle() is None
        assert isinstance(database.pool, sa.QueuePool)
        assert database.pool.checkedout() == 0


async def test_no_connection_in_time(url: sa.URL, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """If pool_timeout passes before the check's timeout, that is the reason, unless work succeeds."""
    monkeypatch.setattr(readiness, "CACHE_TTL_S", 0.0)
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr(readiness, "PROOF_TTL_S", 0.0)
    async with running_database(url, driver, pool_timeout=0.1) as database:
        ready = Readiness(database)
        async with full_pool(database, url):
            assert await ready.obstacle() == "pool_exhausted"


async def test_check_that_times_out(url: sa.URL, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that times out has no effect if other work succeeds meanwhile."""
    monkeypatch.setattr(readiness, "CACHE_TTL_S", 0.0)
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT_S", 0.1)
    async with running_database(url, driver, pool_size=2) as database:
        ready = Readiness(database)
        with psycopg.connect(conninfo(url)) as blocker:
            blocker.execute("LOCK TABLE schema_version IN ACCESS EXCLUSIVE MODE")
            assert await ready.obstacle() == "db_timeout"
            monkeypatch.setattr(readiness, "PROOF_TTL_S", FOREVER_S)
            assert await database.run(select_one) == 1
            assert await ready.obstacle() is None


async def test_wrong_schema_is_remembered(url: sa.URL, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker on a wrong schema does not become ready by being busy."""
    monkeypatch.setattr(readiness, "CACHE_TTL_S", 0.0)
    monkeypatch.setattr(readiness, "PROOF_TTL_S", FOREVER_S)
    with psycopg.connect(conninfo(url)) as connection:
        connection.execute("UPDATE schema_version SET version_num = '0000'")
    async with running_database(url, driver) as database:
        ready = Readiness(database)
        obstacle = await ready.obstacle()
        assert obstacle
        assert "0000" in obstacle
        assert await database.run(select_one) == 1
        async with full_pool(database, url):
            assert await ready.obstacle() == obstacle


async def test_check_is_not_shed(url: sa.URL, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """When further work is rejected, the check waits for a connection and gets it."""
    monkeypatch.setattr(readiness, "PROOF_TTL_S", 0.0)
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT_S", PATIENCE_S)
    async with running_database(url, driver, max_waiting=0) as database:
        ready = Readiness(database)
        async with full_pool(database, url):
            with pytest.raises(ApiError, match="Too many requests are waiting") as caught:
                await database.run(select_one)
            assert caught.value.code == "overloaded"
            check = asyncio.create_task(ready.obstacle())
            await asyncio.sleep(0.05)
            assert not check.done()
        assert await check is None
