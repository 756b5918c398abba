"""A profile's engine and pool, and `run(work)`, which runs the same domain code on async and sync drivers.

`work` is a plain function from a sync Session to a wire struct: one unit of work, one session, one transaction, one
commit. The async drivers run it in SQLAlchemy's greenlet, the sync driver in threads that the Database owns. It may
return only structs, so that nothing is loaded lazily after it.
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

from bookstore.database import sqlstate
from bookstore.database.engine import CONNECT_TIMEOUT_S, engine_arguments, listen
from bookstore.exceptions import ApiError
from bookstore.profile.engine_profile import EngineProfile

Wire = msgspec.Struct | msgspec.Raw | str | int | bool | None
T = TypeVar("T", bound=Wire)
Work = Callable[[Session], T]

ATTEMPTS: Final = 3
MAX_PAUSE_S: Final = 0.05
"""How often a write that conflicts with others is attempted, and the longest random pause before a retry."""


class Database(ABC):
    """A profile's engine. Create it in the worker that uses it, never before a fork."""

    def __init__(self, profile: EngineProfile) -> None:
        self.profile = profile
        self.in_progress = 0
        """The number of units of work that have a connection or wait for one."""
        self.last_success_s = -math.inf
        """The time.monotonic() at which a unit of work last succeeded."""
        self._max_in_progress = profile.units_at_once + profile.max_waiting

    @abstractmethod
    async def start(self) -> None:
        """Open pool_size connections, so that no request waits for a connect."""

    @abstractmethod
    async def stop(self) -> None:
        """Close all connections."""

    async def run(self, work: Work[T], *, reading: bool = False) -> T:
        """Run `work` as one unit of work and return its result after the commit.

        With `reading` the profile's isolation level applies, which may be AUTOCOMMIT, and nothing is committed.
        Otherwise `work` is one READ COMMITTED transaction; if PostgreSQL rolls it back because of a concurrent one, it
        is retried, up to ATTEMPTS attempts in total. Raises what `work` raises, after a rollback; TypeError if `work`
        returns anything but wire structs; sqlalchemy.exc.TimeoutError after pool_timeout without a connection;
        ApiError `overloaded` at once if max_waiting units of work already wait.
        """
        if self.in_progress >= self._max_in_progress:
            self.refuse()
        self.in_progress += 1
        try:
            result = await self._run_with_retries(work, reading)
        finally:
            self.in_progress -= 1
        self.last_success_s = monotonic()
        return result

    async def probe(self, work: Work[T], *, reading: bool = True) -> T:
        """Run `work` like run(), but without retries, overload check and counting."""
        return await self._run_once(work, reading)

    @property
    def is_full(self) -> bool:
        """Whether a further unit of work would have to wait for a connection."""
        return self.in_progress >= self.profile.units_at_once

    def refuse(self) -> NoReturn:
        """Raise the ApiError for a unit of work that is rejected because too many others wait."""
        raise ApiError("overloaded", "Too many requests are waiting for the database.")

    async def _run_with_retries(self, work: Work[T], reading: bool) -> T:
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._run_once(work, reading)
            except sa.exc.DBAPIError as error:
                if reading or not sqlstate.is_transient(error):
                    raise
            await asyncio.sleep(random.uniform(0, MAX_PAUSE_S))  # noqa: S311 - no secret
        return await self._run_once(work, reading)

    @abstractmethod
    async def _run_once(self, work: Work[T], reading: bool) -> T:
        """Run `work` as one unit of work, in one attempt."""

    @property
    @abstractmethod
    def engine(self) -> sa.Engine:
        """SQLAlchemy's engine, for event listeners."""

    @property
    def pool(self) -> sa.Pool:
        """The engine's pool, for metrics."""
        return self.engine.pool


def make_database(profile: EngineProfile, url: sa.URL) -> Database:
    """Return a Database for `profile` at `url` (without a driver). It opens no connection before start()."""
    return ThreadedDatabase(profile, url) if profile.is_sync else AsyncDatabase(profile, url)


