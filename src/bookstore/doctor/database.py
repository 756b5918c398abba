"""The database: is it reachable, as the service reaches it too; is it fit for this version and this profile?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from typing import Any, Final

import msgspec
import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.database import budget, preflight, sqlstate
from bookstore.database.unit_of_work import make_database
from bookstore.database.url import conninfo
from bookstore.database.url import server as place
from bookstore.doctor import role, tables
from bookstore.doctor.case import Case
from bookstore.doctor.finding import Finding, error_findings, run_check
from bookstore.exceptions import ConfigurationError

OLDEST: Final = 15
NEWEST: Final = 18
"""PostgreSQL's major versions that the service is made for."""
CLOCK_DIFFERENCE_S: Final = 1.0

Check = Callable[[psycopg.Connection[Any], Case], Iterator[Finding]]


def examine(case: Case) -> Iterator[Finding]:
    """Read only, in a transaction for each look. Where the database gives no answer, nothing else is asked of it."""
    url = case.url
    assert url
    budget_found = run_check("budget", partial(_budget, case), "problem")
    if any(one.check == "database" for one in budget_found):
        yield from budget_found
        return
    try:
        began = time.monotonic()
        connection = psycopg.connect(
            conninfo(url),
            autocommit=True,
            connect_timeout=3,
            application_name="bookstore/doctor",
            prepare_threshold=None,  # there may be a pooler
        )
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        yield Finding("problem", "database", f"database {place(url)}: cannot be reached: {reason}", HOW_TO_REACH)
        return
    took_ms = (time.monotonic() - began) * 1000
    yield Finding("ok", "database", f"{place(url)}: reached within {took_ms:.0f} ms, as {connection.info.user}")
    yield from budget_found
    for check, look in CHECKS.items():
        found = run_check(check, partial(_run_read_only, look, connection, case), "problem")
        yield from found
        if any("gave no answer" in one.found for one in found):
            return
    connection.close()
    yield from run_check("driver", partial(_driver, case))


HOW_TO_REACH: Final = "start it, or set DATABASE_URL to where it is (a password is written URL-encoded)"


def _run_read_only(look: Check, connection: psycopg.Connection[Any], case: Case) -> Iterator[Finding]:
    with connection.transaction():
        connection.execute("SET TRANSACTION READ ONLY")
        connection.execute("SET LOCAL statement_timeout = '5s'")
        yield from list(look(connection, case))


def _budget(case: Case) -> Iterator[Finding]:
    """As `serve` reckons it, or refuses it."""
    assert case.url
    try:
        have = preflight.probe(case.url)
    except ConfigurationError as refusal:
        yield from (
            msgspec.structs.replace(one, do=one.do or HOW_TO_REACH) for one in error_findings("database", refusal)
        )
        return
    remarks = preflight.check_pooler(case.profile, have)  # a refusal of its is a problem, whatever the budget
    try:
        preflight.check_budget(case.profile, have)
    except ConfigurationError as refusal:
        yield from error_findings("budget", refusal, "warning" if case.over_budget else "problem")
        return
    for remark in remarks:
        yield from error_findings("pooler", ConfigurationError(remark), "warning")
    if have.is_pooled and not remarks:
        yield Finding("ok", "pooler", f"PgBouncer answers at {have.where}, and fits the profile")
    if have.pooler_capacity or not have.is_pooled:
        it = budget.budget(case.profile, have.capacity, have.pooler_capacity)
        yield Finding("ok", "budget", budget.sentence(case.profile, it))


def _version(connection: psycopg.Connection[Any], _: Case) -> Iterator[Finding]:
    number = connection.info.server_version
    found = f"PostgreSQL {number // 10000}.{number % 10000}"
    if number // 10000 < OLDEST:
        yield Finding("warning", "version", f"{found}, older than {OLDEST}", f"upgrade it to {OLDEST} or newer")
    elif number // 10000 > NEWEST:
        yield Finding(
            "note", "version", f"{found}, newer than {NEWEST}, the newest that was tried", "try it before users do"
        )
    else:
        yield Finding("ok", "version", f"{found}; {OLDEST} to {NEWEST} are right")


