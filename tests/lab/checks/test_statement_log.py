from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from bookstore.database.embedded import Cluster
from bookstore.database.url import conninfo
from bookstore.lab.checks import statement_log
from bookstore.lab.checks.statement_log import CaptureError, capture, count_queries, parse
from bookstore.lab.testbed.deployment import Deployment
from bookstore.lab.testbed.process import deploy, wait_until
from bookstore.reaper import Reaper

N = 5


def line(message: str, detail: str = "", application: str = "bookstore/default/7") -> bytes:
    """A line as PostgreSQL 18 writes it, shortened."""
    record = {"timestamp": "2026-01-31 08:00:00.000 GMT", "user": "postgres", "pid": 7, "message": message}
    record |= {"detail": detail} if detail else {}
    return json.dumps({**record, "application_name": application, "backend_type": "client backend"}).encode() + b"\n"


@pytest.mark.parametrize(
    ("message", "detail", "expected"),
    [
        ("statement: BEGIN;", "", "BEGIN"),
        ("execute <unnamed>: SELECT 1", "", "SELECT 1"),
        ("execute __asyncpg_stmt_5__: SELECT $1::int", "Parameters: $1 = '7'", "SELECT '7'::int"),
        ("execute _pg3_0: SELECT $1, $2", "Parameters: $1 = NULL, $2 = ''", "SELECT NULL, ''"),
        ("execute x: SELECT $1", "Parameters: $1 = 'O''Brien''s'", "SELECT 'O''Brien''s'"),
        ("execute x: SELECT $1, $2", "Parameters: $1 = 'a, $2 = ''b''', $2 = 'c'", "SELECT 'a, $2 = ''b''', 'c'"),
        ("execute x: SELECT ANY($1)", "Parameters: $1 = '{1,2,\"a b\"}'", "SELECT ANY('{1,2,\"a b\"}')"),
        (
            "execute x: SELECT $1, $10, $2",
            "Parameters: " + ", ".join(f"${n} = 'v{n}'" for n in range(1, 11)),
            "SELECT 'v1', 'v10', 'v2'",
        ),
        ("execute x: SELECT\n  $1", "Parameters: $1 = 'two\nlines'", "SELECT\n  'two\nlines'"),
        ("execute x: SELECT $3", "Parameters: $1 = '1'", "SELECT $3"),
    ],
)
def test_parse(message: str, detail: str, expected: str) -> None:
    """A statement is returned with each parameter in its place, whatever the parameter contains."""
    assert [statement.sql for statement in parse(line(message, detail))] == [expected]


def test_parse_leaves_out() -> None:
    """Other clients' statements and other log lines are left out; the order stays."""
    log = b"".join(
        [
            line("statement: SELECT 1"),
            line("statement: SELECT 'mark'", application="bookstore-lab"),
            line("parameter log_statement changed", application=""),
            line("duration: 0.1 ms"),
            line("connection authorized: user=postgres"),
            line("execute x: SELECT 2"),
        ]
    )
    assert parse(log) == [("statement", "SELECT 1"), ("execute x", "SELECT 2")]
    assert parse(b"") == []


def test_count() -> None:
    """Only queries count."""
    queries = ["BEGIN ISOLATION LEVEL READ COMMITTED", "SELECT 1", "  select 2", "WITH x AS (SELECT 1) SELECT 2"]
    assert count_queries([*queries, "COMMIT", "ROLLBACK", "DEALLOCATE ALL", "BEGIN"]) == 3
    assert count_queries([]) == 0


@pytest.mark.parametrize(
    ("profile", "expected"),
    [("asyncpg-joined", 1), ("asyncpg-selectin", 3), ("asyncpg-json", 1), ("psycopg-sync-lazy", 1 + 2 * N)],
)
def test_capture(
    profile: str,
    expected: int,
    lab: Cluster,
    library: sa.URL,
    connection: psycopg.Connection,
    tmp_path: Path,
    reaper: Reaper,
) -> None:
    """Each loading strategy executes its known number of statements, and the captured SQL runs as it is."""
    with deploy(profile, library, tmp_path, reaper) as deployment:
        statements = capture(connection, deployment, f"/books?limit={N}")
    assert count_queries([statement.sql for statement in statements]) == expected
    assert not any("$1" in statement.sql for statement in statements)
    with psycopg.connect(lab.url().render_as_string(hide_password=False), autocommit=True) as own:
        for statement in statements:
            own.execute(statement.sql.encode())
    assert wait_until(lambda: connection.execute("SHOW log_statement").fetchone() == ("none",), 10)


def test_indexes_alone_are_enough(connection: psycopg.Connection) -> None:
    """The lab's catalogue is vacuumed after the import, so all pages are visible to index-only scans."""
    rows = connection.execute(
        "SELECT relname, relpages, relallvisible, reltuples FROM pg_class "
        "WHERE relname IN ('book', 'author', 'genre', 'book_author', 'book_genre')"
    ).fetchall()
    assert len(rows) == 5
    for name, pages, visible, tuples in rows:
        assert pages == visible > 0, name
        assert tuples > 0, name


class Nobody(Deployment):
    """A service whose answers do not matter."""

    def __init__(self) -> None:
        """Nothing is started."""

    def get(self, path: str, headers: Any = None, timeout_s: float = 10) -> tuple[int, bytes]:  # noqa: ARG002 - the real signature
        return 200, b"{}"


def test_a_silent_log(connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without statements in the log there is an error, and logging is switched off again."""
    monkeypatch.setattr(statement_log, "LOGGED_WITHIN_S", 0.2)
    connection.execute("ALTER SYSTEM SET log_min_messages = 'panic'")
    try:
        with pytest.raises(CaptureError, match="log contains no statements"):
            capture(connection, Nobody(), "/books?limit=1")
    finally:
        connection.execute("ALTER SYSTEM RESET log_min_messages")
        connection.execute("SELECT pg_reload_conf()")
    assert wait_until(lambda: connection.execute("SHOW log_statement").fetchone() == ("none",), 10)


def test_a_log_that_others_write(lab: Cluster, connection: psycopg.Connection) -> None:
    """A capture starts at the start of a line even if PostgreSQL is writing another one."""
    done = threading.Event()

    def write() -> None:
        with psycopg.connect(conninfo(lab.url()), autocommit=True) as other:
            while not done.is_set():
                other.execute(f"SELECT '{'x' * 20_000}'")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(40):
            assert capture(connection, Nobody(), "/books?limit=1") == []
    finally:
        done.set()
        writer.join()
