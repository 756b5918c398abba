"""The PostgreSQL settings on which this project's answers depend, and how each kind of connection asks for them.

The server, a database (ALTER DATABASE … SET) and a role (ALTER ROLE … SET) can change every one of them, so every
connection asks for all of them itself. Left to the operator are limits (lock_timeout, transaction_timeout …),
default_transaction_read_only, which is how a maintenance window begins, search_path, which chooses the schema of all
tables, and what only changes speed (jit, plan_cache_mode, enable_*). lc_messages is a superuser's; nothing parses
messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

TRACKED: Final[Mapping[str, str]] = {
    "client_encoding": "UTF8",
    "TimeZone": "UTC",  # the API's time zone
    "DateStyle": "ISO, MDY",  # psycopg reads no other, and it is part of a list's ETag
    "standard_conforming_strings": "on",  # the search's SQL contains backslashes
}
"""The settings that PgBouncer tracks for each client, spelt as PostgreSQL reports them: PgBouncer compares strings,
and would SET a different spelling before each transaction."""

UNTRACKED: Final[Mapping[str, str]] = {
    "IntervalStyle": "postgres",  # psycopg reads no other
    "bytea_output": "hex",
    "extra_float_digits": "1",  # exact numbers as text; with less, asyncpg and psycopg read different ones
    "quote_all_identifiers": "off",  # `db check` compares expressions as text
    "default_transaction_isolation": "read committed",  # a load has to see what was committed before its lock
    "gin_fuzzy_search_limit": "0",  # anything else drops search results at random
    "pg_trgm.similarity_threshold": "0.3",  # which words count as typing errors
}
"""The settings that PgBouncer rejects from a client. Behind it they have to come from its connect_query or the role."""

SETTINGS: Final[Mapping[str, str]] = {**TRACKED, **UNTRACKED}

_APPLY: Final = """
    SELECT set_config(name, setting, false)
    FROM unnest(%s::text[], %s::text[], %s::bool[]) AS wanted (name, setting, tracked)
    WHERE tracked OR pg_backend_pid() = %s
"""
"""Sets the settings, behind a pooler only those that it tracks: any other would stay in a session that other clients
use next. A pooler announces a process id of its own."""


def startup_options(settings: Mapping[str, str]) -> str:
    """Return `settings` for libpq's parameter `options`, which PostgreSQL splits at unescaped white space."""
    escaped = {name: value.replace(" ", "\\ ") for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


def apply(connection: Any) -> None:
    """Set SETTINGS in the session of `connection`, a psycopg connection or SQLAlchemy's adapter of one.

    Costs one statement. The connection must have no open transaction; afterwards it has none."""
    announced: int = getattr(connection, "driver_connection", connection).info.backend_pid
    tracked = [name in TRACKED for name in SETTINGS]
    cursor = connection.cursor()
    cursor.execute(_APPLY, [list(SETTINGS), list(SETTINGS.values()), tracked, announced])
    cursor.close()
    connection.commit()


def overridden(names: list[str]) -> list[str]:
    """Return those `names` of settings, in any case, that every connection sets itself."""
    ours = {name.lower() for name in SETTINGS}
    return [name for name in names if name.lower() in ours]
