"""Answers do not depend on settings of the server, the database or the role, and a database in UTF8 is required."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, LiteralString, get_args

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from psycopg import sql
from sqlalchemy.orm import Session

from bookstore.cli import bookstore
from bookstore.database import session_settings
from bookstore.database.connection import open_connection
from bookstore.database.session_settings import SETTINGS, TRACKED
from bookstore.database.unit_of_work import make_database
from bookstore.database.url import conninfo
from bookstore.exceptions import ConfigurationError
from bookstore.lab.testbed.pgbouncer import PgBouncer
from bookstore.profile.engine_profile import Driver, EngineProfile

Pooled = Callable[..., AbstractContextManager[PgBouncer]]

HOSTILE: Final = {
    "client_encoding": "LATIN1",
    "TimeZone": "Asia/Kathmandu",
    "DateStyle": "SQL, DMY",
    "standard_conforming_strings": "off",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "quote_all_identifiers": "on",
    "default_transaction_isolation": "serializable",
    "gin_fuzzy_search_limit": "1",
    "pg_trgm.similarity_threshold": "0.99",
}
BOOKS = "isbn13,authors,original_publication_year,title,language_code,genres\n,Charlotte Brontë,1847,Jane Éyre ☃,eng,\n"
COMMANDS: Final = {
    "db upgrade": ["db", "upgrade"],
    "db upgrade, waiting": ["db", "upgrade", "--wait", "30"],
    "db downgrade": ["db", "downgrade", "base"],
    "db current": ["db", "current"],
    "db check": ["db", "check"],
    "import": ["catalog", "import", "{file}"],
    "generate": ["catalog", "generate", "--books", "1"],
    "export": ["catalog", "export"],
    "profiles check": ["profiles", "check", "default"],
    "serve": ["serve", "--port", "1", "--over-budget"],
}


@pytest.fixture
def hostile_url(url: sa.URL) -> sa.URL:
    """A migrated database on which everything is set differently, for the database and for the role in it."""
    assert HOSTILE.keys() == SETTINGS.keys()
    database, role = sql.Identifier(str(url.database)), sql.Identifier(str(url.username))
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        for name, value in HOSTILE.items():
            change = sql.SQL("SET {} = {}").format(sql.SQL(name), sql.SQL(value if "," in value else f"'{value}'"))
            connection.execute(sql.SQL("ALTER DATABASE {} {}").format(database, change))
            connection.execute(sql.SQL("ALTER ROLE {} IN DATABASE {} {}").format(role, database, change))
    return url


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "books.csv"
    path.write_text(BOOKS, encoding="utf-8")
    return path


def run(url: sa.URL, *arguments: object, **variables: str) -> Result:
    environment = {"DATABASE_URL": conninfo(url), "BOOKSTORE_PROFILE": "default", **variables}
    return CliRunner().invoke(bookstore, list(map(str, arguments)), env=environment)


def read_settings(session: Session) -> str:
    session.execute(sa.text("SELECT show_limit()"))  # loads pg_trgm, whose setting is in pg_settings from then on
    rows = session.execute(sa.text("SELECT name, setting FROM pg_settings"))
    return json.dumps({name: setting for name, setting in rows if name in SETTINGS})


def check(found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.anyio
@pytest.mark.parametrize("driver", get_args(Driver))
@pytest.mark.parametrize("reading", [True, False], ids=["reading", "writing"])
async def test_the_service_sets_its_own(hostile_url: sa.URL, driver: Driver, reading: bool) -> None:
    """Whatever the database and the role set, a session of the service has the project's settings."""
    database = make_database(EngineProfile(name="test", driver=driver), hostile_url)
    try:
        check(json.loads(await database.run(read_settings, reading=reading)), SETTINGS)
    finally:
        await database.stop()


@pytest.mark.anyio
@pytest.mark.parametrize("driver", get_args(Driver))
async def test_behind_a_pooler(pooled: Pooled, hostile_url: sa.URL, driver: Driver) -> None:
    """Through PgBouncer every driver sets what PgBouncer tracks, and nothing else, which would stay behind."""
    profile = EngineProfile(
        name="test", driver=driver, behind_pooler=True, prepared_statements=False, isolation_level="READ COMMITTED"
    )
    with pooled(default_pool_size="1") as bouncer:
        through = bouncer.url(str(hostile_url.database))
        with psycopg.connect(conninfo(through)) as other:  # leaves the only session with its own settings
            assert other.execute("SHOW client_encoding").fetchone() == ("LATIN1",)
        database = make_database(profile, through)
        try:
            for _ in range(3):
                found = json.loads(await database.run(read_settings))
                check(found, TRACKED)
                assert found["bytea_output"] == "escape"
        finally:
            await database.stop()


def test_commands_set_their_own(hostile_url: sa.URL) -> None:
    """A command's session has the project's settings, direct or through SQLAlchemy."""
    with open_connection(hostile_url) as connection:
        connection.execute("SELECT show_limit()")
        check(dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall()), SETTINGS)


