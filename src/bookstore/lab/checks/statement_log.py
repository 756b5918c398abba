"""What SQL a request really causes: read from PostgreSQL's own log, not from the service's word."""

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
"""Requests a connection gets before the one that counts: what a driver asks once a connection is not in it."""
LOGGED_WITHIN_S: Final = 5
LARGEST_BYTES: Final = 2**26
"""Of the log of one capture: far more than a request's statements take."""

_EXECUTED: Final = re.compile(r"(statement|execute [^:]*): (.*)", re.DOTALL)
_PARAMETER: Final = re.compile(r"\$(\d+) = ('(?:[^']|'')*'|NULL)")
_CONTROL: Final = re.compile(
    r"\s*(BEGIN|START TRANSACTION|COMMIT|ROLLBACK|DEALLOCATE|DISCARD|SET|RESET|SAVEPOINT|RELEASE)\b", re.IGNORECASE
)
_numbers = itertools.count(1)


class CaptureError(InvalidMeasurement):
    """PostgreSQL's log does not tell what is asked."""


class Statement(NamedTuple):
    """`how` it came, in the log's words: `statement`, which is the simple protocol, or `execute <name>`."""

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
    """The statements of one GET of `path`, in order, their parameters written in; BEGIN and COMMIT too.

    `connection` is an autocommit connection of a superuser, through which the log is read too, wherever the server
    runs. Raises CaptureError where the log stays silent.
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
        start += len(_read_log(connection, start))  # a line's end: the file's may lie within one being written
        deployment.get(path, headers)
        return parse(_read_log(connection, start))
    finally:
        connection.execute("ALTER SYSTEM RESET log_statement")
        connection.execute("SELECT pg_reload_conf()")


def parse(log: bytes) -> list[Statement]:
    """The service's statements in lines of PostgreSQL's JSON log."""
    statements = []
    for raw in log.splitlines():
        line = msgspec.json.decode(raw, type=_Line)
        executed = _EXECUTED.fullmatch(line.message)
        if executed and line.application_name.startswith("bookstore/"):
            statements.append(Statement(executed[1], _inline_parameters(executed[2], line.detail)))
    return statements


def count_queries(statements: list[str]) -> int:
    """How many of them ask something; BEGIN, COMMIT and the like do not."""
    return sum(not is_control(statement) for statement in statements)


def is_control(sql: str) -> bool:
    """Whether it only begins, ends or tidies up."""
    return _CONTROL.match(sql) is not None


def _inline_parameters(sql: str, detail: str) -> str:
    """`… $1 …` with `Parameters: $1 = '7'` -> `… '7' …`."""
    values = dict(_PARAMETER.findall(detail))
    return re.sub(r"\$(\d+)", lambda match: values.get(match[1], match[0]), sql).strip().rstrip(";")


def _wait_for_reload(connection: psycopg.Connection) -> None:
    """Until this session logs; the others were signalled with it, and look before their next statement."""
    if not wait_until(lambda: connection.execute("SHOW log_statement").fetchone() == ("all",), LOGGED_WITHIN_S):
        raise CaptureError("PostgreSQL does not take log_statement = all")


def _read_log(connection: psycopg.Connection, start: int) -> bytes:
    """The log from `start` to the end of a line, once it holds all that was logged so far: PostgreSQL's processes write
    in turn."""
    mark = f"bookstore-mark-{next(_numbers)}"
    connection.execute(f"SELECT '{mark}'")

    def read() -> bytes:
        row = connection.execute(
            "SELECT pg_read_binary_file(pg_current_logfile('jsonlog'), %s, %s, true)", [start, LARGEST_BYTES]
        ).fetchone()
        log = bytes(row[0]) if row and row[0] is not None else b""
        return log[: log.rfind(b"\n") + 1]

    if not wait_until(lambda: mark.encode() in read(), LOGGED_WITHIN_S):
        raise CaptureError("PostgreSQL's log stays silent: no statement is in it")
    return read()


def _log_size(connection: psycopg.Connection) -> int:
    """Where the log ends now; 0 where there is none yet."""
    row = connection.execute("SELECT (pg_stat_file(pg_current_logfile('jsonlog'), true)).size").fetchone()
    return int(row[0]) if row and row[0] is not None else 0
