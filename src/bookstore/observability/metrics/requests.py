"""Counts requests, how long they took and how many statements they sent, by method, route and status; and the time to
serialise answers."""

from __future__ import annotations

from contextvars import ContextVar
from time import perf_counter
from typing import Any, Final

from litestar import Response
from litestar.types import ASGIApp, Message, Receive, Send

from bookstore.observability.metrics.block import ENCODE_S, IN_FLIGHT, ROW_STATEMENTS, Block

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NOT_SENT: Final = 0
"""In place of the status where the client went away before there was a response."""


class Tally:
    """How many statements a request sent until now."""

    __slots__ = ("statements",)

    def __init__(self) -> None:
        self.statements = 0


TALLY: Final[ContextVar[Tally | None]] = ContextVar("TALLY", default=None)
"""That of the request in whose course the code runs: on the event loop, and in a thread that has its context."""


class RequestMetrics:
    """`app`, each request of which is counted in `block`.

    A request's route is the template that Litestar found for it, never its path: clients can make up any number
    of paths. What no route was found for, and what the gate refused before, is `other`. Statements that a thread
    sends on after its request was given up, at its deadline, are no request's any more.
    """

    def __init__(self, app: ASGIApp, block: Block) -> None:
        self._app = app
        self._block = block

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]  # before the gate makes a GET of a HEAD
        status = _NOT_SENT

        def noted(message: Message) -> Any:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])  # of an IntEnum, whose hash and text are slow
            return send(message)

        block, cells = self._block, self._block.cells
        cells[IN_FLIGHT] += 1
        tally = Tally()
        TALLY.set(tally)  # to the end of the request's task, which nothing comes after
        began = perf_counter()
        try:
            await self._app(scope, receive, noted)
        finally:
            cells[IN_FLIGHT] -= 1
            row = block.row(method if method in _METHODS else "other", scope.get("path_template") or "other", status)
            block.observe(row, perf_counter() - began)
            cells[row + ROW_STATEMENTS] += tally.statements


def time_encoding(block: Block) -> Any:
    """A hook for Litestar's `after_request`, after which the serialisation of the response is timed."""
    cells = block.cells

    class Timed(Response[Any]):
        __slots__ = ()

        def render(self, *arguments: Any, **options: Any) -> bytes:
            began = perf_counter()
            try:
                return super().render(*arguments, **options)
            finally:
                cells[ENCODE_S] += perf_counter() - began

    async def timed(response: Any) -> Any:
        if type(response) is Response:
            response.__class__ = Timed  # Litestar has no hook around render() alone
        return response

    return timed
