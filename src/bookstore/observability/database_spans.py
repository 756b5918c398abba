"""Spans of units of work and of their statements, below the request's span (see `request_spans`)."""

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
    """The state of a unit of work."""

    __slots__ = ("attempts", "has_connection", "waited_s")

    def __init__(self) -> None:
        self.attempts = 0
        self.has_connection = False
        self.waited_s = 0.0


_UNIT: Final[ContextVar[_Unit | None]] = ContextVar("_UNIT", default=None)
"""The current unit of work, on the event loop and in a thread that has its context."""


def instrument(database: Database, tracer: trace.Tracer) -> None:
    """Create spans with `tracer` for the units of work on `database` and for their statements, from now on.

    Like metrics/pool.py this wraps methods, because SQLAlchemy has no event for requesting a connection and none for a
    statement that is cancelled.
    """
    target: Any = database
    dialect: Any = database.engine.dialect
    profile, url = database.profile, database.engine.url
    attributes: dict[str, str] = {"bookstore.driver": profile.driver, "bookstore.loading": profile.loading}
    target.run = _trace_unit(tracer, target.run, attributes)
    target._run_once = _time_thread_wait(target._run_once)  # noqa: SLF001 - each attempt of run()
    target.pool.connect = _time_connection_wait(target.pool.connect)
    server: dict[str, Any] = {
        "db.system.name": "postgresql",
        "db.namespace": url.database or "",
        "server.address": url.host or url.query.get("host") or "localhost",  # or the folder of a socket
        "server.port": int(str(url.port or url.query.get("port") or 5432)),
    }
    for name in ("do_execute", "do_execute_no_params", "do_executemany"):
        setattr(
            dialect, name, _trace_statement(tracer, getattr(dialect, name), server, is_many=name == "do_executemany")
        )


def _trace_unit(
    tracer: trace.Tracer, run: Callable[..., Awaitable[Any]], attributes: dict[str, str]
) -> Callable[..., Awaitable[Any]]:
    async def traced(work: Work[Any], *, reading: bool = False) -> Any:
        if not trace.get_current_span().is_recording():
            return await run(work, reading=reading)
        unit, failure = _Unit(), None
        token = _UNIT.set(unit)
        with tracer.start_as_current_span(
            "unit of work", attributes=attributes, record_exception=False, set_status_on_exception=False
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
                del failure  # its frames refer to this one

    return traced


def _trace_statement(
    tracer: trace.Tracer, send: Callable[..., None], server: dict[str, Any], *, is_many: bool
) -> Callable[..., None]:
    def execute(cursor: Any, statement: str, *rest: Any) -> None:
        if not trace.get_current_span().is_recording():
            send(cursor, statement, *rest)
            return
        operation = _operation(statement)
        attributes = server | {"db.query.text": statement, "db.operation.name": operation}
        if is_many:
            attributes["db.operation.batch.size"] = len(rest[0])
        name = f"{operation} {server['db.namespace']}"
        span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
        try:
            send(cursor, statement, *rest)
            if cursor.description and cursor.rowcount >= 0:
                span.set_attribute("db.response.returned_rows", cursor.rowcount)
        except BaseException as error:  # also if the request is cancelled
            if state := sqlstate.code(error):
                span.set_attribute("db.response.status_code", state)
            mark_failed(span, error_type(error))
            raise
        finally:
            span.end()

    return execute


@lru_cache(maxsize=512)
def _operation(statement: str) -> str:
    """Return the first word of the statement, or the main operation of a statement that starts with CTEs."""
    word = statement.split(maxsplit=1)[0].upper()
    if word != "WITH":
        return word
    change = _CHANGE.search(statement)
    return change[1] if change else "SELECT"


def _time_thread_wait(once: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Wrap Database._run_once: the wait for a thread, until `work` is called, counts as waiting for a connection."""

    async def attempt(work: Work[Any], reading: bool) -> Any:
        unit = _UNIT.get()
        if unit is None:
            return await once(work, reading)
        unit.attempts += 1
        requested_s: float | None = perf_counter()

        def end_wait() -> None:
            nonlocal requested_s
            if requested_s is not None:
                unit.waited_s += perf_counter() - requested_s
                requested_s = None

        def timed_work(session: Session) -> Any:
            end_wait()
            return work(session)

        try:
            return await once(timed_work, reading)
        finally:
            end_wait()  # it may never have got a thread

    return attempt


def _time_connection_wait(check_out: Callable[[], sa.PoolProxiedConnection]) -> Callable[[], sa.PoolProxiedConnection]:
    def connect() -> sa.PoolProxiedConnection:
        unit = _UNIT.get()
        if unit is None:
            return check_out()
        requested_s = perf_counter()
        try:
            connection = check_out()
            unit.has_connection = True
            return connection
        finally:
            unit.waited_s += perf_counter() - requested_s

    return connect


def _outcome(unit: _Unit, error: BaseException | None, *, reading: bool) -> str:
    """Return the outcome of the transaction. It is unknown if the request was abandoned, because its thread goes on, or
    if the connection broke, which may happen at COMMIT."""
    if error is not None and not unit.has_connection:
        return "not begun"
    if reading:
        return "read"
    if error is None:
        return "committed"
    is_broken = isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
    return "unknown" if is_broken or not isinstance(error, Exception) else "rolled back"


def error_type(error: BaseException) -> str:
    """Return the value of `error.type`: a SQLSTATE, a problem code, or the exception's class."""
    if isinstance(error, ApiError):
        return error.code
    return sqlstate.code(error) or type(error).__qualname__


def mark_failed(span: trace.Span, kind: str) -> None:
    """Set the status of `span` to error, with `kind` as its `error.type`."""
    span.set_status(StatusCode.ERROR)  # without a description: an exception's message may quote client data
    span.set_attribute("error.type", kind)
