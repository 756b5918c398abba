"""Profile -> the arguments of SQLAlchemy's engine: pool, connection and server settings of each driver."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

import sqlalchemy as sa

from bookstore.database.url import for_driver
from bookstore.profile.engine_profile import EngineProfile

CONNECT_TIMEOUT_S: Final = 3
ABANDON_AFTER_S: Final = 1.0
"""How long after the server's statement_timeout the client gives up on a silent socket."""
IDLE_IN_TRANSACTION_S: Final = 10
"""How long PostgreSQL lets a session sit in an open transaction before it ends it."""


def application_name(profile: EngineProfile) -> str:
    """`bookstore/<profile>/<pid>`: whose connection this is, in pg_stat_activity (63 bytes at most)."""
    tail = f"/{os.getpid()}"
    return f"bookstore/{profile.name}"[: 63 - len(tail)] + tail


def engine_arguments(profile: EngineProfile, url: sa.URL) -> dict[str, Any]:
    """For create_engine and create_async_engine, of `profile` on the server at `url` (without a driver)."""
    engine_url, arguments = for_driver(url, profile.driver)
    connect = _asyncpg_arguments if profile.driver == "asyncpg" else _psycopg_arguments
    options: dict[str, Any] = {
        "url": engine_url,
        "connect_args": connect(profile) | arguments,
        "isolation_level": profile.isolation_level,
        "echo": profile.echo,
        "hide_parameters": True,  # a log holds no reader's data
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


def _server_settings(profile: EngineProfile) -> dict[str, str]:
    """What a session is set to at its start. PgBouncer refuses what it cannot keep track of: the timeouts have to
    come from its connect_query, or from the role."""
    if profile.behind_pooler:
        # PgBouncer compares texts: for asyncpg's own 'utf-8' it would SET the encoding before each transaction.
        return {"timezone": "UTC", "client_encoding": "UTF8"}
    return {
        "timezone": "UTC",  # times come as they go over the wire
        "statement_timeout": f"{profile.statement_timeout * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S * 1000}",
    }


def _asyncpg_arguments(profile: EngineProfile) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT_S,
        # asyncpg has no limit of its own: on a dead socket a request would wait for ever.
        "command_timeout": profile.statement_timeout + ABANDON_AFTER_S,
        "server_settings": {"application_name": application_name(profile), **_server_settings(profile)},
        "async_creator_fn": _connect_or_refuse,
    }
    if not profile.prepared_statements:
        arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    return arguments


def _psycopg_arguments(profile: EngineProfile) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": application_name(profile),
        # libpq's way to notice a dead peer, in seconds and, the last one, milliseconds.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    if not profile.behind_pooler:  # which refuses them, the time zone among them: its own settings have that
        settings = _server_settings(profile).items()
        arguments["options"] = " ".join(f"-c {key}={value}" for key, value in settings)
    if not profile.prepared_statements:
        arguments["prepare_threshold"] = None
    if not profile.is_sync:
        arguments["async_creator_fn"] = _connect_whole
    return arguments


async def _connect_or_refuse(*arguments: Any, **options: Any) -> Any:
    """asyncpg's connect(). A Unix socket that is gone is a server that is away, and no missing file."""
    import asyncpg  # noqa: PLC0415 - psycopg deployments need no asyncpg in memory

    try:
        return await asyncpg.connect(*arguments, **options)
    except FileNotFoundError as error:
        raise ConnectionRefusedError(*error.args) from error


async def _connect_whole(*arguments: Any, **options: Any) -> Any:
    """psycopg's connect(), to its end even for a request that is cancelled meanwhile: psycopg leaves a
    session that is half made to the garbage collector, which may come much later."""
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
