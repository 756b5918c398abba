"""The request log: one line for each request if BOOKSTORE_LOG_REQUESTS is on.

Only the path is logged, because query strings contain users' search terms. Headers and bodies are not logged either.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

from litestar.types import ASGIApp, Message, Receive, Send

from bookstore.config.request_policy import Network
from bookstore.http.client_address import client
from bookstore.http.gate import PROBES
from bookstore.observability.metrics.requests import TALLY

logger = logging.getLogger("bookstore.request")

_LONGEST_PATH: Final = 200


class RequestLog:
    """ASGI middleware that logs each finished request of `app`: health probes at DEBUG, others at INFO."""

    def __init__(self, app: ASGIApp, proxies: Sequence[Network]) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        level = logging.DEBUG if scope.get("path") in PROBES else logging.INFO
        if scope["type"] != "http" or not logger.isEnabledFor(level):
            await self._app(scope, receive, send)
            return
        method = scope["method"]  # before the gate turns a HEAD into a GET
        status, size = None, 0

        def send_and_record(message: Message) -> Any:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = int(message["status"])
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            return send(message)

        began = perf_counter()
        try:
            await self._app(scope, receive, send_and_record)
        finally:
            line = {
                "method": method,
                "path": scope["raw_path"][:_LONGEST_PATH].decode("latin-1"),
                "status": status,
                "duration_ms": round((perf_counter() - began) * 1000, 3),
                "bytes": size,
                "client": self._client(scope),
            }
            if tally := TALLY.get():
                line["statements"] = tally.statements
            logger.log(level, "request", extra=line)

    def _client(self, scope: Any) -> str:
        peer = scope["client"]
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"] if self._proxies else ()
        return client(peer[0] if peer else "", forwarded, self._proxies)
