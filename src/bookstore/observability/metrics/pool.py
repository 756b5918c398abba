"""Counts the connections that units of work wait for and hold, and the statements that they send.

With asynchronous drivers everything happens on the event loop. With psycopg-sync several threads count, under a lock.
The lock is reentrant, because the garbage collector may return a connection to the pool at any moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any, NoReturn, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.database.unit_of_work import AsyncDatabase, Database, ThreadedDatabase, Wire, Work
from bookstore.observability.metrics.block import (
    CHECKED_OUT,
    CONNECT_FAILED,
    CONNECT_S,
    CONNECTS,
    FAILED,
    HOLD,
    QUEUED,
    REQUESTED,
    SHED,
    STATEMENT_S,
    STATEMENTS,
    WAIT,
    WAITING,
    Block,
)
from bookstore.observability.metrics.requests import TALLY
from bookstore.profile.engine_profile import EngineProfile

T = TypeVar("T", bound=Wire)


def make_database(profile: EngineProfile, url: sa.URL, block: Block) -> Database:
    """Return the Database of `profile`, like `unit_of_work.make_database`, and count its pool and statements in
    `block`."""
    if profile.is_sync:
        return _CountedThreadedDatabase(profile, url, _ThreadCounter(block, profile))
    database = AsyncDatabase(profile, url)
    _Counter(block, profile).instrument(database)
    return database


class _Counter:
    """A counter, in `block`, of what happens on a Database of `profile`.

    It wraps methods of the engine's pool and dialect. SQLAlchemy has no event for requesting a connection, and its
    events around statements are expensive: 40 more function calls per request.
    """

    def __init__(self, block: Block, profile: EngineProfile) -> None:
        self._block = block
        self._cells = block.cells
        self._capacity = profile.connections_per_worker

    def instrument(self, database: Any) -> None:
        """Start counting."""
        database.refuse = self._count_refusals(database.refuse)
        pool: Any = database.pool
        dialect: Any = database.engine.dialect
        pool.connect = self._time_checkout(pool.connect)
        sa.event.listen(pool, "checkin", self._on_checkin)
        dialect.connect = self._time_connect(dialect.connect)
        for name in ("do_execute", "do_execute_no_params", "do_executemany"):
            setattr(dialect, name, self._time_statement(getattr(dialect, name)))

    def _count_refusals(self, refuse: Callable[[], NoReturn]) -> Callable[[], NoReturn]:
        def count_and_refuse() -> NoReturn:
            self._cells[SHED] += 1
            refuse()

        return count_and_refuse

    def _time_checkout(
        self, check_out: Callable[[], sa.PoolProxiedConnection]
    ) -> Callable[[], sa.PoolProxiedConnection]:
        def connect() -> sa.PoolProxiedConnection:
            began_s = self.begin_wait()
            try:
                connection: Any = check_out()
            except BaseException:  # also if the request is cancelled
                self.end_wait(began_s, FAILED)
                raise
            connection.record_info["checked_out_s"] = self.end_wait(began_s, CHECKED_OUT)
            return connection  # type: ignore[no-any-return] # Any, because record_info may be None, and here is not

        return connect

    def _on_checkin(self, _: Any, record: Any) -> None:
        checked_out_s = record.record_info.pop("checked_out_s", None)
        if checked_out_s is not None:  # None if the checkout failed
            self.count_hold(perf_counter() - checked_out_s)

    def _time_connect(self, open_connection: Callable[..., Any]) -> Callable[..., Any]:
        def connect(*arguments: Any, **options: Any) -> Any:
            began_s = perf_counter()
            try:
                connection = open_connection(*arguments, **options)
            except BaseException:  # also if the request is cancelled
                self.count_connect(perf_counter() - began_s, failed=True)
                raise
            self.count_connect(perf_counter() - began_s, failed=False)
            return connection

        return connect

    def _time_statement(self, send: Callable[..., None]) -> Callable[..., None]:
        def execute(*arguments: Any, **options: Any) -> None:
            began_s = perf_counter()
            try:
                send(*arguments, **options)
            finally:
                self.count_statement(perf_counter() - began_s)

        return execute

    def begin_wait(self) -> float:
        """Count the request for a connection. Returns the current time of perf_counter()."""
        cells = self._cells
        cells[REQUESTED] += 1
        cells[WAITING] += 1
        if cells[CHECKED_OUT] >= self._capacity:
            cells[QUEUED] += 1
        return perf_counter()

    def end_wait(self, began_s: float, outcome: int) -> float:
        """Count the end of a wait: a connection was obtained (`outcome` CHECKED_OUT) or not (FAILED). Returns the
        current time of perf_counter()."""
        cells = self._cells
        now_s = perf_counter()
        cells[WAITING] -= 1
        cells[outcome] += 1
        self._block.observe(WAIT, now_s - began_s)
        return now_s

    def count_hold(self, seconds: float) -> None:
        """Count a connection that was returned after `seconds`."""
        self._cells[CHECKED_OUT] -= 1
        self._block.observe(HOLD, seconds)

    def count_statement(self, seconds: float) -> None:
        """Count a statement that completed or failed after `seconds`."""
        self._cells[STATEMENTS] += 1
        self._cells[STATEMENT_S] += seconds
        if tally := TALLY.get():
            tally.statements += 1

    def count_connect(self, seconds: float, *, failed: bool) -> None:
        """Count an attempt to connect to PostgreSQL that took `seconds`."""
        self._cells[CONNECTS] += 1
        self._cells[CONNECT_FAILED] += failed
        self._cells[CONNECT_S] += seconds


class _ThreadCounter(_Counter):
    """A counter for several threads. A unit of work waits for a thread first; its wait for the pool within the
    thread continues the same wait."""

    def __init__(self, block: Block, profile: EngineProfile) -> None:
        super().__init__(block, profile)
        self._lock = threading.RLock()
        self._thread = threading.local()

    def request_thread(self, *, is_queued: bool) -> _ThreadWait:
        """Count a unit of work that requests a thread."""
        with self._lock:
            self._cells[REQUESTED] += 1
            self._cells[QUEUED] += is_queued
            self._cells[WAITING] += 1
        return _ThreadWait(perf_counter())

    def enter_thread(self, wait: _ThreadWait) -> None:
        """Count that the unit of work runs in the calling thread."""
        with self._lock:
            if wait.is_waiting:
                wait.is_waiting = False
                self._cells[WAITING] -= 1
        self._thread.waited_s = perf_counter() - wait.began_s

    def finish(self, wait: _ThreadWait) -> None:
        """Count the end of the unit of work, which may never have got a thread."""
        with self._lock:
            if wait.is_waiting:
                wait.is_waiting = False
                super().end_wait(wait.began_s, FAILED)

    def begin_wait(self) -> float:
        waited_s: float | None = self._thread.__dict__.pop("waited_s", None)
        with self._lock:
            if waited_s is None:
                return super().begin_wait()
            self._cells[WAITING] += 1
            return perf_counter() - waited_s

    def end_wait(self, began_s: float, outcome: int) -> float:
        with self._lock:
            return super().end_wait(began_s, outcome)

    def count_hold(self, seconds: float) -> None:
        with self._lock:
            super().count_hold(seconds)

    def count_statement(self, seconds: float) -> None:
        with self._lock:
            super().count_statement(seconds)

    def count_connect(self, seconds: float, *, failed: bool) -> None:
        with self._lock:
            super().count_connect(seconds, failed=failed)


class _ThreadWait:
    """The wait of a unit of work for a thread."""

    __slots__ = ("began_s", "is_waiting")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.is_waiting = True


class _CountedThreadedDatabase(ThreadedDatabase):
    """A ThreadedDatabase that counts waiting for a thread as waiting for a connection."""

    def __init__(self, profile: EngineProfile, url: sa.URL, counter: _ThreadCounter) -> None:
        super().__init__(profile, url)
        self._counter = counter
        counter.instrument(self)

    async def _run_once(self, work: Work[T], reading: bool) -> T:
        wait = self._counter.request_thread(is_queued=self._free.locked())

        def counted_work(session: Session) -> T:
            self._counter.enter_thread(wait)
            return work(session)

        try:
            return await super()._run_once(counted_work, reading)
        finally:
            self._counter.finish(wait)
