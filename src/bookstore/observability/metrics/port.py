"""The metrics port: GET /metrics, served by a thread of the server's main process.

A scrape therefore uses no worker's event loop, and the counts of a worker that died remain available. One client is
served at a time and has two seconds: the port is for one or two scrapers, not for the public.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread, Timer
from typing import Any, Final

from bookstore.observability.metrics import exposition, info, shared_memory
from bookstore.profile.engine_profile import EngineProfile

CLIENT_TIMEOUT_S: Final = 2.0
"""How long one client may take. Then its connection is closed and the next client is served."""
PATH: Final = "/metrics"


@contextmanager
def serve_metrics(profile: EngineProfile, host: str, port: int, revision: str | None) -> Iterator[None]:
    """Serve the metrics of the workers that are started under `profile` within the `with` block.

    `revision` is the schema revision of the database. Raises ConfigurationError if the system has no memory to share.
    """
    infos, started_s = info.info_labels(profile, revision), time.time()
    with shared_memory.blocks(profile.workers) as blocks:
        server = _Server(host, port, lambda: exposition.render_page(blocks, profile, infos, started_s))
        # Workers are forked, and one that outlives its server must not keep the port open.
        os.register_at_fork(after_in_child=server.socket.close)
        thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(HTTPServer):
    def __init__(self, host: str, port: int, page: Callable[[], bytes]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.page = page
        super().__init__((host, port), _Handler)

    def handle_error(self, *_: Any) -> None:
        """Ignore clients that disconnect."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "bookstore"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        self._limit = Timer(CLIENT_TIMEOUT_S, self._cut)
        self._limit.daemon = True
        self._limit.start()

    def finish(self) -> None:
        self._limit.cancel()
        super().finish()

    def _cut(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body = self.server.page()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", exposition.CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Do not log scrapes."""
