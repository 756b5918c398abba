"""The spans of a request: itself, its units of work, their statements. Only imported where traces are asked for.

By OpenTelemetry's semantic conventions, less what may hold a secret or a reader's data: no query, header, body,
parameter, address of a client or text of an exception is in any span.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from functools import lru_cache
from importlib.metadata import version
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from litestar.types import ASGIApp, Message, Receive, Send
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy.orm import Session
from structlog.contextvars import bound_contextvars

from bookstore import sqlstate
from bookstore.database import Database, Work
from bookstore.faults import Fault
from bookstore.gate import PROBES

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.38.0"
LONGEST_PATH: Final = 1024
"""Characters; a client may send more, and 2048 spans wait to be sent."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ERROR: Final = "bookstore.error"
"""The key of the request's exception in its scope."""
_CHANGE: Final = re.compile(r"\b(INSERT|UPDATE|DELETE)\s+(?:INTO|FROM|\w+\s+SET)\b")
_W3C: Final = TraceContextTextMapPropagator()


class _Unit:
    """What a unit of work came to."""

    __slots__ = ("attempts", "has_connection", "waited_s")

    def __init__(self) -> None:
        self.attempts = 0
        self.has_connection = False
        self.waited_s = 0.0


_UNIT: Final[ContextVar[_Unit | None]] = ContextVar("_UNIT", default=None)
"""That in whose course the code runs: on the event loop, and in the thread that has its context."""


class Spans:
    """Makes the spans of one worker with `provider`."""

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self._tracer = provider.get_tracer("bookstore", version("bookstore"), SCHEMA_URL)
        propagators = os.environ.get("OTEL_PROPAGATORS", "").strip() or "tracecontext"
        self._continues = "tracecontext" in propagators.replace(" ", "").split(",")

    def around(self, app: ASGIApp) -> ASGIApp:
        """`app`, each request of which is a span, but those of probes: several a second, and all the same."""

        async def traced(scope: Any, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in PROBES:
                await app(scope, receive, send)
                return
            method = scope["method"]  # before the gate makes a GET of a HEAD
            name = method if method in _METHODS else "HTTP"
            span = self._tracer.start_span(name, self._parent(scope), SpanKind.SERVER, _of_request(scope))
            status = 0

            def noted(message: Message) -> Any:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = int(message["status"])
                return send(message)

            ids = span.get_span_context()
            with (
                trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False),
                bound_contextvars(
                    trace_id=trace.format_trace_id(ids.trace_id), span_id=trace.format_span_id(ids.span_id)
                ),
            ):
                try:
                    await app(scope, receive, noted)
                except BaseException as error:
                    scope[_ERROR] = error
                    raise
                finally:
                    _finish(span, name, scope.get("path_template"), status, scope.pop(_ERROR, None))

        return traced

    def _parent(self, scope: Any) -> Context:
        """The caller's span, by its `traceparent`; none where it sent none, or OTEL_PROPAGATORS says so."""
        if not self._continues:
            return Context()
        carrier = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in {b"traceparent", b"tracestate"}
        }
        return _W3C.extract(carrier, Context()) if carrier else Context()

    async def note(self, error: Exception, scope: Any) -> None:
        """A hook for Litestar's `after_exception`: keeps `error` until it is known how it was answered."""
        scope[_ERROR] = error

    def watch(self, database: Database) -> None:
        """Makes spans of the units of work on `database`, and of their statements, from now on.

        As metrics/pool.py it takes the place of methods: SQLAlchemy has no event for the moment when a connection is
        asked for, and none for a statement that is cancelled.
        """
        it: Any = database
        dialect: Any = database.engine.dialect
        profile, url = database.profile, database.engine.url
        it.run = self._unit(it.run, {"bookstore.driver": profile.driver, "bookstore.loading": profile.loading})
        it._once = _tried(it._once)  # noqa: SLF001 - each attempt of run()
        it.pool.connect = _lent(it.pool.connect)
        there: dict[str, Any] = {
            "db.system.name": "postgresql",
            "db.namespace": url.database or "",
            "server.address": url.host or url.query.get("host") or "localhost",  # or the folder of a socket
            "server.port": int(str(url.port or url.query.get("port") or 5432)),
        }
        for name in ("do_execute", "do_execute_no_params", "do_executemany"):
            setattr(dialect, name, self._statement(getattr(dialect, name), there, is_many=name == "do_executemany"))

    def _unit(self, run: Callable[..., Awaitable[Any]], about: dict[str, str]) -> Callable[..., Awaitable[Any]]:
        async def traced(work: Work[Any], *, reading: bool = False) -> Any:
            if not trace.get_current_span().is_recording():
                return await run(work, reading=reading)
            unit, failure = _Unit(), None
            token = _UNIT.set(unit)
            with self._tracer.start_as_current_span(
                "unit of work", attributes=about, record_exception=False, set_status_on_exception=False
            ) as span:
                try:
                    return await run(work, reading=reading)
                except BaseException as error:
                    failure = error
                    if not (isinstance(error, Fault) and error.kind.status < 500):
                        _fail(span, _kind(error))
                    raise
                finally:
                    _UNIT.reset(token)
                    span.set_attribute("bookstore.wait_ms", round(unit.waited_s * 1000, 3))
                    span.set_attribute("bookstore.outcome", _outcome(unit, failure, reading=reading))
                    if unit.attempts > 1:
                        span.set_attribute("bookstore.attempts", unit.attempts)
                    del failure  # whose frames hold this one

        return traced

    def _statement(self, send: Callable[..., None], there: dict[str, Any], *, is_many: bool) -> Callable[..., None]:
        def execute(cursor: Any, statement: str, *rest: Any) -> None:
            if not trace.get_current_span().is_recording():
                send(cursor, statement, *rest)
                return
            operation = _operation(statement)
            about = there | {"db.query.text": statement, "db.operation.name": operation}
            if is_many:
                about["db.operation.batch.size"] = len(rest[0])
            name = f"{operation} {there['db.namespace']}"
            span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=about)
            try:
                send(cursor, statement, *rest)
                if cursor.description and cursor.rowcount >= 0:
                    span.set_attribute("db.response.returned_rows", cursor.rowcount)
            except BaseException as error:  # a request that is cancelled too
                if state := sqlstate.of(error):
                    span.set_attribute("db.response.status_code", state)
                _fail(span, _kind(error))
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


