"""The granian server under a profile: workers, event loop and backpressure.

It restarts failed workers and shuts down gracefully.
"""

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
from bookstore.http.gate import LARGEST_HEAD
from bookstore.profile.engine_profile import EngineProfile

logger = logging.getLogger("bookstore")

KILL_AFTER_S: Final = 10
"""Time for a worker to finish its requests at shutdown, before it is killed."""
RESPAWN_OVERLAP_S: Final = 3.5
"""Time for which an old worker keeps serving beside its replacement; longer than a worker takes to start."""
HEADERS_WITHIN_S: Final = 5
"""Time limit for the head of a request and for an idle connection; then the connection is closed without a response."""


def check_port(host: str, port: int, choices: str = "--port or --host") -> None:
    """Raise ConfigurationError, which names the `choices`, if the port is in use.

    granian binds with SO_REUSEPORT, so two servers would silently share the port and the requests.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"{host}:{port}: cannot listen: {error.strerror}; stop the process that uses it, or choose another "
                f"{choices}"
            ) from None


def check_ports(host: str, port: int, metrics_host: str, metrics_port: int | None) -> None:
    """Raise ConfigurationError if the service or its metrics cannot listen."""
    check_port(host, port)
    if metrics_port:
        if metrics_port == port:
            raise ConfigurationError(
                f"port {port}: the service and its metrics cannot share a port; choose another --metrics-port"
            )
        check_port(metrics_host, metrics_port, "--metrics-port or BOOKSTORE_METRICS_HOST")


def serve(profile: EngineProfile, host: str, port: int, log_config: Mapping[str, Any]) -> None:
    """Serve until SIGINT or SIGTERM. The app reads the profile and the database from the environment.

    `log_config` configures granian's loggers, in the format of `logging.config.dictConfig`.
    """
    _Server(
        "bookstore.app:create_app",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=profile.workers,
        # One request at a time per connection, so that backpressure also limits the requests.
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
    """A granian server that logs at shutdown whether its workers finished their requests."""

    def _stop_workers(self) -> None:
        workers = list(self.wrks)
        super()._stop_workers()  # type: ignore[no-untyped-call] # in granian
        killed = [worker.idx + 1 for worker in workers if (worker.inner.exitcode or 0) < 0]
        failed = [worker.idx + 1 for worker in workers if (worker.inner.exitcode or 0) > 0]
        if killed:
            message = "stopped; killed with requests in flight: worker %s"
            logger.warning(message, ", ".join(map(str, killed)), extra={"drained": False})
        elif failed:
            logger.error("stopped; worker %s failed", ", ".join(map(str, failed)), extra={"drained": False})
        else:
            logger.info("stopped; all requests were answered", extra={"drained": True})


def _spawn(worker: int, callback: Any, *arguments: Any, **options: Any) -> None:
    """Run granian's own ASGI worker, with its number in the environment."""
    os.environ["BOOKSTORE_WORKER"] = str(worker)
    target: Callable[..., None] = MPServer._spawn_asgi_lifespan_worker  # noqa: SLF001 - as serve() itself does
    try:
        target(worker, callback, *arguments, **options)
    except Exception as error:
        if isinstance(error, ConfigurationError):
            logger.error("worker %s cannot start: %s", worker, error)  # noqa: TRY400 - the message has the whole reason
        else:
            logger.exception("worker %s failed", worker)
        sys.exit(1)
