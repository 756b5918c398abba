"""Counts of units of work and connections, in one process, with every driver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, get_args

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.database.url import conninfo
from bookstore.exceptions import ApiError
from bookstore.observability.metrics import pool
from bookstore.observability.metrics.block import (
    BYTES,
    CHECKED_OUT,
    CONNECT_FAILED,
    CONNECTS,
    FAILED,
    REQUESTED,
    SHED,
    STATEMENTS,
    WAITING,
    Block,
)
from bookstore.observability.metrics.requests import TALLY, Tally
from bookstore.profile.engine_profile import Driver, EngineProfile

pytestmark = pytest.mark.anyio

PATIENCE_S = 20.0


@pytest.fixture(params=get_args(Driver))
def driver(request: pytest.FixtureRequest) -> Driver:
    found: Driver = request.param
    return found


@pytest.fixture
def block() -> Block:
    return Block(memoryview(bytearray(BYTES)))


async def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


def statements(count: int) -> Callable[[Session], int]:
    """Return a unit of work with `count` statements."""

    def work(session: Session) -> int:
        for _ in range(count):
            session.execute(sa.text("SELECT 1"))
        return count

    return work


def take_lock(session: Session) -> int:
    session.execute(sa.text("SELECT pg_advisory_xact_lock(1)"))
    return 0


async def test_shedding(url: sa.URL, driver: Driver, block: Block) -> None:
    """While one unit of work runs and max_waiting others wait, further ones are rejected at once, without requesting a
    connection, sending a statement or waiting. Rejections are counted, and later work is done again."""
    profile = EngineProfile(
        name="shed", driver=driver, pool_size=1, max_waiting=2, pool_timeout=PATIENCE_S, statement_timeout=60.0
    )
    database = pool.make_database(profile, url, block)
    await database.start()
    cells = block.cells
    try:
        with psycopg.connect(conninfo(url), autocommit=True) as blocker:
            blocker.execute("SELECT pg_advisory_lock(1)")
            taken = [asyncio.create_task(database.run(take_lock))]
            await until(lambda: cells[CHECKED_OUT] == 1, "the connection is not held")
            taken += [asyncio.create_task(database.run(statements(1))) for _ in range(2)]
            await until(lambda: cells[WAITING] == 2, "nobody waits")
            before = [cells[cell] for cell in (REQUESTED, STATEMENTS, FAILED, WAITING)]
            for count in (1, 2, 3):
                with pytest.raises(ApiError) as rejection:
                    await database.run(statements(1), reading=count == 2)
                assert (rejection.value.code, rejection.value.problem_type.status) == ("overloaded", 503)
                assert cells[SHED] == count
            assert [cells[cell] for cell in (REQUESTED, STATEMENTS, FAILED, WAITING)] == before
            assert database.in_progress == 3
            blocker.execute("SELECT pg_advisory_unlock(1)")
        assert await asyncio.gather(*taken) == [0, 1, 1]
        assert database.in_progress == 0
        assert await asyncio.gather(*(database.run(statements(1)) for _ in range(3))) == [1] * 3
        assert (cells[SHED], cells[FAILED], cells[WAITING], cells[CHECKED_OUT]) == (3, 0, 0, 0)
    finally:
        await database.stop()


async def test_failed_work_makes_room(url: sa.URL, driver: Driver, block: Block) -> None:
    """After a unit of work fails, or is cancelled while waiting, the next one can take its place."""

    def fail(_: Session) -> int:
        raise LookupError("on purpose")

    profile = EngineProfile(name="shed", driver=driver, pool_size=1, max_waiting=0, pool_timeout=PATIENCE_S)
    database = pool.make_database(profile, url, block)
    await database.start()
    try:
        for _ in range(3):
            with pytest.raises(LookupError):
                await database.run(fail)
        for _ in range(3):
            task = asyncio.create_task(database.run(statements(1)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert database.in_progress == 0
        await until(lambda: block.cells[CHECKED_OUT] == 0, "a connection is not back")
        assert await database.run(statements(1)) == 1
        assert block.cells[SHED] == 0
    finally:
        await database.stop()


async def test_statements_per_request(url: sa.URL, driver: Driver, block: Block) -> None:
    """Concurrent requests each count their own statements, in any thread. Statements outside of a request only count
    in the total."""
    database = pool.make_database(EngineProfile(name="tally", driver=driver, pool_size=3), url, block)
    await database.start()
    before = block.cells[STATEMENTS]

    async def request(count: int) -> int:
        tally = Tally()
        TALLY.set(tally)
        for _ in range(5):
            await database.run(statements(count), reading=True)
        return tally.statements

    try:
        counts = await asyncio.gather(*(request(count) for count in range(1, 9)))
        assert counts == [5 * count for count in range(1, 9)]
        assert block.cells[STATEMENTS] - before == sum(counts)
        await database.run(statements(2))
        assert block.cells[STATEMENTS] - before == sum(counts) + 2
    finally:
        await database.stop()


async def test_failed_connects(url: sa.URL, driver: Driver, block: Block) -> None:
    """Only failed attempts to connect count as failed."""
    nowhere = url.set(host="127.0.0.1", port=1, query={})
    database = pool.make_database(EngineProfile(name="nowhere", driver=driver, pool_size=1), nowhere, block)
    with pytest.raises(Exception):  # noqa: B017, PT011 - drivers differ in the type
        await database.run(statements(1))
    await database.stop()
    assert block.cells[CONNECT_FAILED] == block.cells[CONNECTS] == 1
    reachable: Any = pool.make_database(EngineProfile(name="reachable", driver=driver, pool_size=1), url, block)
    await reachable.run(statements(1))
    await reachable.stop()
    assert (block.cells[CONNECT_FAILED], block.cells[CONNECTS]) == (1, 2)
