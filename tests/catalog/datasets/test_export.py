"""Export, and that import makes the same catalogue of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bookstore.catalog.datasets import export, generate, import_file, sample_path

Connection = psycopg.Connection[Any]
Contents = Callable[[], list[tuple[Any, ...]]]

TABLES = "book, author, genre, book_author, book_genre, book_document"


def exported(connection: Connection) -> bytes:
    file = io.BytesIO()
    count = export(connection, file)
    assert count == len(list(csv.reader(io.StringIO(file.getvalue().decode(), newline="")))) - 1
    return file.getvalue()


def imported_anew(connection: Connection, data: bytes, path: Path) -> None:
    path.write_bytes(data)
    with connection.transaction():
        connection.execute(f"TRUNCATE {TABLES} RESTART IDENTITY".encode())
    report = import_file(connection, path)
    assert (report.refused, report.mended, report.unread_columns) == (0, 0, [])


@pytest.mark.parametrize("kind", ["sample", "generated"])
def test_round_trip(connection: Connection, contents: Contents, tmp_path: Path, kind: str) -> None:
    """What was exported and imported into an empty database is the same catalogue, and exports the same."""
    if kind == "sample":
        import_file(connection, sample_path())
    else:
        generate(connection, books=3000, seed=5)
    before, data = contents(), exported(connection)
    imported_anew(connection, data, tmp_path / "books.csv")
    assert contents() == before
    assert exported(connection) == data


def test_awkward_books_round_trip(connection: Connection, contents: Contents, tmp_path: Path) -> None:
    """Names with separators and backslashes, books without authors, genres or anything but a title."""
    with connection.transaction():
        connection.execute(r"""
            INSERT INTO author (name) VALUES ('Davis, Sammy'), ('A\B'), ('Plain'), ('\, both');
            INSERT INTO genre (name, slug) VALUES ('This; that', 't'), ('A, B', 'ab'), ('\', 'x');
            INSERT INTO book (title, publication_year, language) VALUES
                ('"Quoted", said she', -1750, 'en-GB'), ('Bare', NULL, NULL), ('\N', NULL, NULL);
            INSERT INTO book_author VALUES (1, 0, 4), (1, 1, 1), (1, 2, 3), (1, 3, 2), (3, 0, 1);
            INSERT INTO book_genre VALUES (1, 1), (1, 2), (1, 3)
        """)
    before = contents()
    imported_anew(connection, exported(connection), tmp_path / "books.csv")
    assert contents() == before


def test_empty_catalogue_exports_a_header(connection: Connection) -> None:
    """Without books there is the header, which import knows."""
    assert exported(connection) == b"isbn13,authors,original_publication_year,title,language_code,genres\n"
