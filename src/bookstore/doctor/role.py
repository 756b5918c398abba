"""Checks of the role the service logs in as: its privileges, and settings made by ALTER ROLE and ALTER DATABASE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from bookstore.catalog import models
from bookstore.database.session_settings import overridden
from bookstore.doctor.case import Case
from bookstore.doctor.finding import Finding

ROLES = "give the service its own role: deploy/postgresql/roles.sql, docs/security.md"


def rights(connection: psycopg.Connection[Any], case: Case) -> Iterator[Finding]:
    row = connection.execute(
        "SELECT current_user, rolsuper, pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool"
        " FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert row
    name, is_superuser, is_read_only = row
    writes = not case.settings.read_only
    if is_superuser and case.is_embedded:
        yield Finding("ok", "role", f"{name} is a superuser of the embedded PostgreSQL, which only its owner can reach")
    elif is_superuser:
        text = f"{name} is a superuser: an attacker who takes over the service controls the whole server"
        yield Finding("warning", "role", text, ROLES)
    elif owned := _owned_tables(connection):
        yield Finding("note", "role", f"{name} owns tables, so it can drop them ({', '.join(owned)})", ROLES)
    if is_read_only and writes:
        yield Finding(
            "warning",
            "role",
            "the server, or the role, is read-only: every write will fail",
            "serve with --read-only, or set DATABASE_URL to the primary",
        )
    missing = _missing_privileges(connection, ("SELECT", "INSERT", "UPDATE", "DELETE") if writes else ("SELECT",))
    for table, privileges in missing.items():
        yield Finding(
            "warning",
            "role",
            f"{name} lacks {', '.join(privileges)} on {table}",
            f"as the table's owner: GRANT {', '.join(privileges)} ON {table} TO {name}",
        )
    if not is_superuser and not missing:
        yield Finding("ok", "role", f"{name} may {'read and write' if writes else 'read'} all tables")


def settings(connection: psycopg.Connection[Any], case: Case) -> Iterator[Finding]:
    """Report what is set for the role or the database. The profile overrides some of it."""
    rows = connection.execute(
        "SELECT unnest(setconfig) FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase"
        " WHERE (setrole = 0 OR setrole = (SELECT oid FROM pg_roles WHERE rolname = current_user))"
        " AND (setdatabase = 0 OR datname = current_database())"
    ).fetchall()
    if rows:
        ours = overridden([text.partition("=")[0] for (text,) in rows])
        if not case.profile.behind_pooler:
            ours = ["statement_timeout (profile)", "idle_in_transaction_session_timeout (service)", *ours]
        yield Finding(
            "note",
            "timeouts",
            f"set by ALTER ROLE or ALTER DATABASE: {', '.join(sorted(_mask_setting(text) for (text,) in rows))}"
            + (f"; overridden: {', '.join(ours)}" if ours else ""),
        )


def _mask_setting(setting: str) -> str:
    """Mask the values of custom parameters (with a dot in the name), because some applications store keys in them."""
    name = setting.partition("=")[0]
    return f"{name}=***" if "." in name else setting


def _owned_tables(connection: psycopg.Connection[Any]) -> list[str]:
    rows = connection.execute(
        "SELECT tablename FROM pg_tables WHERE tableowner = current_user AND tablename = ANY(%s) ORDER BY 1",
        [_table_names()],
    )
    return [name for (name,) in rows]


def _missing_privileges(connection: psycopg.Connection[Any], privileges: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the missing privileges by table, for the tables that exist."""
    missing: dict[str, list[str]] = {}
    for table in [*_table_names(), models.VERSION_TABLE]:
        needed = ("SELECT",) if table == models.VERSION_TABLE else privileges
        for privilege in needed:
            row = connection.execute(
                "SELECT has_table_privilege(oid, %s) FROM pg_class WHERE oid = to_regclass(%s)", [privilege, table]
            ).fetchone()
            if row and not row[0]:
                missing.setdefault(table, []).append(privilege)
    return missing


def _table_names() -> list[str]:
    return [table.name for table in models.Book.metadata.sorted_tables]
