"""Checks that the deployed service is what its profile says, using PostgreSQL's data rather than the service's.

pg_stat_activity shows whose sessions exist, pg_stat_statements the number and form of statements per request, and the
log the protocol used. The async and sync sides of psycopg cannot be told apart, because they use the same protocol.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import psycopg
import sqlalchemy as sa

from bookstore.database import pooler
from bookstore.lab.checks.statement_log import Statement, is_control
from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.testbed.deployment import Deployment
from bookstore.lab.testbed.process import wait_until
from bookstore.profile.engine_profile import EngineProfile

PATH: Final = "/books?limit=20"
HEADERS: Final = {"If-None-Match": '"another"'}
"""With these, a list executes a statement without parameters first, by which drivers can be told apart."""
COUNTED_REQUESTS: Final = 5
"""Requests that are counted; each must execute the same statements."""
WARM_REQUESTS: Final = 3
"""Requests per connection before counting, so that a driver's one-time queries are not counted."""
COUNTED_WITHIN_S: Final = 5

_PREPARED_BY: Final = {"__asyncpg_": "asyncpg", "_pg3_": "psycopg"}
"""Prefixes of the drivers' prepared statement names."""


class IdentityError(InvalidMeasurement):
    """The deployed service does not match its profile."""


class _StatementCount(msgspec.Struct, frozen=True):
    query: str
    calls: int


def verify(profile: EngineProfile, deployment: Deployment, connection: psycopg.Connection, database: str) -> None:
    """Compare sessions, statements and their form with the profile.

    `connection` is a superuser's autocommit connection to a server with pg_stat_statements. Raises IdentityError.
    """
    workers = {deployment.own_pid(worker.pid) for worker in deployment.workers()}
    database_sessions = service_sessions(connection, database)
    expected_clients = {(profile.name[:30], pid) for pid in workers}
    found_clients = {(name[:30], pid) for name, pid in database_sessions}
    source = "pg_stat_activity"
    if deployment.pooler:
        if not found_clients or found_clients - expected_clients:  # a session keeps the name of its last client
            raise IdentityError(
                f"{profile.name}: {source} shows sessions of {_format_sessions(found_clients)}; "
                f"expected are some of {_format_sessions(expected_clients)}"
            )
        source, found_clients = "PgBouncer", {(name[:30], pid) for name, pid in pooler_clients(deployment.pooler.url)}
    if profile.pool == "queue" and found_clients != expected_clients:
        raise IdentityError(
            f"{profile.name}: {source} shows sessions of {_format_sessions(found_clients)}; "
            f"expected are {_format_sessions(expected_clients)}"
        )
    for _ in range(WARM_REQUESTS * max(1, len(database_sessions))):
        deployment.get(PATH)
    connection.execute("SELECT pg_stat_statements_reset(0, oid, 0) FROM pg_database WHERE datname = %s", [database])
    books = 0
    for _ in range(COUNTED_REQUESTS):
        books = len(msgspec.json.decode(deployment.get(PATH)[1])["items"])
    counts = _statement_counts(connection, database)
    calls = sum(count.calls for count in counts)
    found_loading = detect_loading([count.query for count in counts], calls / COUNTED_REQUESTS)
    if found_loading != profile.loading or calls != COUNTED_REQUESTS * expected_statements(profile.loading, books):
        raise IdentityError(
            f"{profile.name}: pg_stat_statements shows {calls} statements for {COUNTED_REQUESTS} requests of {PATH}, "
            f"loading: {found_loading or 'unknown'}; the profile says loading: {profile.loading}, which takes "
            f"{COUNTED_REQUESTS * expected_statements(profile.loading, books)}"
        )


def verify_driver(profile: EngineProfile, statements: Sequence[Statement]) -> None:
    """Compare the protocol of the captured `statements` with the profile's driver. Raises IdentityError."""
    driver = detect_driver(statements)
    if not profile.driver.startswith(driver):
        raise IdentityError(f"{profile.name}: PostgreSQL's log shows {driver}; the profile says {profile.driver}")


def detect_driver(statements: Sequence[Statement]) -> str:
    """Return `asyncpg` or `psycopg`, from the names of prepared statements.

    Without prepared statements the protocol decides: asyncpg always uses the extended protocol except for BEGIN and the
    like; psycopg uses the simple one for statements without parameters.
    """
    for how, _ in statements:
        for name, driver in _PREPARED_BY.items():
            if name in how:
                return driver
    is_simple = any(how == "statement" and not is_control(sql) for how, sql in statements)
    return "psycopg" if is_simple else "asyncpg"


def detect_loading(queries: Sequence[str], per_request: float) -> str | None:
    """Return the loading strategy that executes such statements for a page of books, or None if unknown."""
    text = "\n".join(queries)
    if per_request <= 1:
        if "string_agg(" in text:
            return "json"
        return "joined" if "LEFT OUTER JOIN" in text else None
    if per_request > 3:
        return "lazy"
    # In this order: the page itself is a subquery under every strategy.
    forms = {"rows": r"= ANY \(", "selectin": r"\bIN \(", "subquery": r"FROM \(SELECT"}
    return next((name for name, form in forms.items() if re.search(form, text)), None)


def expected_statements(loading: str, books: int) -> int:
    """Return the statements for one page of `books` books; lazy loading executes two more for each book."""
    return {"json": 1, "joined": 1, "lazy": 1 + 2 * books}.get(loading, 3)


def service_sessions(connection: psycopg.Connection, database: str) -> list[tuple[str, int]]:
    """Return (profile, pid) for each session of the service in the database, from its application_name."""
    rows = connection.execute(
        "SELECT application_name FROM pg_stat_activity WHERE datname = %s AND application_name LIKE 'bookstore/%%'",
        [database],
    ).fetchall()
    return _parse_names(name for (name,) in rows)


def pooler_clients(url: sa.URL) -> list[tuple[str, int]]:
    """Return (profile, pid) for each connection of the service to the PgBouncer at `url`, from its application_name."""
    with pooler.console(url) as console:
        return _parse_names(row["application_name"] or "" for row in pooler.show(console, "CLIENTS"))


def _parse_names(names: Iterable[str]) -> list[tuple[str, int]]:
    parts = [name.split("/") for name in names if name.startswith("bookstore/")]
    return [(part[1], int(part[2])) for part in parts if len(part) == 3 and part[2].isdigit()]


def _statement_counts(connection: psycopg.Connection, database: str) -> list[_StatementCount]:
    """Return the counts since the reset. The last statement may be counted shortly after its answer arrives."""

    def read() -> list[_StatementCount]:
        rows = connection.execute(
            "SELECT query, calls FROM pg_stat_statements WHERE toplevel AND dbid = "
            "(SELECT oid FROM pg_database WHERE datname = %s) AND query !~ 'pg_stat_'",
            [database],
        ).fetchall()
        return [_StatementCount(*row) for row in rows if not is_control(row[0])]

    wait_until(lambda: sum(count.calls for count in read()) >= COUNTED_REQUESTS, COUNTED_WITHIN_S)
    return read()


def _format_sessions(sessions: set[tuple[str, int]]) -> str:
    return ", ".join(f"{name} in process {pid}" for name, pid in sorted(sessions)) or "none"
