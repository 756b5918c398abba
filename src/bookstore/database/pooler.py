"""What stands before PostgreSQL, if anything does: asked of PgBouncer's own console, and of the session."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import psycopg
import sqlalchemy as sa

from bookstore.database.budget import PoolerCapacity
from bookstore.database.url import conninfo

CONSOLE: Final = "pgbouncer"
"""The database that is PgBouncer itself: SHOW, PAUSE, RELOAD."""

_OPEN: Final = ("sv_active", "sv_idle", "sv_used", "sv_tested", "sv_login")
"""SHOW POOLS: the states of its sessions."""


def console(url: sa.URL) -> psycopg.Connection[Any]:
    """A session with the PgBouncer at `url` itself, which knows no transactions and the simple protocol alone."""
    return psycopg.connect(
        conninfo(url.set(database=CONSOLE)),
        autocommit=True,
        connect_timeout=3,
        prepare_threshold=None,
        cursor_factory=psycopg.ClientCursor,
    )


def shown(connection: psycopg.Connection[Any], what: str) -> list[dict[str, Any]]:
    """The rows of SHOW `what`, by their columns' names."""
    cursor = connection.execute(f"SHOW {what}".encode())
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def stands_before(connection: psycopg.Connection[Any]) -> bool:
    """Whether a pooler answers the `connection`: the number it gave us is not that of PostgreSQL's process."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is not None and row[0] != connection.info.backend_pid


class Limits(NamedTuple):
    """What PgBouncer says of itself: its capacity for our database and role, its mode, and how many sessions it has
    open for us already."""

    capacity: PoolerCapacity
    pool_mode: str
    open_sessions: int


def limits(url: sa.URL) -> Limits | str:
    """Those of the PgBouncer at `url`; in a sentence why it does not tell them, where it does not."""
    try:
        with console(url) as connection:
            return _limits(connection, str(url.database))
    except (LookupError, TypeError, ValueError):
        return "the pooler's own limits are unknown: its console does not speak as PgBouncer's does"
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[-1].rpartition("FATAL:")[2].strip()
        return (
            f"the pooler's own limits are unknown, its console says: {reason}; "
            f"PgBouncer tells them to a role that its stats_users names"
        )


def _limits(connection: psycopg.Connection[Any], name: str) -> Limits | str:
    settings = {row["key"]: row["value"] for row in shown(connection, "CONFIG")}
    ours = next((row for row in shown(connection, "DATABASES") if row["name"] == name), None)
    if ours is None:
        return f"the pooler's own limits are unknown: its console knows no database {name}"
    user = ours["force_user"] or connection.info.user
    pools = [row for row in shown(connection, "POOLS") if (row["database"], row["user"]) == (name, user)]
    clients = {row["list"]: row["items"] for row in shown(connection, "LISTS")}["used_clients"]
    caps = [cap for cap in (int(ours["max_connections"]), int(settings["max_user_connections"])) if cap]
    return Limits(
        PoolerCapacity(
            max_client_conn=int(settings["max_client_conn"]),
            clients=int(clients) - 1,  # this one
            pool_size=int(ours["pool_size"]),
            # Until 1.23 it was called reserve_pool.
            reserve_pool_size=int(ours["reserve_pool_size" if "reserve_pool_size" in ours else "reserve_pool"]),
            most=min(caps, default=None),
        ),
        ours["pool_mode"] or settings["pool_mode"],
        sum(int(row[state]) for row in pools for state in row if state in _OPEN),
    )
