"""A line a request, where BOOKSTORE_LOG_REQUESTS asks for it: who asked for what, and what came of it.

Of a URL the path alone is logged: a query holds what people look for. Headers and bodies are not logged either.
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
    """`app`, each request of which is logged when it is over: probes of an orchestrator at DEBUG, others at INFO."""

    def __init__(self, app: ASGIApp, proxies: Sequence[Network]) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        level = logging.DEBUG if scope.get("path") in PROBES else logging.INFO
        if scope["type"] != "http" or not logger.isEnabledFor(level):
            await self._app(scope, receive, send)
            return
        method = scope["method"]  # before the gate makes a GET of a HEAD
        status, size = None, 0

        def noted(message: Message) -> Any:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = int(message["status"])
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            return send(message)

        began = perf_counter()
        try:
            await self._app(scope, receive, noted)
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
