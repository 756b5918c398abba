"""Counts what units of work wait for, hold and ask: connections, and statements on them.

On the asynchronous drivers all of it happens on the event loop. On psycopg's sync side threads count too, which is
under a lock; who holds it can take it again, for the garbage collector may give a connection back at any moment.
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
    """The Database of `profile`, as `database.make_database`, whose pool and statements are counted in `block`."""
    if profile.is_sync:
        return _CountedThreadedDatabase(profile, url, _ThreadCounter(block, profile))
    database = AsyncDatabase(profile, url)
    _Counter(block, profile).watch(database)
    return database


class _Counter:
    """Counts in `block` what happens on a Database of `profile`.

    It takes the place of methods of the engine's own pool and dialect: SQLAlchemy has no event for the moment when a
    connection is asked for, and its events around a statement are dear: 40 calls of
    functions more a request.
    """

    def __init__(self, block: Block, profile: EngineProfile) -> None:
        self._block = block
        self._cells = block.cells
        self._most = profile.connections_per_worker

    def watch(self, database: Any) -> None:
        """Counts from now on."""
        database.refuse = self._refused(database.refuse)
        pool: Any = database.pool
        dialect: Any = database.engine.dialect
        pool.connect = self._lent(pool.connect)
        sa.event.listen(pool, "checkin", self._given_back)
        dialect.connect = self._connected(dialect.connect)
        for name in ("do_execute", "do_execute_no_params", "do_executemany"):
            setattr(dialect, name, self._executed(getattr(dialect, name)))

    def _refused(self, refuse: Callable[[], NoReturn]) -> Callable[[], NoReturn]:
        def counted() -> NoReturn:
            self._cells[SHED] += 1
            refuse()

        return counted

    def _lent(self, take: Callable[[], sa.PoolProxiedConnection]) -> Callable[[], sa.PoolProxiedConnection]:
        def connect() -> sa.PoolProxiedConnection:
            began_s = self.begin()
            try:
                lent: Any = take()
            except BaseException:  # a request that is cancelled too
                self.end(began_s, FAILED)
                raise
            lent.record_info["lent_s"] = self.end(began_s, CHECKED_OUT)
            return lent  # type: ignore[no-any-return] # Any, because a fairy's record_info may be None and is not

        return connect

    def _given_back(self, _: Any, record: Any) -> None:
        lent_s = record.record_info.pop("lent_s", None)
        if lent_s is not None:  # None where its checkout failed
            self.count_held(perf_counter() - lent_s)

    def _connected(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def connect(*arguments: Any, **options: Any) -> Any:
            began_s = perf_counter()
            try:
                made = make(*arguments, **options)
            except BaseException:  # a request that is cancelled too
                self.count_connect(perf_counter() - began_s, failed=True)
                raise
            self.count_connect(perf_counter() - began_s, failed=False)
            return made

        return connect

    def _executed(self, send: Callable[..., None]) -> Callable[..., None]:
        def execute(*arguments: Any, **options: Any) -> None:
            began_s = perf_counter()
            try:
                send(*arguments, **options)
            finally:
                self.count_statement(perf_counter() - began_s)

        return execute

    def begin(self) -> float:
        """Somebody asks for a connection. Returns the moment."""
        cells = self._cells
        cells[REQUESTED] += 1
        cells[WAITING] += 1
        if cells[CHECKED_OUT] >= self._most:
            cells[QUEUED] += 1
        return perf_counter()

    def end(self, began_s: float, outcome: int) -> float:
        """Who asked then has a connection (`outcome` CHECKED_OUT) or none (FAILED). Returns the moment."""
        cells = self._cells
        now_s = perf_counter()
        cells[WAITING] -= 1
        cells[outcome] += 1
        self._block.observe(WAIT, now_s - began_s)
        return now_s

    def count_held(self, seconds: float) -> None:
        """A connection was given back after so long."""
        self._cells[CHECKED_OUT] -= 1
        self._block.observe(HOLD, seconds)

    def count_statement(self, seconds: float) -> None:
        """A statement was answered, or failed, after so long."""
        self._cells[STATEMENTS] += 1
        self._cells[STATEMENT_S] += seconds
        if tally := TALLY.get():
            tally.statements += 1

    def count_connect(self, seconds: float, *, failed: bool) -> None:
        """PostgreSQL was asked for a new connection, and gave or refused it after so long."""
        self._cells[CONNECTS] += 1
        self._cells[CONNECT_FAILED] += failed
        self._cells[CONNECT_S] += seconds


class _ThreadCounter(_Counter):
    """Counts what several threads do. A unit of work waits for a thread first; the rest of its waiting, for the
    pool inside of the thread, is the same request's."""

    def __init__(self, block: Block, profile: EngineProfile) -> None:
        super().__init__(block, profile)
        self._lock = threading.RLock()
        self._thread = threading.local()

    def ask(self, *, is_queued: bool) -> _ThreadWait:
        """A unit of work asks for a thread."""
        with self._lock:
            self._cells[REQUESTED] += 1
            self._cells[QUEUED] += is_queued
            self._cells[WAITING] += 1
        return _ThreadWait(perf_counter())

    def come(self, ask: _ThreadWait) -> None:
        """It came to the thread that calls this."""
        with self._lock:
            if ask.is_waiting:
                ask.is_waiting = False
                self._cells[WAITING] -= 1
        self._thread.waited_s = perf_counter() - ask.began_s

    def leave(self, ask: _ThreadWait) -> None:
        """It is over; it may have come to no thread."""
        with self._lock:
            if ask.is_waiting:
                ask.is_waiting = False
                super().end(ask.began_s, FAILED)

    def begin(self) -> float:
        waited_s: float | None = self._thread.__dict__.pop("waited_s", None)
        with self._lock:
            if waited_s is None:
                return super().begin()
            self._cells[WAITING] += 1
            return perf_counter() - waited_s

    def end(self, began_s: float, outcome: int) -> float:
        with self._lock:
            return super().end(began_s, outcome)

    def count_held(self, seconds: float) -> None:
        with self._lock:
            super().count_held(seconds)

    def count_statement(self, seconds: float) -> None:
        with self._lock:
            super().count_statement(seconds)

    def count_connect(self, seconds: float, *, failed: bool) -> None:
        with self._lock:
            super().count_connect(seconds, failed=failed)


class _ThreadWait:
    """A unit of work's asking for a thread."""

    __slots__ = ("began_s", "is_waiting")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.is_waiting = True


class _CountedThreadedDatabase(ThreadedDatabase):
    """Where waiting for a thread is waiting for a connection."""

    def __init__(self, profile: EngineProfile, url: sa.URL, counter: _ThreadCounter) -> None:
        super().__init__(profile, url)
        self._counter = counter
        counter.watch(self)

    async def _once(self, work: Work[T], reading: bool) -> T:
        ask = self._counter.ask(is_queued=self._free.locked())

        def begun(session: Session) -> T:
            self._counter.come(ask)
            return work(session)

        try:
            return await super()._once(begun, reading)
        finally:
            self._counter.leave(ask)
