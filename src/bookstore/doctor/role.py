"""The role the service logs in as: may it do its work, and no more? What do ALTER ROLE and ALTER DATABASE set?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from bookstore.catalog import models
from bookstore.doctor.case import Case
from bookstore.doctor.finding import Finding

ROLES = "give the service a role of its own: deploy/postgresql/roles.sql, docs/security.md"


def rights(connection: psycopg.Connection[Any], case: Case) -> Iterator[Finding]:
    row = connection.execute(
        "SELECT current_user, rolsuper, pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool"
        " FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert row
    name, is_superuser, is_read_only = row
    writes = not case.settings.read_only
    if is_superuser and case.is_embedded:
        yield Finding("ok", "role", f"{name} is a superuser, of the embedded PostgreSQL, which only its owner reaches")
    elif is_superuser:
        yield Finding("warning", "role", f"{name} is a superuser: what breaks into the service has the server", ROLES)
    elif owned := _owned_tables(connection):
        yield Finding("note", "role", f"{name} owns the tables, so it may drop them ({', '.join(owned)})", ROLES)
    if is_read_only and writes:
        yield Finding(
            "warning",
            "role",
            "the server, or the role, is read-only: every write will fail",
            "serve with --read-only, or name the primary in DATABASE_URL",
        )
    lacking = _missing_privileges(connection, ("SELECT", "INSERT", "UPDATE", "DELETE") if writes else ("SELECT",))
    for table, kinds in lacking.items():
        yield Finding(
            "warning",
            "role",
            f"{name} may not {', '.join(kinds)} on {table}",
            f"GRANT {', '.join(kinds)} ON {table} TO {name}, as its owner",
        )
    if not is_superuser and not lacking:
        yield Finding("ok", "role", f"{name} may {'read and write' if writes else 'read'} all tables")


def settings(connection: psycopg.Connection[Any], case: Case) -> Iterator[Finding]:
    """What was set for the role or the database; the profile's own go over some of them."""
    rows = connection.execute(
        "SELECT unnest(setconfig) FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase"
        " WHERE (setrole = 0 OR setrole = (SELECT oid FROM pg_roles WHERE rolname = current_user))"
        " AND (setdatabase = 0 OR datname = current_database())"
    ).fetchall()
    if rows:
        over = "; the profile's statement_timeout and the service's idle_in_transaction_session_timeout go over theirs"
        yield Finding(
            "note",
            "timeouts",
            f"set by ALTER ROLE or ALTER DATABASE: {', '.join(sorted(_mask_setting(text) for (text,) in rows))}"
            + ("" if case.profile.behind_pooler else over),
        )


def _mask_setting(setting: str) -> str:
    """Parameters of others have a dot in their names, and are where some keep keys: without the value."""
    name = setting.partition("=")[0]
    return f"{name}=***" if "." in name else setting


def _owned_tables(connection: psycopg.Connection[Any]) -> list[str]:
    rows = connection.execute(
        "SELECT tablename FROM pg_tables WHERE tableowner = current_user AND tablename = ANY(%s) ORDER BY 1",
        [_table_names()],
    )
    return [name for (name,) in rows]


def _missing_privileges(connection: psycopg.Connection[Any], kinds: tuple[str, ...]) -> dict[str, list[str]]:
    """Which rights on which tables are missing, of the tables there are."""
    lacking: dict[str, list[str]] = {}
    for table in [*_table_names(), models.VERSION_TABLE]:
        wanted = ("SELECT",) if table == models.VERSION_TABLE else kinds
        for kind in wanted:
            row = connection.execute(
                "SELECT has_table_privilege(oid, %s) FROM pg_class WHERE oid = to_regclass(%s)", [kind, table]
            ).fetchone()
            if row and not row[0]:
                lacking.setdefault(table, []).append(kind)
    return lacking


def _table_names() -> list[str]:
    return [table.name for table in models.Book.metadata.sorted_tables]
