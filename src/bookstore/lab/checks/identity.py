"""Is the deployed service what its profile says? PostgreSQL tells, not the service.

pg_stat_activity tells whose sessions there are, pg_stat_statements how many statements a request makes and of
what form, the log by which protocol they came. One thing cannot be told from there: psycopg's async side and its
sync side speak to PostgreSQL alike.
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
COUNTED_REQUESTS: Final = 5
"""Requests that are counted; each must make the same statements."""
WARM_REQUESTS: Final = 3
"""Requests a connection gets before: what a driver asks once a connection is not counted."""
COUNTED_WITHIN_S: Final = 5

_PREPARED_BY: Final = {"__asyncpg_": "asyncpg", "_pg3_": "psycopg"}
"""What the drivers call the statements that they prepare."""


class IdentityError(InvalidMeasurement):
    """What was deployed is not what the profile says."""


class _StatementCount(msgspec.Struct, frozen=True):
    query: str
    calls: int


def verify(profile: EngineProfile, deployment: Deployment, connection: psycopg.Connection, database: str) -> None:
    """Compares sessions, statements and their form with the profile. `connection` is an autocommit connection
    of a superuser with pg_stat_statements. Raises IdentityError."""
    workers = {deployment.own_pid(worker.pid) for worker in deployment.workers()}
    seen = service_sessions(connection, database)
    expected = {(profile.name[:30], pid) for pid in workers}
    found = {(name[:30], pid) for name, pid in seen}
    where = "pg_stat_activity"
    if deployment.pooler:
        if not found or found - expected:  # a session bears the name of whoever had it last
            raise IdentityError(
                f"{profile.name}: {where} shows sessions of {_format_sessions(found)}, expected are some of {_format_sessions(expected)}"
            )
        where, found = "PgBouncer", {(name[:30], pid) for name, pid in pooler_clients(deployment.pooler.url)}
    if profile.pool == "queue" and found != expected:
        raise IdentityError(
            f"{profile.name}: {where} shows sessions of {_format_sessions(found)}, expected are {_format_sessions(expected)}"
        )
    for _ in range(WARM_REQUESTS * max(1, len(seen))):
        deployment.get(PATH)
    connection.execute("SELECT pg_stat_statements_reset(0, oid, 0) FROM pg_database WHERE datname = %s", [database])
    books = 0
    for _ in range(COUNTED_REQUESTS):
        books = len(msgspec.json.decode(deployment.get(PATH)[1])["items"])
    counted = _statement_counts(connection, database)
    calls = sum(one.calls for one in counted)
    found_loading = detect_loading([one.query for one in counted], calls / COUNTED_REQUESTS)
    if found_loading != profile.loading or calls != COUNTED_REQUESTS * expected_statements(profile.loading, books):
        raise IdentityError(
            f"{profile.name}: pg_stat_statements shows {calls} statements for {COUNTED_REQUESTS} requests of {PATH}, of the form "
            f"{found_loading or 'of no known strategy'}; the profile says loading: {profile.loading}, which makes "
            f"{COUNTED_REQUESTS * expected_statements(profile.loading, books)}"
        )


def verify_driver(profile: EngineProfile, statements: Sequence[Statement]) -> None:
    """Compares the protocol of the captured `statements` with the profile's driver. Raises IdentityError."""
    found = detect_driver(statements)
    if not profile.driver.startswith(found):
        raise IdentityError(f"{profile.name}: PostgreSQL's log shows {found}, the profile says {profile.driver}")


def detect_driver(statements: Sequence[Statement]) -> str:
    """`asyncpg` or `psycopg`: by the names they give prepared statements; without any, asyncpg always uses the
    extended protocol, but for BEGIN and the like, and psycopg the simple one for what has no parameters."""
    for how, _ in statements:
        for name, driver in _PREPARED_BY.items():
            if name in how:
                return driver
    is_simple = any(how == "statement" and not is_control(sql) for how, sql in statements)
    return "psycopg" if is_simple else "asyncpg"


def detect_loading(queries: Sequence[str], per_request: float) -> str | None:
    """The loading strategy that makes such statements for a page of books; None for none that is known."""
    text = "\n".join(queries)
    if per_request <= 1:
        if "string_agg(" in text:
            return "json"
        return "joined" if "LEFT OUTER JOIN" in text else None
    if per_request > 3:
        return "lazy"
    forms = {"subquery": r"FROM \(SELECT", "rows": r"= ANY \(", "selectin": r"\bIN \("}
    return next((name for name, form in forms.items() if re.search(form, text)), None)


def expected_statements(loading: str, books: int) -> int:
    """Statements of one page of `books` books: lazy asks twice more for each of them."""
    return {"json": 1, "joined": 1, "lazy": 1 + 2 * books}.get(loading, 3)


def service_sessions(connection: psycopg.Connection, database: str) -> list[tuple[str, int]]:
    """(profile, pid) of each session that the service has in the database, by its application_name."""
    rows = connection.execute(
        "SELECT application_name FROM pg_stat_activity WHERE datname = %s AND application_name LIKE 'bookstore/%%'",
        [database],
    ).fetchall()
    return _parse_names(name for (name,) in rows)


def pooler_clients(url: sa.URL) -> list[tuple[str, int]]:
    """(profile, pid) of each connection that the service has to the PgBouncer at `url`, by its application_name."""
    with pooler.console(url) as console:
        return _parse_names(row["application_name"] or "" for row in pooler.shown(console, "CLIENTS"))


def _parse_names(names: Iterable[str]) -> list[tuple[str, int]]:
    parts = [name.split("/") for name in names if name.startswith("bookstore/")]
    return [(part[1], int(part[2])) for part in parts if len(part) == 3 and part[2].isdigit()]


def _statement_counts(connection: psycopg.Connection, database: str) -> list[_StatementCount]:
    """Those since the reset. The last one may be counted a moment after its answer has arrived."""

    def read() -> list[_StatementCount]:
        rows = connection.execute(
            "SELECT query, calls FROM pg_stat_statements WHERE toplevel AND dbid = "
            "(SELECT oid FROM pg_database WHERE datname = %s) AND query !~ 'pg_stat_'",
            [database],
        ).fetchall()
        return [_StatementCount(*row) for row in rows if not is_control(row[0])]

    wait_until(lambda: sum(one.calls for one in read()) >= COUNTED_REQUESTS, COUNTED_WITHIN_S)
    return read()


def _format_sessions(found: set[tuple[str, int]]) -> str:
    return ", ".join(f"{name} in process {pid}" for name, pid in sorted(found)) or "nobody"
