"""granian under a profile: its workers, loop and backpressure; failed workers come back, stops are graceful."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import psycopg
import sqlalchemy as sa
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import MPServer

from bookstore.database import budget, pooler
from bookstore.database.pooler import Limits
from bookstore.database.url import conninfo, server
from bookstore.exceptions import ConfigurationError
from bookstore.profile.loader import EngineProfile

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

_SETTINGS: Final = """
    SELECT name, setting FROM pg_settings
    WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'TimeZone')
"""


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


class Found(NamedTuple):
    """What answers at a DATABASE_URL: the server's capacity, whether a pooler stands before it, what that says of
    itself or why it does not, and the settings that a session gets there."""

    where: str
    capacity: budget.ServerCapacity
    is_pooled: bool = False
    pooler: Limits | str | None = None
    settings: Mapping[str, str] = {}

    @property
    def pooler_capacity(self) -> budget.PoolerCapacity | None:
        return self.pooler.capacity if isinstance(self.pooler, Limits) else None


def look(url: sa.URL) -> Found:
    """What answers at `url`, and what it has left. Raises ConfigurationError where it cannot be reached."""
    try:
        with psycopg.connect(conninfo(url), autocommit=True, connect_timeout=3, prepare_threshold=None) as connection:
            row = connection.execute(budget.CAPACITY_SQL.encode()).fetchone()
            assert row
            capacity = budget.ServerCapacity(*row)
            if not pooler.stands_before(connection):
                return Found(server(url), capacity)
            settings: dict[str, str] = dict(connection.execute(_SETTINGS.encode()).fetchall())
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigurationError(f"database {server(url)}: cannot be reached: {reason}") from None
    told = pooler.limits(url)
    if isinstance(told, Limits):  # what it has open for us is within what it may open; one was not counted: ours
        others = max(0, capacity.in_use - max(0, told.open_sessions - 1))
        capacity = budget.ServerCapacity(capacity.max_connections, capacity.reserved, others)
    return Found(server(url), capacity, is_pooled=True, pooler=told, settings=settings)


def check_pooler(profile: EngineProfile, found: Found) -> list[str]:
    """What an operator should know of the pooler, a sentence each. Raises ConfigurationError where the profile needs
    one and there is none, or one that cannot serve it."""
    if not profile.behind_pooler:
        told = f"a pooler answers at {found.where}, and profile {profile.name} is made for PostgreSQL itself; in "
        return [told + "transaction mode it needs behind_pooler: on"] if found.is_pooled else []
    if not found.is_pooled:
        raise ConfigurationError(
            f"profile {profile.name}: behind_pooler is on, and PostgreSQL itself answers at {found.where}; "
            f"set DATABASE_URL to the address of PgBouncer, or choose a profile without behind_pooler"
        )
    if isinstance(found.pooler, Limits) and found.pooler.pool_mode == "statement":
        raise ConfigurationError(
            f"profile {profile.name}: found pool_mode = statement in the PgBouncer at {found.where}; "
            f"allowed is transaction: the service writes in transactions"
        )
    return list(_remarks(profile, found))


def _remarks(profile: EngineProfile, found: Found) -> Iterator[str]:
    if isinstance(found.pooler, str):
        yield found.pooler
    elif found.pooler and found.pooler.pool_mode == "session":
        yield "pool_mode is session: each connection keeps one of PgBouncer's sessions, none is shared"
    how = "set it in PgBouncer's connect_query, or with ALTER ROLE"
    limit_ms = round(profile.statement_timeout * 1000)
    if (found_ms := int(found.settings["statement_timeout"])) != limit_ms:
        has = f"{found_ms} ms" if found_ms else "none"
        yield f"statement_timeout is {has} behind the pooler, the profile says {limit_ms} ms; {how}"
    if not int(found.settings["idle_in_transaction_session_timeout"]):
        yield f"idle_in_transaction_session_timeout is none: a lost client would keep a session; {how}"
    if profile.driver != "asyncpg" and (zone := found.settings["TimeZone"]) != "UTC":
        yield f"timezone is {zone} behind the pooler, times are answered in it; set timezone=UTC in [databases]"


def check_budget(profile: EngineProfile, found: Found) -> None:
    """Raises ConfigurationError, with the sum spelled out, for a profile that could open more than is left. Where a
    pooler does not tell its limits there is nothing to check: its sessions are not the service's connections."""
    if found.is_pooled and not found.pooler_capacity:
        return
    it = budget.budget(profile, found.capacity, found.pooler_capacity)
    if not it.fits:
        raise ConfigurationError(
            f"profile {profile.name}: over the connection budget: {budget.sentence(profile, it)}; "
            f"{budget.advice(profile, it)} (or serve with --over-budget)"
        )


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
