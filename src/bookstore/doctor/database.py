"""Checks of the database: reachability, also with the profile's driver, and fitness for this version and profile."""

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
from bookstore.database.connection import connect
from bookstore.database.unit_of_work import make_database
from bookstore.database.url import location
from bookstore.doctor import role, tables
from bookstore.doctor.case import Case
from bookstore.doctor.finding import TIMED_OUT, Finding, error_findings, run_check
from bookstore.exceptions import ConfigurationError

OLDEST: Final = 15
NEWEST: Final = 18
"""The major versions of PostgreSQL that are tested."""
CLOCK_DIFFERENCE_S: Final = 1.0

Check = Callable[[psycopg.Connection[Any], Case], Iterator[Finding]]


def examine(case: Case) -> Iterator[Finding]:
    """Run all checks, each in a read-only transaction. After one that times out, no further check is run."""
    url = case.url
    assert url
    budget_findings = run_check("budget", partial(_budget, case), "problem")
    if any(finding.check == "database" for finding in budget_findings):
        yield from budget_findings
        return
    try:
        began = time.monotonic()
        connection = connect(url, autocommit=True, application_name="bookstore/doctor")
    except ConfigurationError as error:
        yield from _unusable(error)
        return
    took_ms = (time.monotonic() - began) * 1000
    yield Finding("ok", "database", f"{location(url)}: connected as {connection.info.user} in {took_ms:.0f} ms")
    yield from budget_findings
    for name, check in CHECKS.items():
        findings = run_check(name, partial(_run_read_only, check, connection, case), "problem")
        yield from findings
        if any(finding.found.startswith(TIMED_OUT) for finding in findings):
            return
    connection.close()
    yield from run_check("driver", partial(_driver, case))


HOW_TO_REACH: Final = "start it, or set DATABASE_URL to its address (percent-encode the password)"


def _unusable(error: ConfigurationError) -> Iterator[Finding]:
    for finding in error_findings("database", error):
        yield msgspec.structs.replace(finding, do=finding.do or HOW_TO_REACH)


def _run_read_only(check: Check, connection: psycopg.Connection[Any], case: Case) -> Iterator[Finding]:
    with connection.transaction():
        connection.execute("SET TRANSACTION READ ONLY")
        connection.execute("SET LOCAL statement_timeout = '5s'")
        yield from list(check(connection, case))


def _budget(case: Case) -> Iterator[Finding]:
    """Check the connection budget and the pooler as `serve` does."""
    assert case.url
    try:
        probe = preflight.probe(case.url)
    except ConfigurationError as error:
        yield from _unusable(error)
        return
    remarks = preflight.check_pooler(case.profile, probe)  # its ConfigurationError is a problem whatever the budget
    try:
        preflight.check_budget(case.profile, probe)
    except ConfigurationError as error:
        yield from error_findings("budget", error, "warning" if case.over_budget else "problem")
        return
    for remark in remarks:
        yield from error_findings("pooler", ConfigurationError(remark), "warning")
    if probe.is_pooled and not remarks:
        yield Finding("ok", "pooler", f"PgBouncer at {probe.where} fits the profile")
    if probe.pooler_capacity or not probe.is_pooled:
        result = budget.budget(case.profile, probe.capacity, probe.pooler_capacity)
        yield Finding("ok", "budget", budget.describe(case.profile, result))


def _version(connection: psycopg.Connection[Any], _: Case) -> Iterator[Finding]:
    number = connection.info.server_version
    version = f"PostgreSQL {number // 10000}.{number % 10000}"
    if number // 10000 < OLDEST:
        yield Finding("warning", "version", f"{version} is older than {OLDEST}", f"upgrade it to {OLDEST} or newer")
    elif number // 10000 > NEWEST:
        yield Finding(
            "note",
            "version",
            f"{version} is newer than {NEWEST}, the newest tested version",
            "test the service with it before you use it in production",
        )
    else:
        yield Finding("ok", "version", f"{version} is supported ({OLDEST} to {NEWEST})")


def _limits(connection: psycopg.Connection[Any], case: Case) -> Iterator[Finding]:
    """Check the CONNECTION LIMIT of the role and the database, which the budget does not include. Skipped behind a
    pooler, which opens its own number of connections."""
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
                f"the {kind}'s CONNECTION LIMIT is {limit}; {used} are in use now and the profile needs {needed}",
                f"ALTER {kind.upper()} … CONNECTION LIMIT {needed + used}, or reduce pool_size or workers "
                f"(an instance that is already running counts as in use)",
            )
        elif limit >= 0:
            yield Finding("ok", "budget", f"the {kind}'s CONNECTION LIMIT is {limit}; the profile needs {needed}")


def _clock(connection: psycopg.Connection[Any], _: Case) -> Iterator[Finding]:
    before = time.time()
    row = connection.execute(
        "SELECT extract(epoch FROM clock_timestamp())::float8, reset_val FROM pg_settings WHERE name = 'TimeZone'"
    ).fetchone()
    after = time.time()
    assert row
    difference_s = clock_difference_s(before, row[0], after)
    if difference_s > CLOCK_DIFFERENCE_S:
        yield Finding(
            "warning",
            "clock",
            f"this machine's clock and the database's differ by {difference_s:.0f} s",
            "synchronise both with NTP; otherwise the times in logs and in the catalogue disagree",
        )
    else:
        yield Finding("ok", "clock", f"agrees with the database's; sessions use UTC (the server uses {row[1]})")


def clock_difference_s(before: float, there: float, after: float) -> float:
    """Return by how many seconds a remote clock is off that showed `there` between `before` and `after`."""
    return max(before - there, there - after, 0.0)


def _tls(connection: psycopg.Connection[Any], case: Case) -> Iterator[Finding]:
    assert case.url
    # Our own connection's TLS: behind a pooler, pg_stat_ssl describes the pooler's connection.
    address = connection.info.hostaddr
    mode = case.url.query.get("sslmode", "prefer")
    if not address or ip_address(address).is_loopback:
        yield Finding("ok", "TLS", "not needed: the database is on this machine")
    elif not connection.pgconn.ssl_in_use:
        yield Finding(
            "warning",
            "TLS",
            "not used, although the database is on another machine: the network can read and change all data",
            "add ?sslmode=verify-full&sslrootcert=FILE to DATABASE_URL",
        )
    elif not str(mode).startswith("verify-"):
        yield Finding(
            "warning",
            "TLS",
            f"used, but sslmode={mode} does not verify the server's identity",
            "add ?sslmode=verify-full&sslrootcert=FILE to DATABASE_URL",
        )
    else:
        yield Finding("ok", "TLS", f"used, with sslmode={mode}")


def _driver(case: Case) -> Iterator[Finding]:
    """Check one connection, made as a worker makes it."""
    assert case.url
    profile = msgspec.structs.replace(case.profile, pool_size=1)
    try:
        asyncio.run(_query_version(profile, case.url))
    except Exception as error:
        if not sqlstate.server_problem(error):
            raise
        yield Finding(
            "warning",
            "driver",
            f"{case.profile.driver} cannot connect with this profile: {sqlstate.reason(error)}",
            "fix the connection; until then workers start but answer 503",
        )
        return
    yield Finding("ok", "driver", f"{case.profile.driver} connects and reads with this profile")


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
    "schema": tables.schema,
    "extensions": tables.extensions,
    "indexes": tables.indexes,
    "role": role.rights,
    "timeouts": role.settings,
    "limits": _limits,
    "TLS": _tls,
    "clock": _clock,
}
