"""The SQL a request executes, taken from PostgreSQL's log rather than reported by the service."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
import psycopg

from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.testbed.deployment import Deployment
from bookstore.lab.testbed.process import wait_until

WARM_REQUESTS: Final = 3
"""Requests per connection before the captured one, so that a driver's one-time queries are not captured."""
LOGGED_WITHIN_S: Final = 5
LARGEST_BYTES: Final = 2**26
"""Most log bytes read for one capture; far more than one request's statements take."""

_EXECUTED: Final = re.compile(r"(statement|execute [^:]*): (.*)", re.DOTALL)
_PARAMETER: Final = re.compile(r"\$(\d+) = ('(?:[^']|'')*'|NULL)")
_CONTROL: Final = re.compile(
    r"\s*(BEGIN|START TRANSACTION|COMMIT|ROLLBACK|DEALLOCATE|DISCARD|SET|RESET|SAVEPOINT|RELEASE)\b", re.IGNORECASE
)
_numbers = itertools.count(1)


class CaptureError(InvalidMeasurement):
    """PostgreSQL's log does not show the statements."""


class Statement(NamedTuple):
    """A statement, and `how` the log introduces it: `statement` (simple protocol) or `execute <name>` (extended)."""

    how: str
    sql: str


class _Line(msgspec.Struct):
    message: str = ""
    detail: str = ""
    application_name: str = ""
    pid: int = 0


def capture(
    connection: psycopg.Connection,
    deployment: Deployment,
    path: str,
    headers: Mapping[str, str] | None = None,
) -> list[Statement]:
    """Return the statements of one GET of `path`, in order, BEGIN and COMMIT included, with parameters written in.

    `connection` is a superuser's autocommit connection; the log is read through it too, so the server may run anywhere.
    Raises CaptureError if the statements do not appear in the log.
    """
    connection.execute("ALTER SYSTEM SET log_statement = 'all'")
    connection.execute("SELECT pg_reload_conf()")
    try:
        _wait_for_reload(connection)
        sessions = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'bookstore/%'")
        (count,) = sessions.fetchone() or (1,)
        for _ in range(WARM_REQUESTS * max(1, count)):
            deployment.get(path, headers)
        start = _log_size(connection)
        start += len(_read_log(connection, start))  # the end of a line: the file may end in the middle of one
        deployment.get(path, headers)
        return parse(_read_log(connection, start))
    finally:
        connection.execute("ALTER SYSTEM RESET log_statement")
        connection.execute("SELECT pg_reload_conf()")


def parse(log: bytes) -> list[Statement]:
    """Return the service's statements in lines of PostgreSQL's JSON log."""
    statements = []
    for raw in log.splitlines():
        line = msgspec.json.decode(raw, type=_Line)
        executed = _EXECUTED.fullmatch(line.message)
        if executed and line.application_name.startswith("bookstore/"):
            statements.append(Statement(executed[1], _inline_parameters(executed[2], line.detail)))
    return statements


def count_queries(statements: list[str]) -> int:
    """Return the number of statements that query or write data; BEGIN, COMMIT and the like do not count."""
    return sum(not is_control(statement) for statement in statements)


def is_control(sql: str) -> bool:
    """Return whether the statement only controls the transaction or session."""
    return _CONTROL.match(sql) is not None


def _inline_parameters(sql: str, detail: str) -> str:
    """`… $1 …` with `Parameters: $1 = '7'` -> `… '7' …`."""
    values = dict(_PARAMETER.findall(detail))
    return re.sub(r"\$(\d+)", lambda match: values.get(match[1], match[0]), sql).strip().rstrip(";")


def _wait_for_reload(connection: psycopg.Connection) -> None:
    """Wait until this session logs statements. The others got the signal too and check before their next one."""
    if not wait_until(lambda: connection.execute("SHOW log_statement").fetchone() == ("all",), LOGGED_WITHIN_S):
        raise CaptureError("PostgreSQL does not apply log_statement = all")


def _read_log(connection: psycopg.Connection, start: int) -> bytes:
    """Return the complete lines from `start`, once the log has everything up to now: PostgreSQL's processes take
    turns."""
    mark = f"bookstore-mark-{next(_numbers)}"
    connection.execute(f"SELECT '{mark}'")

    def read() -> bytes:
        row = connection.execute(
            "SELECT pg_read_binary_file(pg_current_logfile('jsonlog'), %s, %s, true)", [start, LARGEST_BYTES]
        ).fetchone()
        log = bytes(row[0]) if row and row[0] is not None else b""
        return log[: log.rfind(b"\n") + 1]

    if not wait_until(lambda: mark.encode() in read(), LOGGED_WITHIN_S):
        raise CaptureError("PostgreSQL's log contains no statements")
    return read()


def _log_size(connection: psycopg.Connection) -> int:
    """Return the size of the log; 0 if there is none yet."""
    row = connection.execute("SELECT (pg_stat_file(pg_current_logfile('jsonlog'), true)).size").fetchone()
    return int(row[0]) if row and row[0] is not None else 0
