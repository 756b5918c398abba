"""granian under a profile: its workers, loop and backpressure; failed workers come back, stops are graceful."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.server import MPServer

from bookstore import budget, logs
from bookstore.database_url import conninfo, server
from bookstore.profile import EngineProfile
from bookstore.refusal import Refused

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
    """Raises Refused, naming the `choices`, where somebody listens there already: granian binds with
    SO_REUSEPORT, so two servers would share the port, and the requests, without a word."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Refused(
                f"{host}:{port}: cannot listen there: {error.strerror}; stop what listens, or choose another {choices}"
            ) from None


def capacity(url: sa.URL) -> budget.ServerCapacity:
    """What the server at `url` has left. Raises Refused where it cannot be reached."""
    try:
        with psycopg.connect(conninfo(url), connect_timeout=3) as connection:
            row = connection.execute(budget.CAPACITY_SQL.encode()).fetchone()
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise Refused(f"database {server(url)}: cannot be reached: {reason}") from None
    assert row
    return budget.ServerCapacity(*row)


def check_budget(profile: EngineProfile, url: sa.URL) -> None:
    """Raises Refused, with the sum spelled out, for a profile that could open more than is left."""
    it = budget.budget(profile, capacity(url))
    if not it.fits:
        raise Refused(
            f"profile {profile.name}: over the connection budget: {budget.sentence(profile, it)}; "
            f"{budget.advice(profile, it)} (or serve with --over-budget)"
        )


def serve(profile: EngineProfile, host: str, port: int) -> None:
    """Serves until SIGINT or SIGTERM. The app reads the profile and the database from the environment."""
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
        log_dictconfig=logs.GRANIAN,
    ).serve(spawn_target=_spawn)


class _Server(MPServer):
    """granian, which says in the end whether its workers were done with their requests."""

    def _stop_workers(self) -> None:
        workers = list(self.wrks)
        super()._stop_workers()  # type: ignore[no-untyped-call] # of granian
        killed = [one.idx + 1 for one in workers if (one.inner.exitcode or 0) < 0]
        if killed:
            told = "stopped; killed before its requests were done: worker %s"
            logger.warning(told, ", ".join(map(str, killed)), extra={"drained": False})
        else:
            logger.info("stopped; all requests were answered", extra={"drained": True})


def _spawn(worker: int, callback: Any, *arguments: Any, **options: Any) -> None:
    """granian's own ASGI worker, which is told its number."""
    os.environ["BOOKSTORE_WORKER"] = str(worker)
    target: Callable[..., None] = MPServer._spawn_asgi_lifespan_worker  # noqa: SLF001 - what serve() itself takes
    try:
        target(worker, callback, *arguments, **options)
    except Exception as error:
        if isinstance(error, Refused):
            logger.error("worker %s cannot start: %s", worker, error)  # noqa: TRY400 - the reason is all in its text
        else:
            logger.exception("worker %s ended", worker)
        sys.exit(1)
