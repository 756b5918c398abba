"""The spans of units of work on the database and of their statements, beneath the request's (spans.py)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import lru_cache
from time import perf_counter
from typing import Any, Final

import sqlalchemy as sa
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy.orm import Session

from bookstore.database import sqlstate
from bookstore.database.unit_of_work import Database, Work
from bookstore.exceptions import ApiError

_CHANGE: Final = re.compile(r"\b(INSERT|UPDATE|DELETE)\s+(?:INTO|FROM|\w+\s+SET)\b")


class _Unit:
    """What a unit of work came to."""

    __slots__ = ("attempts", "has_connection", "waited_s")

    def __init__(self) -> None:
        self.attempts = 0
        self.has_connection = False
        self.waited_s = 0.0


_UNIT: Final[ContextVar[_Unit | None]] = ContextVar("_UNIT", default=None)
"""That in whose course the code runs: on the event loop, and in the thread that has its context."""


def instrument(database: Database, tracer: trace.Tracer) -> None:
    """Makes spans with `tracer` of the units of work on `database`, and of their statements, from now on.

    As metrics/pool.py it takes the place of methods: SQLAlchemy has no event for the moment when a connection is
    asked for, and none for a statement that is cancelled.
    """
    it: Any = database
    dialect: Any = database.engine.dialect
    profile, url = database.profile, database.engine.url
    it.run = _trace_unit(tracer, it.run, {"bookstore.driver": profile.driver, "bookstore.loading": profile.loading})
    it._once = _time_thread_wait(it._once)  # noqa: SLF001 - each attempt of run()
    it.pool.connect = _time_connection_wait(it.pool.connect)
    there: dict[str, Any] = {
        "db.system.name": "postgresql",
        "db.namespace": url.database or "",
        "server.address": url.host or url.query.get("host") or "localhost",  # or the folder of a socket
        "server.port": int(str(url.port or url.query.get("port") or 5432)),
    }
    for name in ("do_execute", "do_execute_no_params", "do_executemany"):
        setattr(
            dialect, name, _trace_statement(tracer, getattr(dialect, name), there, is_many=name == "do_executemany")
        )


def _trace_unit(
    tracer: trace.Tracer, run: Callable[..., Awaitable[Any]], about: dict[str, str]
) -> Callable[..., Awaitable[Any]]:
    async def traced(work: Work[Any], *, reading: bool = False) -> Any:
        if not trace.get_current_span().is_recording():
            return await run(work, reading=reading)
        unit, failure = _Unit(), None
        token = _UNIT.set(unit)
        with tracer.start_as_current_span(
            "unit of work", attributes=about, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                return await run(work, reading=reading)
            except BaseException as error:
                failure = error
                if not (isinstance(error, ApiError) and error.problem_type.status < 500):
                    mark_failed(span, error_type(error))
                raise
            finally:
                _UNIT.reset(token)
                span.set_attribute("bookstore.wait_ms", round(unit.waited_s * 1000, 3))
                span.set_attribute("bookstore.outcome", _outcome(unit, failure, reading=reading))
                if unit.attempts > 1:
                    span.set_attribute("bookstore.attempts", unit.attempts)
                del failure  # whose frames hold this one

    return traced


def _trace_statement(
    tracer: trace.Tracer, send: Callable[..., None], there: dict[str, Any], *, is_many: bool
) -> Callable[..., None]:
    def execute(cursor: Any, statement: str, *rest: Any) -> None:
        if not trace.get_current_span().is_recording():
            send(cursor, statement, *rest)
            return
        operation = _operation(statement)
        about = there | {"db.query.text": statement, "db.operation.name": operation}
        if is_many:
            about["db.operation.batch.size"] = len(rest[0])
        name = f"{operation} {there['db.namespace']}"
        span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=about)
        try:
            send(cursor, statement, *rest)
            if cursor.description and cursor.rowcount >= 0:
                span.set_attribute("db.response.returned_rows", cursor.rowcount)
        except BaseException as error:  # a request that is cancelled too
            if state := sqlstate.of(error):
                span.set_attribute("db.response.status_code", state)
            mark_failed(span, error_type(error))
            raise
        finally:
            span.end()

    return execute


@lru_cache(maxsize=512)
def _operation(statement: str) -> str:
    """The first word, but what it is for where CTEs stand in front."""
    word = statement.split(maxsplit=1)[0].upper()
    if word != "WITH":
        return word
    change = _CHANGE.search(statement)
    return change[1] if change else "SELECT"


def _time_thread_wait(once: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Database._once, whose waiting for a thread, until `work` is called, is waiting for a connection."""

    async def tried(work: Work[Any], reading: bool) -> Any:
        unit = _UNIT.get()
        if unit is None:
            return await once(work, reading)
        unit.attempts += 1
        asked_s: float | None = perf_counter()

        def come() -> None:
            nonlocal asked_s
            if asked_s is not None:
                unit.waited_s += perf_counter() - asked_s
                asked_s = None

        def begun(session: Session) -> Any:
            come()
            return work(session)

        try:
            return await once(begun, reading)
        finally:
            come()  # it may have come to no thread

    return tried


def _time_connection_wait(take: Callable[[], sa.PoolProxiedConnection]) -> Callable[[], sa.PoolProxiedConnection]:
    def connect() -> sa.PoolProxiedConnection:
        unit = _UNIT.get()
        if unit is None:
            return take()
        asked_s = perf_counter()
        try:
            lent = take()
            unit.has_connection = True
            return lent
        finally:
            unit.waited_s += perf_counter() - asked_s

    return connect


def _outcome(unit: _Unit, error: BaseException | None, *, reading: bool) -> str:
    """What became of the transaction. A thread whose request was given up works on, and a connection may break at
    the COMMIT: then nobody here knows."""
    if error is not None and not unit.has_connection:
        return "not begun"
    if reading:
        return "read"
    if error is None:
        return "committed"
    is_broken = isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
    return "unknown" if is_broken or not isinstance(error, Exception) else "rolled back"


def error_type(error: BaseException) -> str:
    """For `error.type`: a SQLSTATE, the code of a problem, or the class."""
    if isinstance(error, ApiError):
        return error.code
    return sqlstate.of(error) or type(error).__qualname__


def mark_failed(span: trace.Span, why: str) -> None:
    """Marks `span` as one that failed."""
    span.set_status(StatusCode.ERROR)  # without a description: an exception's words may quote what was sent
    span.set_attribute("error.type", why)
