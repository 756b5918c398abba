"""Profile -> engine, pool and `run(work)`: one body of domain code under two runners.

`work` is a plain function from a sync Session to a wire struct: one unit of work, one session, one
transaction, one commit. The async drivers run it inside SQLAlchemy's greenlet, the sync driver in threads
that the Database owns. It returns structs only, so nothing lazy can happen after it.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import Any, Final, NoReturn, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from bookstore.database import engine as engine_options
from bookstore.database import sqlstate
from bookstore.database.engine import CONNECT_TIMEOUT_S
from bookstore.exceptions import ApiError
from bookstore.profile.engine_profile import EngineProfile

Wire = msgspec.Struct | msgspec.Raw | str | int | bool | None
T = TypeVar("T", bound=Wire)
Work = Callable[[Session], T]

ATTEMPTS: Final = 3
LONGEST_PAUSE_S: Final = 0.05
"""How often a write is tried that others are in the way of, and how long it lets them go first."""


class Database(ABC):
    """A profile's engine. Made inside the worker that uses it, never before a fork."""

    def __init__(self, profile: EngineProfile) -> None:
        self.profile = profile
        self.in_progress = 0
        """Units of work that have a connection, or wait for one."""
        self.answered_s = -math.inf
        """The moment, by time.monotonic(), at which the last one ended well."""
        self._most = profile.units_at_once + profile.max_waiting

    @abstractmethod
    async def start(self) -> None:
        """Opens pool_size connections, so that no request waits for one to be made."""

    @abstractmethod
    async def stop(self) -> None:
        """Closes all connections."""

    async def run(self, work: Work[T], *, reading: bool = False) -> T:
        """Runs `work` as one unit of work and returns what it returned, after the commit.

        With `reading` the profile's isolation level holds, which may be AUTOCOMMIT, and nothing is
        committed; otherwise the work is one READ COMMITTED transaction, which begins anew, up to three times
        in all, where PostgreSQL rolled it back for another one's sake. Raises what `work` raises, after a
        rollback; TypeError where `work` returns anything but wire structs; sqlalchemy.exc.TimeoutError
        after pool_timeout without a connection; ApiError `overloaded` at once where max_waiting others wait.
        """
        if self.in_progress >= self._most:
            self.refuse()
        self.in_progress += 1
        try:
            result = await self._tried(work, reading)
        finally:
            self.in_progress -= 1
        self.answered_s = monotonic()
        return result

    async def probe(self, work: Work[T], *, reading: bool = True) -> T:
        """Runs `work` as run() does, but once, refuses it never, and counts it among nobody's work."""
        return await self._once(work, reading)

    @property
    def is_full(self) -> bool:
        """Whether a further unit of work would have to wait for a connection."""
        return self.in_progress >= self.profile.units_at_once

    def refuse(self) -> NoReturn:
        """Raises the ApiError for a unit of work that may not even wait."""
        raise ApiError("overloaded", "Enough requests wait for the database already.")

    async def _tried(self, work: Work[T], reading: bool) -> T:
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._once(work, reading)
            except sa.exc.DBAPIError as error:
                if reading or not sqlstate.is_passing(error):
                    raise
            await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_S))  # noqa: S311 - no secret
        return await self._once(work, reading)

    @abstractmethod
    async def _once(self, work: Work[T], reading: bool) -> T:
        """Runs `work` as one unit of work."""

    @property
    @abstractmethod
    def engine(self) -> sa.Engine:
        """SQLAlchemy's engine, for its events."""

    @property
    def pool(self) -> sa.Pool:
        """Its pool, for gauges."""
        return self.engine.pool


def make_database(profile: EngineProfile, url: sa.URL) -> Database:
    """The Database of `profile` on the server at `url` (without a driver). Opens nothing yet."""
    return ThreadedDatabase(profile, url) if profile.is_sync else AsyncDatabase(profile, url)


