"""Counts requests, their durations and their statements by method, route and status, and times the serialisation of
responses."""

from __future__ import annotations

from contextvars import ContextVar
from time import perf_counter
from typing import Any, Final

from litestar import Response
from litestar.types import ASGIApp, Message, Receive, Send

from bookstore.observability.metrics.block import ENCODE_S, IN_FLIGHT, ROW_STATEMENTS, Block

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NOT_SENT: Final = 0
"""The status of a request whose client disconnected before the response."""


class Tally:
    """The number of statements that a request has sent so far."""

    __slots__ = ("statements",)

    def __init__(self) -> None:
        self.statements = 0


TALLY: Final[ContextVar[Tally | None]] = ContextVar("TALLY", default=None)
"""The tally of the current request, on the event loop and in a thread that has its context."""


class RequestMetrics:
    """ASGI middleware that counts each request of `app` in `block`.

    A request's route is the template that Litestar matched, never the path, because clients can invent any number of
    paths. Requests without a matching route, and requests that the gate rejected, have the route `other`. Statements
    that a thread sends after its request exceeded the deadline are not counted for any request.
    """

    def __init__(self, app: ASGIApp, block: Block) -> None:
        self._app = app
        self._block = block

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]  # before the gate turns a HEAD into a GET
        status = _NOT_SENT

        def send_and_record(message: Message) -> Any:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])  # an IntEnum, whose hash and text are slow
            return send(message)

        block, cells = self._block, self._block.cells
        cells[IN_FLIGHT] += 1
        tally = Tally()
        TALLY.set(tally)  # never reset, because the request's task ends with it
        began = perf_counter()
        try:
            await self._app(scope, receive, send_and_record)
        finally:
            cells[IN_FLIGHT] -= 1
            row = block.row(method if method in _METHODS else "other", scope.get("path_template") or "other", status)
            block.observe(row, perf_counter() - began)
            cells[row + ROW_STATEMENTS] += tally.statements


def time_encoding(block: Block) -> Any:
    """Return a hook for Litestar's `after_request` that times the serialisation of the response."""
    cells = block.cells

    class TimedResponse(Response[Any]):
        __slots__ = ()

        def render(self, *arguments: Any, **options: Any) -> bytes:
            began = perf_counter()
            try:
                return super().render(*arguments, **options)
            finally:
                cells[ENCODE_S] += perf_counter() - began

    async def time_response(response: Any) -> Any:
        if type(response) is Response:
            response.__class__ = TimedResponse  # Litestar has no hook around render() alone
        return response

    return time_response
