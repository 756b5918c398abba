"""The schema in the database: its revision, the extensions it needs, the indexes of the models."""

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
"""What the migrations create; a test holds it equal."""
UPGRADE: Final = "bookstore db upgrade"


def schema(connection: psycopg.Connection[Any], case: Case) -> Iterator[Finding]:
    at = revision(connection)
    if at == models.SCHEMA_REVISION:
        yield Finding("ok", "schema", f"at {at}, as this version needs")
    elif case.is_embedded:
        yield Finding("note", "schema", f"at {at}; serve migrates the embedded database to {models.SCHEMA_REVISION}")
    else:
        yield Finding(
            "warning",
            "schema",
            f"the database's schema is at {at}, this version needs {models.SCHEMA_REVISION}",
            f"{UPGRADE}; until then /health/ready answers 503",
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
                "warning", "extensions", f"{name} is not on the server", "install PostgreSQL's contrib package there"
            )
        elif installed[name][1] is None and revision(connection) == models.SCHEMA_REVISION:
            yield Finding(
                "warning",
                "extensions",
                f"{name} is not in the database",
                f"CREATE EXTENSION {name}, as the database's owner",
            )
    if all(installed.get(name, ("", None))[1] for name in EXTENSIONS):
        yield Finding("ok", "extensions", f"{' and '.join(EXTENSIONS)} are there")
    if installed.get("pg_stat_statements", ("", None))[1] is None:
        yield Finding(
            "note",
            "extensions",
            "pg_stat_statements is not in the database; it would tell which statements cost most",
            "add it to shared_preload_libraries, restart, CREATE EXTENSION pg_stat_statements",
        )


def indexes(connection: psycopg.Connection[Any], _: Case) -> Iterator[Finding]:
    """Every index of the models is there and in use, of the tables there are; what is missing else is the schema's."""
    there = {table for (table,) in connection.execute("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')")}
    wanted = {
        name: table.name
        for table in models.Book.metadata.sorted_tables
        if table.name in there
        for name in _index_names(table)
    }
    found = {
        name: (valid, ready, table)
        for name, valid, ready, table in connection.execute(
            "SELECT i.relname, indisvalid, indisready, t.relname FROM pg_index"
            " JOIN pg_class i ON i.oid = indexrelid JOIN pg_class t ON t.oid = indrelid"
            " WHERE t.relname = ANY(%s) AND pg_table_is_visible(t.oid)",
            [[table.name for table in models.Book.metadata.sorted_tables]],
        )
    }
    at_head = revision(connection) == models.SCHEMA_REVISION
    missing = sorted(wanted.keys() - found.keys()) if at_head else []
    for name in missing:
        yield Finding(
            "warning",
            "indexes",
            f"{name} of {wanted[name]} is missing",
            "make it again as migrations/versions has it; bookstore db check compares all",
        )
    broken = sorted(name for name, (valid, ready, _) in found.items() if not (valid and ready))
    for name in broken:
        yield Finding(
            "warning",
            "indexes",
            f"{name} of {found[name][2]} is not {'valid' if found[name][1] else 'ready'}: no statement uses it",
            f"REINDEX INDEX CONCURRENTLY {name}",
        )
    if found and not missing and not broken:
        yield Finding("ok", "indexes", f"all {len(found)} are there and valid")


def _index_names(table: sa.FromClause) -> list[str]:
    """The indexes of a table, those of its keys as well."""
    assert isinstance(table, sa.Table)
    keys = [one for one in table.constraints if isinstance(one, sa.PrimaryKeyConstraint | sa.UniqueConstraint)]
    return [str(one.name) for one in (*table.indexes, *keys)]


def revision(connection: psycopg.Connection[Any]) -> str | None:
    """The revision the database is at; None where nothing was migrated."""
    known = connection.execute("SELECT to_regclass(%s)", [models.VERSION_TABLE]).fetchone()
    if known is None or known[0] is None:
        return None
    row = connection.execute(
        sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(models.VERSION_TABLE))
    ).fetchone()
    return str(row[0]) if row else None