class AsyncDatabase(Database):
    """asyncpg and psycopg's async side: `work` runs in a greenlet on the event loop."""

    def __init__(self, profile: EngineProfile, url: sa.URL) -> None:
        super().__init__(profile)
        engine = create_async_engine(**engine_arguments(profile, url))
        listen(engine.sync_engine, profile)
        self._reading = engine
        self._writing = _transactional(engine)

    async def start(self) -> None:
        async with asyncio.TaskGroup() as group:
            barrier = asyncio.Barrier(_warm_count(self.profile))
            for _ in range(_warm_count(self.profile)):
                group.create_task(self._warm(barrier))

    async def _warm(self, barrier: asyncio.Barrier) -> None:
        async with self._reading.connect():
            await barrier.wait()

    async def stop(self) -> None:
        await self._reading.dispose()

    async def _run_once(self, work: Work[T], reading: bool) -> T:
        session = AsyncSession(self._reading if reading else self._writing, expire_on_commit=False)
        return await session.run_sync(_run_unit, work, reading)

    @property
    def engine(self) -> sa.Engine:
        return self._reading.sync_engine


class ThreadedDatabase(Database):
    """psycopg's sync side: `work` runs in one of the Database's own threads.

    Requests wait for a thread on the event loop rather than for a connection in a thread: with as many threads as
    connections, no thread ever waits for a connection.
    """

    def __init__(self, profile: EngineProfile, url: sa.URL) -> None:
        super().__init__(profile)
        engine = sa.create_engine(**engine_arguments(profile, url))
        listen(engine, profile)
        self._engine = engine
        self._reading = sessionmaker(engine, expire_on_commit=False)
        self._writing = sessionmaker(_transactional(engine), expire_on_commit=False)
        self._threads = ThreadPoolExecutor(profile.thread_count, thread_name_prefix="database")
        self._free = asyncio.Semaphore(profile.thread_count)

    async def start(self) -> None:
        count = _warm_count(self.profile)
        barrier = threading.Barrier(count, timeout=CONNECT_TIMEOUT_S * 2)

        def warm() -> None:
            try:
                with self._engine.connect():
                    barrier.wait()
            except threading.BrokenBarrierError:  # another connect failed or took too long
                raise sa.exc.TimeoutError("the pool could not be filled", code="3o7r") from None
            except sa.exc.DBAPIError:
                barrier.abort()
                raise

        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._threads, warm) for _ in range(count)))

    async def stop(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    async def _run_once(self, work: Work[T], reading: bool) -> T:
        await self._take_thread()
        loop = asyncio.get_running_loop()

        def release_thread(_: Future[T]) -> None:
            # When the thread ends, not the request: the thread of a cancelled request goes on working.
            loop.call_soon_threadsafe(self._free.release)

        make_session = self._reading if reading else self._writing
        future = self._threads.submit(contextvars.copy_context().run, lambda: _run_unit(make_session(), work, reading))
        future.add_done_callback(release_thread)
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


def _run_unit(session: Session, work: Work[T], reading: bool) -> T:
    """Run a unit of work, the same way on every driver. Closing the session ends a read without a commit."""
    with session:
        result = work(session)
        if not isinstance(result, Wire):
            raise TypeError(
                f"a unit of work may only return wire structs, not {type(result).__name__}: "
                f"lazy loading would fail or query outside its session"
            )
        if not reading:
            session.commit()
    return result


def _warm_count(profile: EngineProfile) -> int:
    return profile.pool_size if profile.pool == "queue" else 1


def _transactional(engine: Any) -> Any:
    """Return the engine for units of work that write. It shares the pool.

    They lock the rows that they change, and after waiting for a lock they have to see what its holder committed. A
    higher level than READ COMMITTED has an older snapshot, so they would only fail and be retried.
    """
    return engine.execution_options(isolation_level="READ COMMITTED")
