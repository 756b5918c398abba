"""Doctor's checks of a real database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString, get_args

import psycopg
import pytest
import sqlalchemy as sa

from bookstore.config.settings import Settings
from bookstore.database.url import conninfo
from bookstore.doctor import database
from bookstore.doctor.case import Case
from bookstore.doctor.finding import Finding
from bookstore.profile import loader
from bookstore.profile.engine_profile import Driver

from .conftest import Examined


@pytest.fixture
def administer(url: sa.URL) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        yield connection


@pytest.fixture
def clerk(administer: psycopg.Connection[Any], url: sa.URL) -> Iterator[sa.URL]:
    """The database as a role that may only log in."""
    administer.execute("CREATE ROLE clerk LOGIN")
    yield url.set(username="clerk")
    administer.execute("DROP OWNED BY clerk")
    administer.execute("DROP ROLE clerk")


BROKEN: list[tuple[str, LiteralString, str]] = [
    ("indexes", "DROP INDEX ix_book_title", "ix_book_title on book is missing"),
    (
        "indexes",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_book_title'::regclass",
        "ix_book_title on book is not valid, so no statement uses it",
    ),
    (
        "indexes",
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'uq_book_isbn13'::regclass",
        "uq_book_isbn13 on book is not ready, so no statement uses it",
    ),
    ("extensions", "DROP EXTENSION pg_trgm CASCADE", "pg_trgm is not installed in the database"),
    (
        "schema",
        "UPDATE schema_version SET version_num = '0001'",
        "the database's schema is at 0001, this version needs",
    ),
    ("schema", "DROP TABLE schema_version", "the database's schema is at None, this version needs"),
]


@pytest.mark.parametrize(("check", "statement", "found"), BROKEN)
def test_broken_schema(
    examined: Examined,
    administer: psycopg.Connection[Any],
    url: sa.URL,
    check: str,
    statement: LiteralString,
    found: str,
) -> None:
    """A wrong schema revision, a missing extension and a broken index are warnings with a fix."""
    assert [finding for finding in examined(url, check) if finding.level == "warning"] == []
    administer.execute(statement)
    [warning] = [finding for finding in examined(url, check) if finding.level == "warning"]
    assert warning.found.startswith(found)
    assert warning.do


@pytest.mark.parametrize("driver", get_args(Driver))
def test_drivers(examined: Examined, url: sa.URL, driver: Driver) -> None:
    """Doctor connects with the profile's own driver."""
    [found] = examined(url, "driver", BOOKSTORE_PROFILE=f"default@driver={driver}")
    assert found == Finding("ok", "driver", f"{driver} connects and reads with this profile")


def test_rights(examined: Examined, administer: psycopg.Connection[Any], url: sa.URL, clerk: sa.URL) -> None:
    """A superuser is a warning, and so are missing privileges that the service needs in its mode."""
    assert "is a superuser" in examined(url, "role")[0].found
    missing = {finding.found for finding in examined(clerk, "role")}
    assert "clerk lacks SELECT, INSERT, UPDATE, DELETE on book" in missing
    assert "clerk lacks SELECT on schema_version" in missing
    administer.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO clerk")
    [found] = examined(clerk, "role", BOOKSTORE_READ_ONLY="on")
    assert found == Finding("ok", "role", "clerk may read all tables")
    assert "clerk lacks INSERT, UPDATE, DELETE on book" in {finding.found for finding in examined(clerk, "role")}
    administer.execute("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk")
    [found] = examined(clerk, "role")
    assert found.level == "ok"
    administer.execute("ALTER ROLE clerk SET default_transaction_read_only = on")
    assert "read-only: every write will fail" in examined(clerk, "role")[0].found


def test_owner_of_tables(examined: Examined, administer: psycopg.Connection[Any], clerk: sa.URL) -> None:
    """A role that owns tables is a note, because it could drop them."""
    administer.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk")
    administer.execute("ALTER TABLE idempotency OWNER TO clerk")
    found = {finding.found for finding in examined(clerk, "role")}
    assert "clerk owns tables, so it can drop them (idempotency)" in found


def test_limits_of_the_role(examined: Examined, administer: psycopg.Connection[Any], clerk: sa.URL) -> None:
    """A CONNECTION LIMIT below the profile's need is a warning; timeouts set for the role are a note."""
    administer.execute("ALTER ROLE clerk CONNECTION LIMIT 9")
    administer.execute("ALTER ROLE clerk SET statement_timeout = '1min'")
    warning = examined(clerk, "budget")[0]
    assert warning.level == "warning"
    assert warning.found.startswith("the role's CONNECTION LIMIT is 9; ")
    assert warning.found.endswith(" are in use now and the profile needs 10")
    administer.execute("ALTER ROLE clerk SET \"app.key\" = 'c4nary'")
    timeouts = examined(clerk, "timeouts")[0].found
    assert "statement_timeout=1min" in timeouts
    assert "app.key=***" in timeouts  # some applications keep keys there
    administer.execute("ALTER ROLE clerk CONNECTION LIMIT 20")
    assert {finding.level for finding in examined(clerk, "budget")} == {"ok"}


def test_checks_are_read_only(url: sa.URL, administer: psycopg.Connection[Any]) -> None:
    """A check runs in a read-only transaction with a statement timeout."""
    case = Case(Settings(data_dir="/nowhere"), loader.load("default"), url)  # type: ignore[arg-type] # unread

    def writes(connection: psycopg.Connection[Any], _: Case) -> Iterator[Finding]:
        connection.execute("CREATE TABLE mine ()")
        yield Finding("ok", "table", "created")

    def reads_timeout(connection: psycopg.Connection[Any], _: Case) -> Iterator[Finding]:
        row = connection.execute("SELECT current_setting('statement_timeout')").fetchone()
        yield Finding("ok", "timeout", str(row))

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        list(database._run_read_only(writes, administer, case))
    assert [finding.found for finding in database._run_read_only(reads_timeout, administer, case)] == ["('5s',)"]


def test_clock_difference() -> None:
    """Clocks differ by as much as the duration of the query cannot explain."""
    assert database.clock_difference_s(100.0, 100.4, 102.0) == 0.0
    assert database.clock_difference_s(100.0, 103.0, 102.0) == pytest.approx(1.0)
    assert database.clock_difference_s(100.0, 95.0, 102.0) == pytest.approx(5.0)
