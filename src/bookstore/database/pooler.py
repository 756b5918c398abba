"""Detects a PgBouncer in front of PostgreSQL and reads its limits from its admin console."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import psycopg
import sqlalchemy as sa

from bookstore.database.budget import PoolerCapacity
from bookstore.database.url import conninfo

CONSOLE: Final = "pgbouncer"
"""The name of PgBouncer's admin database: SHOW, PAUSE, RELOAD."""

_SESSION_STATES: Final = ("sv_active", "sv_idle", "sv_used", "sv_tested", "sv_login")
"""The columns of SHOW POOLS that count server sessions, by state."""


def console(url: sa.URL) -> psycopg.Connection[Any]:
    """Connect to the console of the PgBouncer at `url`, which has no transactions and only the simple protocol."""
    return psycopg.connect(
        conninfo(url.set(database=CONSOLE)),
        autocommit=True,
        connect_timeout=3,
        prepare_threshold=None,
        cursor_factory=psycopg.ClientCursor,
    )


def show(connection: psycopg.Connection[Any], subject: str) -> list[dict[str, Any]]:
    """Return the rows of SHOW `subject` as mappings of column names to values."""
    cursor = connection.execute(f"SHOW {subject}".encode())
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Whether a pooler answers `connection`: the process id that it announced is not PostgreSQL's."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is not None and row[0] != connection.info.backend_pid


class Limits(NamedTuple):
    """What PgBouncer reports: its capacity for our database and role, its pool mode, and the number of sessions that it
    has open for us already."""

    capacity: PoolerCapacity
    pool_mode: str
    open_sessions: int


def limits(url: sa.URL) -> Limits | str:
    """Return the limits of the PgBouncer at `url`, or a sentence that says why they are unknown."""
    try:
        with console(url) as connection:
            return _read_limits(connection, str(url.database))
    except (LookupError, TypeError, ValueError):
        return "the pooler's limits are unknown: its console does not answer like PgBouncer's"
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[-1].rpartition("FATAL:")[2].strip()
        return (
            f"the pooler's limits are unknown, its console says: {reason}; "
            f"PgBouncer shows them to the roles in stats_users"
        )


def _read_limits(connection: psycopg.Connection[Any], name: str) -> Limits | str:
    settings = {row["key"]: row["value"] for row in show(connection, "CONFIG")}
    ours = next((row for row in show(connection, "DATABASES") if row["name"] == name), None)
    if ours is None:
        return f"the pooler's limits are unknown: its console has no database {name}"
    user = ours["force_user"] or connection.info.user
    pools = [row for row in show(connection, "POOLS") if (row["database"], row["user"]) == (name, user)]
    clients = {row["list"]: row["items"] for row in show(connection, "LISTS")}["used_clients"]
    caps = [cap for cap in (int(ours["max_connections"]), int(settings["max_user_connections"])) if cap]
    return Limits(
        PoolerCapacity(
            max_client_conn=int(settings["max_client_conn"]),
            clients=int(clients) - 1,  # without this one
            pool_size=int(ours["pool_size"]),
            # PgBouncer up to 1.23 calls it reserve_pool.
            reserve_pool_size=int(ours["reserve_pool_size" if "reserve_pool_size" in ours else "reserve_pool"]),
            max_sessions=min(caps, default=None),
        ),
        ours["pool_mode"] or settings["pool_mode"],
        sum(int(row[state]) for row in pools for state in row if state in _SESSION_STATES),
    )
