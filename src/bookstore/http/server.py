"""granian under a profile: its workers, loop and backpressure; failed workers come back, stops are graceful."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import MPServer

from bookstore.exceptions import ConfigurationError
from bookstore.profile.engine_profile import EngineProfile

logger = logging.getLogger("bookstore")

KILL_AFTER_S: Final = 10
"""How long a worker may take over its requests at a stop, before it is killed."""
RESPAWN_OVERLAP_S: Final = 3.5
"""How long an old worker serves on beside the new one; more than a worker takes to start."""
HEADERS_WITHIN_S: Final = 5
"""How long a request's head may take to arrive, and an idle connection waits for the next one; then the
connection is closed without a word."""
LARGEST_HEAD: Final = 64 * 1024
"""Bytes of the request line and headers, more is answered 431; so are more than 100 headers."""


def check_port(host: str, port: int, choices: str = "--port or --host") -> None:
    """Raises ConfigurationError, naming the `choices`, where somebody listens there already: granian binds with
    SO_REUSEPORT, so two servers would share the port, and the requests, without a word."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"{host}:{port}: cannot listen there: {error.strerror}; stop what listens, or choose another {choices}"
            ) from None


def check_ports(host: str, port: int, metrics_host: str, metrics_port: int | None) -> None:
    """Raises ConfigurationError where the service, or its metrics, cannot listen."""
    check_port(host, port)
    if metrics_port:
        if metrics_port == port:
            raise ConfigurationError(
                f"port {port}: the service and its metrics need two; choose another --metrics-port"
            )
        check_port(metrics_host, metrics_port, "--metrics-port or BOOKSTORE_METRICS_HOST")


def serve(profile: EngineProfile, host: str, port: int, log_config: Mapping[str, Any]) -> None:
    """Serve until SIGINT or SIGTERM. The app reads the profile and the database from the environment.

    `log_config` configures granian's loggers, as for `logging.config.dictConfig`.
    """
    _Server(
        "bookstore.app:create_app",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=profile.workers,
        # One request at a time on a connection, so that backpressure bounds the requests too.
        http=HTTPModes.http1,
        loop=Loops(profile.event_loop),
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_WITHIN_S * 1000, max_buffer_size=LARGEST_HEAD),
        backlog=max(profile.backpressure, 128),
        backpressure=profile.backpressure,
        websockets=False,
        respawn_failed_workers=True,
        respawn_interval=RESPAWN_OVERLAP_S,
        workers_kill_timeout=KILL_AFTER_S,
        log_level=LogLevels(logging.getLevelName(logging.root.level).lower()),
        log_dictconfig=dict(log_config),
    ).serve(spawn_target=_spawn)


class _Server(MPServer):
    """granian, which says in the end whether its workers were done with their requests."""

    def _stop_workers(self) -> None:
        workers = list(self.wrks)
        super()._stop_workers()  # type: ignore[no-untyped-call] # of granian
        killed = [one.idx + 1 for one in workers if (one.inner.exitcode or 0) < 0]
        failed = [one.idx + 1 for one in workers if (one.inner.exitcode or 0) > 0]
        if killed:
            told = "stopped; killed before its requests were done: worker %s"
            logger.warning(told, ", ".join(map(str, killed)), extra={"drained": False})
        elif failed:
            logger.error("stopped; worker %s failed", ", ".join(map(str, failed)), extra={"drained": False})
        else:
            logger.info("stopped; all requests were answered", extra={"drained": True})


def _spawn(worker: int, callback: Any, *arguments: Any, **options: Any) -> None:
    """granian's own ASGI worker, which is told its number."""
    os.environ["BOOKSTORE_WORKER"] = str(worker)
    target: Callable[..., None] = MPServer._spawn_asgi_lifespan_worker  # noqa: SLF001 - what serve() itself takes
    try:
        target(worker, callback, *arguments, **options)
    except Exception as error:
        if isinstance(error, ConfigurationError):
            logger.error("worker %s cannot start: %s", worker, error)  # noqa: TRY400 - the reason is all in its text
        else:
            logger.exception("worker %s ended", worker)
        sys.exit(1)
