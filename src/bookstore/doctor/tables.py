"""Checks of the database schema: its revision, the extensions it needs, and the indexes of the models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from psycopg import sql

from bookstore.catalog import models
from bookstore.doctor.case import Case
from bookstore.doctor.finding import Finding

EXTENSIONS: Final = ("pg_trgm", "unaccent")
"""The extensions that the migrations create; a test compares the two."""
UPGRADE: Final = "bookstore db upgrade"


def schema(connection: psycopg.Connection[Any], case: Case) -> Iterator[Finding]:
    at = revision(connection)
    if at == models.SCHEMA_REVISION:
        yield Finding("ok", "schema", f"at {at}, which this version needs")
    elif case.is_embedded:
        yield Finding(
            "note", "schema", f"at {at}; serve will migrate the embedded database to {models.SCHEMA_REVISION}"
        )
    else:
        yield Finding(
            "warning",
            "schema",
            f"the database's schema is at {at}, this version needs {models.SCHEMA_REVISION}",
            f"run `{UPGRADE}`; until then /health/ready answers 503",
        )


def extensions(connection: psycopg.Connection[Any], _: Case) -> Iterator[Finding]:
    installed = {
        name: (available, version)
        for name, available, version in connection.execute(
            "SELECT name, default_version, installed_version FROM pg_available_extensions"
        )
    }
    for name in EXTENSIONS:
        if name not in installed:
            yield Finding(
                "warning",
                "extensions",
                f"{name} is not available on the server",
                "install PostgreSQL's contrib package there",
            )
        elif installed[name][1] is None and revision(connection) == models.SCHEMA_REVISION:
            yield Finding(
                "warning",
                "extensions",
                f"{name} is not installed in the database",
                f"as the database's owner: CREATE EXTENSION {name}",
            )
    if all(installed.get(name, ("", None))[1] for name in EXTENSIONS):
        yield Finding("ok", "extensions", f"{' and '.join(EXTENSIONS)} are installed")
    if installed.get("pg_stat_statements", ("", None))[1] is None:
        yield Finding(
            "note",
            "extensions",
            "pg_stat_statements is not installed; it shows which statements cost most",
            "add it to shared_preload_libraries, restart, and run CREATE EXTENSION pg_stat_statements",
        )


def indexes(connection: psycopg.Connection[Any], _: Case) -> Iterator[Finding]:
    """Check that every index of the models exists and is usable. Missing tables are reported by `schema`."""
    existing = {table for (table,) in connection.execute("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')")}
    expected = {
        name: table.name
        for table in models.Book.metadata.sorted_tables
        if table.name in existing
        for name in _index_names(table)
    }
    actual = {
        name: (valid, ready, table)
        for name, valid, ready, table in connection.execute(
            "SELECT i.relname, indisvalid, indisready, t.relname FROM pg_index"
            " JOIN pg_class i ON i.oid = indexrelid JOIN pg_class t ON t.oid = indrelid"
            " WHERE t.relname = ANY(%s) AND pg_table_is_visible(t.oid)",
            [[table.name for table in models.Book.metadata.sorted_tables]],
        )
    }
    at_head = revision(connection) == models.SCHEMA_REVISION
    missing = sorted(expected.keys() - actual.keys()) if at_head else []
    for name in missing:
        yield Finding(
            "warning",
            "indexes",
            f"{name} on {expected[name]} is missing",
            "recreate it as in migrations/versions; `bookstore db check` compares the whole schema",
        )
    broken = sorted(name for name, (valid, ready, _) in actual.items() if not (valid and ready))
    for name in broken:
        yield Finding(
            "warning",
            "indexes",
            f"{name} on {actual[name][2]} is not {'valid' if actual[name][1] else 'ready'}, so no statement uses it",
            f"REINDEX INDEX CONCURRENTLY {name}",
        )
    if actual and not missing and not broken:
        yield Finding("ok", "indexes", f"all {len(actual)} exist and are valid")


def _index_names(table: sa.FromClause) -> list[str]:
    """Return the names of a table's indexes, including those of its keys."""
    assert isinstance(table, sa.Table)
    keys = [key for key in table.constraints if isinstance(key, sa.PrimaryKeyConstraint | sa.UniqueConstraint)]
    return [str(index.name) for index in (*table.indexes, *keys)]


def revision(connection: psycopg.Connection[Any]) -> str | None:
    """Return the database's schema revision, or None if nothing was migrated."""
    table = connection.execute("SELECT to_regclass(%s)", [models.VERSION_TABLE]).fetchone()
    if table is None or table[0] is None:
        return None
    row = connection.execute(
        sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(models.VERSION_TABLE))
    ).fetchone()
    return str(row[0]) if row else None
