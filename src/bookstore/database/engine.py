"""The arguments of SQLAlchemy's engine for a profile: pool, connection and server settings of each driver."""

from __future__ import annotations

import asyncio
import os
from time import monotonic
from typing import Any, Final

import sqlalchemy as sa

from bookstore.database import session_settings, sqlstate
from bookstore.database.url import for_driver
from bookstore.profile.engine_profile import EngineProfile

CONNECT_TIMEOUT_S: Final = 3
ABANDON_AFTER_S: Final = 1.0
"""The time after the server's statement_timeout at which the client gives up on a silent socket."""
IDLE_IN_TRANSACTION_S: Final = 10
"""How long PostgreSQL tolerates an idle session in an open transaction before it ends the session."""

RENEW_AFTER_S: Final = 1.0
"""The age from which a stale connection makes the pool renew all of them: writes to a server that stays read-only
then cost a reconnect each, and the readers at most one per second."""


def application_name(profile: EngineProfile) -> str:
    """Return `bookstore/<profile>/<pid>`, which identifies a connection in pg_stat_activity (at most 63 bytes)."""
    tail = f"/{os.getpid()}"
    return f"bookstore/{profile.name}"[: 63 - len(tail)] + tail


def engine_arguments(profile: EngineProfile, url: sa.URL) -> dict[str, Any]:
    """Return the arguments of create_engine and create_async_engine for `profile` at `url` (without a driver)."""
    engine_url, arguments = for_driver(url, profile.driver)
    connect = _asyncpg_arguments if profile.driver == "asyncpg" else _psycopg_arguments
    options: dict[str, Any] = {
        "url": engine_url,
        "connect_args": connect(profile) | arguments,
        "isolation_level": profile.isolation_level,
        "echo": profile.echo,
        "hide_parameters": True,  # keeps users' data out of logs
    }
    if profile.pool == "null":
        return options | {"poolclass": sa.NullPool}
    return options | {
        "pool_size": profile.pool_size,
        "max_overflow": profile.max_overflow,
        "pool_timeout": profile.pool_timeout,
        "pool_recycle": profile.pool_recycle,
        "pool_pre_ping": profile.pool_pre_ping,
        "pool_use_lifo": profile.pool_use_lifo,
    }


def listen(engine: sa.Engine, profile: EngineProfile) -> None:
    """Add what the arguments of `engine` cannot express: psycopg's session settings behind a pooler, and the end of
    connections that can only fail from now on."""
    sa.event.listen(engine, "connect", _note_opening)
    sa.event.listen(engine, "handle_error", _drop_stale)
    if profile.behind_pooler and profile.driver != "asyncpg":
        sa.event.listen(engine, "connect", lambda connection, _: session_settings.apply(connection))


def _note_opening(_: Any, record: sa.pool.ConnectionPoolEntry) -> None:
    record.info["opened_s"] = monotonic()


def _drop_stale(context: sa.ExceptionContext) -> None:
    """Drop a stale connection, and with it the pool's others if they can be as old as its reason."""
    if context.connection is not None and sqlstate.is_stale(context.original_exception):
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = monotonic() - context.connection.info["opened_s"] > RENEW_AFTER_S


def _server_settings(profile: EngineProfile) -> dict[str, str]:
    """Return the startup parameters of a session. PgBouncer rejects parameters that it does not track, so behind it
    the others have to come from its connect_query or from the role."""
    if profile.behind_pooler:
        return dict(session_settings.TRACKED)
    return {
        **session_settings.SETTINGS,
        "statement_timeout": f"{profile.statement_timeout * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S * 1000}",
    }


def _asyncpg_arguments(profile: EngineProfile) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT_S,
        # asyncpg has no default limit: on a dead socket a request would wait forever.
        "command_timeout": profile.statement_timeout + ABANDON_AFTER_S,
        "server_settings": {"application_name": application_name(profile), **_server_settings(profile)},
        "async_creator_fn": _connect_asyncpg,
    }
    if not profile.prepared_statements:
        arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    return arguments


def _psycopg_arguments(profile: EngineProfile) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": application_name(profile),
        "client_encoding": session_settings.SETTINGS["client_encoding"],
        # How libpq detects a dead peer; in seconds, the last one in milliseconds.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    if not profile.behind_pooler:  # PgBouncer rejects `options`; see listen()
        arguments["options"] = session_settings.startup_options(_server_settings(profile))
    if not profile.prepared_statements:
        arguments["prepare_threshold"] = None
    if not profile.is_sync:
        arguments["async_creator_fn"] = _connect_psycopg
    return arguments


async def _connect_asyncpg(*arguments: Any, **options: Any) -> Any:
    """Call asyncpg's connect(). Whatever the operating system or TLS reports (no socket, no route, a certificate that
    is not trusted), the server cannot be reached, so it raises ConnectionError."""
    import asyncpg  # noqa: PLC0415 - psycopg deployments need no asyncpg in memory

    try:
        return await asyncpg.connect(*arguments, **options)
    except TimeoutError:
        raise
    except OSError as error:
        raise ConnectionError(*error.args) from error


async def _connect_psycopg(*arguments: Any, **options: Any) -> Any:
    """Call psycopg's connect(), and complete it even if the request is cancelled meanwhile: psycopg leaves a
    half-open session to the garbage collector, which may run much later."""
    from psycopg import AsyncConnection  # noqa: PLC0415 - asyncpg deployments need no libpq in memory

    connecting = asyncio.create_task(AsyncConnection.connect(*arguments, **options))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(_close)
        raise


def _close(connecting: asyncio.Task[Any]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().pgconn.finish()
