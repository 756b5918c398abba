"""What stands before PostgreSQL, if anything does: asked of PgBouncer's own console, and of the session."""

from __future__ import annotations

from typing import Any, Final

import psycopg
import sqlalchemy as sa

from bookstore.database_url import conninfo

CONSOLE: Final = "pgbouncer"
"""The database that is PgBouncer itself: SHOW, PAUSE, RELOAD."""


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