def _of_request(scope: Any) -> dict[str, Any]:
    method = scope["method"]
    about = {
        "http.request.method": method if method in _METHODS else "_OTHER",
        "url.path": scope["path"][:LONGEST_PATH],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
    }
    if server := scope.get("server"):  # where it listens: the Host header is anybody's word
        about |= {"server.address": server[0], "server.port": server[1] and int(server[1])}  # granian's is a text
    return {key: value for key, value in about.items() if value is not None}


def _finish(span: trace.Span, name: str, route: str | None, status: int, error: BaseException | None) -> None:
    """Tells what came of a request; `status` is 0 where it has no answer."""
    if route:
        span.update_name(f"{name} {route}")
        span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    if 0 < status < 500:
        return
    _fail(span, _kind(error) if error else str(status or "no answer"))
    if error and not isinstance(error, Fault):
        frames = "".join(_frames(error))
        span.add_event("exception", {"exception.type": type(error).__qualname__, "exception.stacktrace": frames})


def _tried(once: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
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


def _lent(take: Callable[[], sa.PoolProxiedConnection]) -> Callable[[], sa.PoolProxiedConnection]:
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


def _kind(error: BaseException) -> str:
    """For `error.type`: a SQLSTATE, the code of a problem, or the class."""
    if isinstance(error, Fault):
        return error.code
    return sqlstate.of(error) or type(error).__qualname__


def _fail(span: trace.Span, kind: str) -> None:
    span.set_status(StatusCode.ERROR)  # without a description: an exception's words may quote what was sent
    span.set_attribute("error.type", kind)


def _frames(error: BaseException) -> Iterator[str]:
    """Where `error` and what caused it came from, without what they say."""
    for link in sqlstate.causes(error):
        yield f"{type(link).__qualname__}\n"
        yield from traceback.format_tb(link.__traceback__)