class AsyncDatabase(Database):
    """asyncpg and psycopg's async side: `work` runs in a greenlet on the event loop."""

    def __init__(self, profile: EngineProfile, url: sa.URL) -> None:
        super().__init__(profile)
        engine = create_async_engine(**engine_options.engine_arguments(profile, url))
        self._reading = engine
        self._writing = _transactional(engine)

    async def start(self) -> None:
        async with asyncio.TaskGroup() as group:
            everyone = asyncio.Barrier(_warm_count(self.profile))
            for _ in range(_warm_count(self.profile)):
                group.create_task(self._warm(everyone))

    async def _warm(self, everyone: asyncio.Barrier) -> None:
        async with self._reading.connect():
            await everyone.wait()

    async def stop(self) -> None:
        await self._reading.dispose()

    async def _once(self, work: Work[T], reading: bool) -> T:
        session = AsyncSession(self._reading if reading else self._writing, expire_on_commit=False)
        return await session.run_sync(_unit, work, reading)

    @property
    def engine(self) -> sa.Engine:
        return self._reading.sync_engine


class ThreadedDatabase(Database):
    """psycopg's sync side: `work` runs in one of the Database's own threads.

    Requests wait for a thread on the event loop and not for a connection inside of a thread: with as many
    threads as connections none of them can hold one while it waits for another.
    """

    def __init__(self, profile: EngineProfile, url: sa.URL) -> None:
        super().__init__(profile)
        engine = sa.create_engine(**engine_options.engine_arguments(profile, url))
        self._engine = engine
        self._reading = sessionmaker(engine, expire_on_commit=False)
        self._writing = sessionmaker(_transactional(engine), expire_on_commit=False)
        self._threads = ThreadPoolExecutor(profile.thread_count, thread_name_prefix="database")
        self._free = asyncio.Semaphore(profile.thread_count)

    async def start(self) -> None:
        count = _warm_count(self.profile)
        everyone = threading.Barrier(count, timeout=CONNECT_TIMEOUT_S * 2)

        def warm() -> None:
            try:
                with self._engine.connect():
                    everyone.wait()
            except threading.BrokenBarrierError:  # another connect failed, or takes too long
                raise sa.exc.TimeoutError("the pool could not be filled", code="3o7r") from None
            except sa.exc.DBAPIError:
                everyone.abort()
                raise

        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._threads, warm) for _ in range(count)))

    async def stop(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    async def _once(self, work: Work[T], reading: bool) -> T:
        await self._take_thread()
        loop = asyncio.get_running_loop()

        def give_back(_: Future[T]) -> None:
            # On the thread's end, not the request's: a cancelled request leaves its thread at work.
            loop.call_soon_threadsafe(self._free.release)

        make_session = self._reading if reading else self._writing
        future = self._threads.submit(contextvars.copy_context().run, lambda: _unit(make_session(), work, reading))
        future.add_done_callback(give_back)
        return await asyncio.wrap_future(future)

    async def _take_thread(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(self.profile.pool_timeout):
                await self._free.acquire()
        except TimeoutError:
            raise sa.exc.TimeoutError(
                f"no thread free within pool_timeout {self.profile.pool_timeout:g} s", code="3o7r"
            ) from None

    @property
    def engine(self) -> sa.Engine:
        return self._engine


def _unit(session: Session, work: Work[T], reading: bool) -> T:
    """The unit of work, the same on every driver. Reading has nothing to commit: closing ends it."""
    with session:
        result = work(session)
        if not isinstance(result, Wire):
            raise TypeError(
                f"a unit of work returns wire structs only, not {type(result).__name__}: "
                f"what is loaded lazily would fail or query outside of its session"
            )
        if not reading:
            session.commit()
    return result


def _warm_count(profile: EngineProfile) -> int:
    return profile.pool_size if profile.pool == "queue" else 1


def _transactional(engine: Any) -> Any:
    """The engine for units of work that write. It shares the pool.

    They lock the rows that they change and then see what those committed whom they waited for. A snapshot of
    the whole transaction, as above READ COMMITTED, is older: it would only make them fail and begin anew.
    """
    return engine.execution_options(isolation_level="READ COMMITTED")
