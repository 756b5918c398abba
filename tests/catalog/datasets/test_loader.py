"""A load into empty tables drops keys and indexes of the links and restores them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bookstore.catalog.datasets import generate, import_file, loader

Connection = psycopg.Connection[Any]
Contents = Callable[[], list[tuple[Any, ...]]]
CsvFile = Callable[..., Path]
Definitions = list[tuple[str, ...]]

HEADER = "title,authors,isbn13,publication_year,genres"
ROWS = 100_000
WITHIN_S = 60


def definitions(connection: Connection) -> Definitions:
    """The definition of every constraint and index."""
    with connection.transaction():
        return connection.execute("""
            SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) || convalidated
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace
            UNION ALL
            SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
            ORDER BY 1, 2, 3
        """).fetchall()


def definitions_during(connection: Connection, work: Callable[[Callable[[float, int], None]], object]) -> Definitions:
    """The definitions within the transaction of `work` after its last batch."""
    latest: Definitions = []

    def record(_ratio: float, _books: int) -> None:
        latest[:] = definitions(connection)

    work(record)
    return latest


def test_keys_and_indexes_are_dropped_during_the_load(connection: Connection) -> None:
    """A load into empty tables drops keys and indexes of the links and restores all of them."""
    before = definitions(connection)
    during = definitions_during(connection, lambda record: generate(connection, books=50, seed=1, progress=record))
    dropped = {name for _, name, _ in set(before) - set(during)}
    assert {name for _, name, _ in before if name.startswith("fk_")} < dropped
    assert {"pk_book_author", "pk_book_genre", "ix_book_genre_genre_id_book_id"} < dropped
    assert set(during) < set(before)
    assert definitions(connection) == before


def test_a_load_into_a_filled_database_drops_nothing(connection: Connection, csv_file: CsvFile) -> None:
    """A load into a database with books touches no constraint and no index."""
    generate(connection, books=5, seed=1)
    before = definitions(connection)
    path = csv_file(HEADER, "A,Ann,,,X")
    during = definitions_during(connection, lambda record: import_file(connection, path, progress=record))
    assert during == before


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("INSERT INTO book_author VALUES (1, 9, 1000000)", psycopg.errors.ForeignKeyViolation),
        ("INSERT INTO book_genre VALUES (1000000, 1)", psycopg.errors.ForeignKeyViolation),
        ("INSERT INTO book_genre SELECT * FROM book_genre LIMIT 1", psycopg.errors.UniqueViolation),
        ("INSERT INTO book_author SELECT book_id, 9, author_id FROM book_author", psycopg.errors.UniqueViolation),
        ("INSERT INTO book (title, isbn13) VALUES ('A', '9780439023482')", psycopg.errors.CheckViolation),
    ],
)
def test_a_violation_rolls_back(
    connection: Connection,
    contents: Contents,
    csv_file: CsvFile,
    statement: str,
    error: type[Exception],
) -> None:
    """A violation during the load fails the whole load and leaves the definitions unchanged."""
    before = definitions(connection)

    def violate(_ratio: float, _books: int) -> None:
        connection.execute(statement.encode())

    with pytest.raises(error):
        import_file(connection, csv_file(HEADER, "A,Ann,,,X"), progress=violate)
    assert contents() == []
    assert definitions(connection) == before


@pytest.fixture
def reader(database_url: str) -> Iterator[None]:
    """Another transaction that has read from a link table."""
    with psycopg.connect(database_url) as other:
        other.execute("SELECT count(*) FROM book_genre")
        yield


@pytest.fixture
def dependant(connection: Connection) -> None:
    """A table of another application that depends on an index of a link table."""
    with connection.transaction():
        connection.execute(
            "CREATE TABLE royalty (author_id bigint, book_id bigint,"
            " FOREIGN KEY (author_id, book_id) REFERENCES book_author (author_id, book_id))"
        )


@pytest.fixture
def writer(connection: Connection) -> Iterator[None]:
    """A role that may write to the tables but does not own them."""
    role = f"bookstore_test_{os.getpid()}"
    with connection.transaction():
        connection.execute(f"CREATE ROLE {role}".encode())
        for kind in ("TABLES", "SEQUENCES"):
            connection.execute(f"GRANT ALL ON ALL {kind} IN SCHEMA public TO {role}".encode())
    connection.execute(f"SET ROLE {role}".encode())
    connection.commit()
    yield
    connection.execute("RESET ROLE")
    connection.execute(f"DROP OWNED BY {role}".encode())
    connection.execute(f"DROP ROLE {role}".encode())
    connection.commit()


@pytest.mark.parametrize("obstacle", ["reader", "dependant", "writer"])
def test_an_obstacle_only_slows_the_load(
    connection: Connection, csv_file: CsvFile, request: pytest.FixtureRequest, obstacle: str
) -> None:
    """If keys and indexes cannot be dropped, the load succeeds with them in place."""
    request.getfixturevalue(obstacle)
    before = definitions(connection)
    path = csv_file(HEADER, 'A,"Ann Bell, Bo Cole",,,X', "B,Ann Bell,,,X; Y")
    during = definitions_during(connection, lambda record: import_file(connection, path, progress=record))
    assert during == before
    assert loader.has_books(connection)
    connection.rollback()


def test_ctrl_c_leaves_the_tables_as_they_were(
    connection: Connection, contents: Contents, database_url: str, csv_file: CsvFile
) -> None:
    """SIGINT while books are being stored ends the command with exit code 130 and rolls back."""
    before = definitions(connection)
    path = csv_file(HEADER, *(f"Book {n},Author {n % 999},,{n % 2000},Genre {n % 50}" for n in range(ROWS)))
    command = subprocess.Popen(
        [sys.executable, "-m", "bookstore", "catalog", "import", path],
        env=os.environ | {"DATABASE_URL": database_url},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for_links(connection, command)
        command.send_signal(signal.SIGINT)
        _, stderr = command.communicate(timeout=WITHIN_S)
    finally:
        command.kill()
    assert (command.returncode, stderr.splitlines()[-1]) == (130, "bookstore: interrupted")
    assert contents() == []
    assert definitions(connection) == before


def wait_for_links(connection: Connection, command: subprocess.Popen[str]) -> None:
    """Wait until `command` inserts links, which follow its first books."""
    deadline = time.monotonic() + WITHIN_S
    row = None
    while row is None:
        assert command.poll() is None
        assert time.monotonic() < deadline
        with connection.transaction():
            row = connection.execute(
                "SELECT FROM pg_stat_activity WHERE application_name = %s AND query ~ '^\\s*INSERT INTO book_'",
                [f"bookstore/catalog/{command.pid}"],
            ).fetchone()