def _limits(connection: psycopg.Connection[Any], case: Case) -> Iterator[Finding]:
    """What the role and the database may open, which the server's own sum does not know. Behind a pooler that opens
    its own number."""
    if case.profile.behind_pooler:
        return
    row = connection.execute(
        "SELECT rolconnlimit, datconnlimit,"
        " (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()),"
        " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid())"
        " FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()"
    ).fetchone()
    assert row
    needed = (case.profile.workers + 1) * case.profile.connections_per_worker
    for kind, limit, used in (("role", row[0], row[2]), ("database", row[1], row[3])):
        if 0 <= limit < needed + used:
            yield Finding(
                "warning",
                "budget",
                f"the {kind}'s CONNECTION LIMIT is {limit}, {used} are in use now, the profile needs {needed}",
                f"ALTER {kind.upper()} … CONNECTION LIMIT {needed + used}, or a smaller pool_size or fewer workers; "
                f"a service that runs beside this is among those in use",
            )
        elif limit >= 0:
            yield Finding("ok", "budget", f"the {kind}'s CONNECTION LIMIT is {limit}, the profile needs {needed}")


def _clock(connection: psycopg.Connection[Any], _: Case) -> Iterator[Finding]:
    before = time.time()
    row = connection.execute(
        "SELECT extract(epoch FROM clock_timestamp())::float8, current_setting('TimeZone')"
    ).fetchone()
    after = time.time()
    assert row
    difference_s = clock_difference_s(before, row[0], after)
    if difference_s > CLOCK_DIFFERENCE_S:
        yield Finding(
            "warning",
            "clock",
            f"this machine's and the database's are {difference_s:.0f} s apart",
            "let both be set by NTP; else logs and times in the catalogue disagree",
        )
    else:
        yield Finding("ok", "clock", f"agrees with the database's; sessions are in UTC (the server's: {row[1]})")


def clock_difference_s(before: float, there: float, after: float) -> float:
    """How far a clock elsewhere is off, which said `there` between `before` and `after`."""
    return max(before - there, there - after, 0.0)


def _encoding(connection: psycopg.Connection[Any], _: Case) -> Iterator[Finding]:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        yield Finding("warning", "database", f"its encoding is {encoding}", "make it with ENCODING 'UTF8'")


def _tls(connection: psycopg.Connection[Any], case: Case) -> Iterator[Finding]:
    assert case.url
    # Of our own way there: behind a pooler pg_stat_ssl tells of the pooler's.
    address = connection.info.hostaddr
    mode = case.url.query.get("sslmode", "prefer")
    if not address or ip_address(address).is_loopback:
        yield Finding("ok", "TLS", "not needed to the database: it is on this machine")
    elif not connection.pgconn.ssl_in_use:
        yield Finding(
            "warning",
            "TLS",
            "none to the database, which is on another machine: who is between reads books and may change them",
            "add ?sslmode=verify-full&sslrootcert=FILE to DATABASE_URL",
        )
    elif not str(mode).startswith("verify-"):
        yield Finding(
            "warning",
            "TLS",
            f"TLS to the database, but sslmode={mode} does not check whose server it is",
            "add ?sslmode=verify-full&sslrootcert=FILE to DATABASE_URL",
        )
    else:
        yield Finding("ok", "TLS", f"to the database, sslmode={mode}")


def _driver(case: Case) -> Iterator[Finding]:
    """One connection as a worker makes it."""
    assert case.url
    one = msgspec.structs.replace(case.profile, pool_size=1)
    try:
        asyncio.run(_query_version(one, case.url))
    except Exception as error:
        if not sqlstate.trouble(error):
            raise
        yield Finding(
            "warning",
            "driver",
            f"{case.profile.driver} cannot connect as the profile says: {sqlstate.reason(error)}",
            "workers start, and answer 503 until they can",
        )
        return
    yield Finding("ok", "driver", f"{case.profile.driver} connects and reads as the profile says")


async def _query_version(profile: Any, url: sa.URL) -> str | None:
    database = make_database(profile, url)
    try:
        return await database.probe(_select_version)
    finally:
        await database.stop()


def _select_version(session: Session) -> str | None:
    version: str | None = session.scalar(sa.text("SELECT version()"))
    return version


CHECKS: Final[dict[str, Check]] = {
    "version": _version,
    "encoding": _encoding,
    "schema": tables.schema,
    "extensions": tables.extensions,
    "indexes": tables.indexes,
    "role": role.rights,
    "timeouts": role.settings,
    "limits": _limits,
    "TLS": _tls,
    "clock": _clock,
}
