"""Spans of requests, their units of work and their statements. Imported only if tracing is enabled.

Spans follow OpenTelemetry's semantic conventions, without attributes that may contain secrets or users' data: no query
string, header, body, statement parameter, client address or exception message.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from litestar.types import ASGIApp, Message, Receive, Send
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog.contextvars import bound_contextvars

from bookstore.database import sqlstate
from bookstore.database.unit_of_work import Database
from bookstore.exceptions import ApiError
from bookstore.http.gate import PROBES
from bookstore.observability import database_spans
from bookstore.observability.database_spans import error_type, mark_failed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.38.0"
LONGEST_PATH: Final = 1024
"""Characters. A client may send a longer path, and up to 2048 spans are buffered."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ERROR: Final = "bookstore.error"
"""The key of a request's exception in its ASGI scope."""
_W3C: Final = TraceContextTextMapPropagator()


class Spans:
    """The spans of one worker, created with `provider`."""

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self._tracer = provider.get_tracer("bookstore", version("bookstore"), SCHEMA_URL)
        propagators = os.environ.get("OTEL_PROPAGATORS", "").strip() or "tracecontext"
        self._continues = "tracecontext" in propagators.replace(" ", "").split(",")

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Wrap the ASGI `app` so that each request is a span, except the frequent and uniform health probes."""

        async def traced(scope: Any, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in PROBES:
                await app(scope, receive, send)
                return
            method = scope["method"]  # before the gate turns a HEAD into a GET
            name = method if method in _METHODS else "HTTP"
            span = self._tracer.start_span(name, self._parent(scope), SpanKind.SERVER, _request_attributes(scope))
            status = 0

            def send_and_record(message: Message) -> Any:
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
                    await app(scope, receive, send_and_record)
                except BaseException as error:
                    scope[_ERROR] = error
                    raise
                finally:
                    _finish(span, name, scope.get("path_template"), status, scope.pop(_ERROR, None))

        return traced

    def _parent(self, scope: Any) -> Context:
        """Return the caller's span from `traceparent`, or none if it is absent or OTEL_PROPAGATORS excludes it."""
        if not self._continues:
            return Context()
        carrier = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in {b"traceparent", b"tracestate"}
        }
        return _W3C.extract(carrier, Context()) if carrier else Context()

    async def record_error(self, error: Exception, scope: Any) -> None:
        """Keep `error` until the status of the response is known. A hook for Litestar's `after_exception`."""
        scope[_ERROR] = error

    def instrument(self, database: Database) -> None:
        """Create spans for the units of work on `database` and for their statements, from now on."""
        database_spans.instrument(database, self._tracer)


def _request_attributes(scope: Any) -> dict[str, Any]:
    method = scope["method"]
    attributes = {
        "http.request.method": method if method in _METHODS else "_OTHER",
        "url.path": scope["path"][:LONGEST_PATH],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
    }
    if server := scope.get("server"):  # where the service listens: the Host header cannot be trusted
        attributes |= {"server.address": server[0], "server.port": server[1] and int(server[1])}  # granian sends str
    return {key: value for key, value in attributes.items() if value is not None}


def _finish(span: trace.Span, name: str, route: str | None, status: int, error: BaseException | None) -> None:
    """Record the outcome of a request in its span. `status` is 0 if there was no response."""
    if route:
        span.update_name(f"{name} {route}")
        span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    if 0 < status < 500:
        return
    mark_failed(span, error_type(error) if error else str(status or "no answer"))
    if error and not isinstance(error, ApiError):
        frames = "".join(_frames(error))
        span.add_event("exception", {"exception.type": type(error).__qualname__, "exception.stacktrace": frames})


def _frames(error: BaseException) -> Iterator[str]:
    """Yield the class and the stack frames of `error` and of its causes, without their messages."""
    for link in sqlstate.causes(error):
        yield f"{type(link).__qualname__}\n"
        yield from traceback.format_tb(link.__traceback__)
