"""deploy/postgresql/roles.sql on a real server: each role has the privileges that it needs and no others."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import LiteralString, get_args

import httpx
import psycopg
import pytest
import sqlalchemy as sa

from bookstore import doctor
from bookstore.auth import tokens
from bookstore.database import embedded, migrations
from bookstore.database.url import conninfo
from bookstore.profile.engine_profile import Driver

from ..conftest import Deployed

ROLES = Path(__file__).parents[2] / "deploy/postgresql/roles.sql"


def run_roles(url: sa.URL, connections: int = 20) -> None:
    psql = str(embedded.binaries() / "psql")  # for its \\gexec
    command = [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", f"connections={connections}", "-f", str(ROLES)]
    run = subprocess.run([*command, conninfo(url)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.fixture
def roles(blank_url: sa.URL) -> Iterator[sa.URL]:
    """A database with the roles, migrated by its owner role."""
    run_roles(blank_url)
    migrations.upgrade(blank_url.set(drivername="postgresql+psycopg", username="bookstore_owner"))
    run_roles(blank_url)  # again: it only adds the privilege on the revision
    yield blank_url
    with psycopg.connect(conninfo(blank_url), autocommit=True) as connection:
        for role in ("bookstore_app", "bookstore_monitor", "bookstore_owner"):
            connection.execute(f"DROP OWNED BY {role} CASCADE".encode())
            connection.execute(f"DROP ROLE {role}".encode())


@pytest.mark.parametrize("driver", get_args(Driver))
def test_the_service_works_as_its_role(roles: sa.URL, deployed: Deployed, driver: Driver) -> None:
    """As bookstore_app, the service writes, reads, searches and deletes, with every driver."""
    presented, token = tokens.create("ci", ["catalog:write"], date(2026, 1, 1))
    app = roles.set(username="bookstore_app")
    profile = f"default@driver={driver}"
    with deployed(app, BOOKSTORE_PROFILE=profile, BOOKSTORE_API_TOKENS=token.line()) as address:
        headers = {"Authorization": f"Bearer {presented}", "Idempotency-Key": "1"}
        author = httpx.post(f"{address}/authors", json={"name": "Emily Brontë"}, headers=headers)
        assert author.status_code == 201, author.text
        book = {"title": "Wuthering Heights", "author_ids": [author.json()["id"]]}
        created = httpx.post(f"{address}/books", json=book, headers=headers | {"Idempotency-Key": "2"})
        assert created.status_code == 201, created.text
        books = httpx.get(f"{address}/books", params={"q": "wuthring"}).json()["items"]
        assert [book["title"] for book in books] == ["Wuthering Heights"]
        deleted = httpx.delete(
            f"{address}/books/{created.json()['id']}", headers=headers | {"If-Match": created.headers["ETag"]}
        )
        assert deleted.status_code == 204, deleted.text
        copied = httpx.get(f"{address}/changes")
        assert copied.status_code == 200, copied.text
        followed = httpx.get(f"{address}/changes", params={"since": copied.json()["next_cursor"]})
        assert followed.status_code == 200, followed.text


FORBIDDEN: list[tuple[str, LiteralString]] = [
    ("bookstore_app", "DROP TABLE book"),
    ("bookstore_app", "TRUNCATE book"),
    ("bookstore_app", "ALTER TABLE book ADD COLUMN mine int"),
    ("bookstore_app", "CREATE TABLE mine ()"),
    ("bookstore_app", "CREATE TEMPORARY TABLE mine ()"),
    ("bookstore_app", "CREATE SCHEMA mine"),
    ("bookstore_app", "UPDATE schema_version SET version_num = '0001'"),
    ("bookstore_app", "SELECT pg_read_file('/etc/passwd')"),
    ("bookstore_app", "COPY book TO PROGRAM 'cat'"),
    ("bookstore_app", "SET ROLE bookstore_owner"),
    ("bookstore_monitor", "SELECT title FROM public.book"),
    ("bookstore_owner", "CREATE ROLE mine"),
    ("bookstore_owner", "CREATE DATABASE mine"),
]


def test_forbidden_statements(roles: sa.URL) -> None:
    """The service cannot change tables, the monitor cannot read books, and the owner is no superuser."""
    for role, statement in FORBIDDEN:
        with (
            psycopg.connect(conninfo(roles.set(username=role)), autocommit=True) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement)


def test_monitor_sees_statements(roles: sa.URL) -> None:
    """The monitor sees the statements of the service's sessions."""
    app, monitor = (conninfo(roles.set(username=f"bookstore_{name}")) for name in ("app", "monitor"))
    with psycopg.connect(app, autocommit=True) as service, psycopg.connect(monitor) as observer:
        service.execute("SELECT 'seen'")
        statements = observer.execute("SELECT query FROM pg_stat_activity WHERE usename = 'bookstore_app'").fetchall()
        assert ("SELECT 'seen'",) in statements


def test_limits_hold(roles: sa.URL) -> None:
    """Sessions are limited to the budget, and none waits or idles forever."""
    run_roles(roles, connections=1)
    app = conninfo(roles.set(username="bookstore_app"))
    with psycopg.connect(app) as connection:
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            psycopg.connect(app)
        timeouts = [
            connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            for name in ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout")
        ]
        assert timeouts == [("30s",), ("10s",), ("5s",)]


def test_doctor_accepts_the_role(roles: sa.URL, tmp_path: Path) -> None:
    """Doctor has no warnings for a service with these roles."""
    environ = {"DATABASE_URL": conninfo(roles.set(username="bookstore_app")), "BOOKSTORE_DATA_DIR": str(tmp_path)}
    findings = doctor.examine(environ, {}, []).findings
    assert [finding for finding in findings if finding.level == "warning"] == []
    assert "bookstore_app may read and write all tables" in {finding.found for finding in findings}
