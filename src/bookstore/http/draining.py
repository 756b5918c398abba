"""Reads the rest of a request body after the response, so that the client gets the response.

Most clients send the whole body before they read. If the server rejects the request early and closes the connection,
such a client reports a broken pipe, and never sees why it was rejected.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from litestar.types import ASGIApp, Receive, Send

from bookstore.http.deadlines import Deadlines

LARGEST_REST: Final = 64 * 1024 * 1024
"""Bytes that are read and discarded. For a larger body, the connection is closed after the response."""
WITHIN_S: Final = 5.0
"""Time limit, as nginx has for a pause of the client (lingering_timeout)."""


class Draining:
    """Wraps `app`: after its response, discards the unread rest of the request body within limits."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._deadlines = Deadlines()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope["headers"]):
            await self._app(scope, receive, send)
            return
        body = _Body(receive)
        await self._app(scope, body.receive, send)
        if not body.is_over and (body.is_begun or not _waits_for_continue(scope["headers"])):
            await self._drain(body, _announced_bytes(scope["headers"]))

    async def _drain(self, body: _Body, announced: int) -> None:
        if announced > LARGEST_REST:
            return
        deadline = self._deadlines.start(WITHIN_S)
        rest = LARGEST_REST
        try:
            while not body.is_over and rest > 0:
                message = await body.receive()
                rest -= len(message.get("body", b""))
        except asyncio.CancelledError:
            if not deadline.is_over:
                raise
            deadline.task.uncancel()
        finally:
            self._deadlines.stop(deadline)


class _Body:
    """Notices when a body begins and when it is over: complete, or the client is gone."""

    __slots__ = ("_receive", "is_begun", "is_over")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_begun = False
        self.is_over = False

    async def receive(self) -> Any:
        self.is_begun = True
        message = await self._receive()
        self.is_over = message["type"] == "http.disconnect" or not message.get("more_body")
        return message


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)


def _waits_for_continue(headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether the client sends the body only once it is asked for (RFC 9110, 10.1.1)."""
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)


def _announced_bytes(headers: list[tuple[bytes, bytes]]) -> int:
    return next((int(value) for name, value in headers if name == b"content-length"), 0)