def test_commands_through_a_pooler(pooled: Pooled, hostile_url: sa.URL) -> None:
    """A command sets through PgBouncer what PgBouncer tracks, and leaves the session of the next client alone."""
    with pooled(default_pool_size="1") as bouncer:
        through = bouncer.url(str(hostile_url.database))
        with open_connection(through) as connection:
            check(dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall()), TRACKED)
        with psycopg.connect(conninfo(through)) as other:
            assert other.execute("SHOW bytea_output").fetchone() == ("escape",)
            assert other.execute("SHOW client_encoding").fetchone() == ("LATIN1",)


def test_import_and_export(hostile_url: sa.URL, file: Path, tmp_path: Path) -> None:
    """What is imported is stored and exported unchanged, although the database asks for LATIN1."""
    assert run(hostile_url, "catalog", "import", file).exit_code == 0
    with psycopg.connect(conninfo(hostile_url), client_encoding="UTF8") as connection:
        assert connection.execute("SELECT name FROM author").fetchall() == [("Charlotte Brontë",)]
    exported = tmp_path / "exported.csv"
    assert run(hostile_url, "catalog", "export", exported).exit_code == 0
    assert "Charlotte Brontë" in exported.read_text(encoding="utf-8")
    assert "Jane Éyre ☃" in exported.read_text(encoding="utf-8")


def test_migrations(hostile_url: sa.URL) -> None:
    """Migrations and the comparison with the models work under other settings."""
    for command in (["db", "downgrade", "base"], ["db", "upgrade"], ["db", "check"]):
        result = run(hostile_url, *command)
        assert result.exit_code == 0, (command, result.output, result.exception)


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def foreign_url(server_url: sa.URL, request: pytest.FixtureRequest) -> Iterator[sa.URL]:
    """A database whose own encoding is not UTF8."""
    name = f"bookstore_test_{request.param.lower()}"
    with psycopg.connect(conninfo(server_url), autocommit=True) as server:
        server.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{request.param}'"
            " LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        yield server_url.set(database=name)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_another_encoding_is_refused(foreign_url: sa.URL, file: Path, command: list[str]) -> None:
    """Every command refuses a database in another encoding with one sentence that says which is allowed."""
    result = run(foreign_url, *(argument.format(file=file) for argument in command))
    assert isinstance(result.exception, ConfigurationError), (result.output, result.exception)
    message = str(result.exception)
    assert "\n" not in message
    assert f"database {foreign_url.database} at " in message
    assert "its encoding is " in message
    assert "allowed is UTF8; create" in message


@pytest.mark.parametrize(
    ("setting", "command", "reason"),
    [
        ("default_transaction_read_only = on", "generate", "in a read-only transaction"),
        ("default_transaction_read_only = on", "db downgrade", "in a read-only transaction"),
        ("search_path = nowhere", "db upgrade", "no schema has been selected to create in"),
        ("role = pg_monitor", "export", "permission denied for table schema_version; ask the database's owner"),
        ("role = pg_monitor", "db current", "permission denied for table schema_version; ask the database's owner"),
    ],
)
def test_what_operators_decide(url: sa.URL, setting: LiteralString, command: str, reason: str) -> None:
    """What is left to operators stays in force; a command that fails because of it says so in one sentence."""
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        change = sql.SQL("ALTER DATABASE {} SET {}").format(sql.Identifier(str(url.database)), sql.SQL(setting))
        connection.execute(change)
    result = run(url, *COMMANDS[command])
    assert isinstance(result.exception, ConfigurationError), (result.output, result.exception)
    assert str(result.exception).startswith(f"database {url.database} at ")
    assert reason in str(result.exception)


def test_doctor_finds_another_encoding(foreign_url: sa.URL) -> None:
    """Doctor reports the encoding as the one problem of the database, with the fix."""
    [problem] = [found for found in examine(foreign_url) if found["level"] == "problem"]
    assert problem["check"] == "database"
    assert "its encoding is " in problem["found"]
    assert problem["do"].startswith("create one with CREATE DATABASE")


def test_doctor_under_other_settings(hostile_url: sa.URL) -> None:
    """Doctor's own checks work under other settings, and it lists those that have no effect."""
    findings = examine(hostile_url)
    assert {found["level"] for found in findings if found["check"] in {"clock", "schema", "driver"}} == {"ok"}
    [settings] = [found["found"] for found in findings if found["check"] == "timeouts"]
    overridden = settings.partition("overridden: ")[2]
    assert [name for name in HOSTILE if name not in overridden] == []


def examine(url: sa.URL) -> list[dict[str, str]]:
    result = run(url, "doctor", "--json")
    findings: list[dict[str, str]] = json.loads(result.stdout)["findings"]
    return findings


def test_overridden_names() -> None:
    """Names of settings are compared as PostgreSQL does, without case."""
    assert session_settings.overridden(["timezone", "DATESTYLE", "work_mem"]) == ["timezone", "DATESTYLE"]
