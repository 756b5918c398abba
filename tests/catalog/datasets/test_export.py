"""Export to CSV, and import of the exported file."""

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


def export_bytes(connection: Connection) -> bytes:
    file = io.BytesIO()
    count = export(connection, file)
    assert count == len(list(csv.reader(io.StringIO(file.getvalue().decode(), newline="")))) - 1
    return file.getvalue()


def reimport(connection: Connection, data: bytes, path: Path) -> None:
    path.write_bytes(data)
    with connection.transaction():
        connection.execute(f"TRUNCATE {TABLES} RESTART IDENTITY".encode())
    report = import_file(connection, path)
    assert (report.refused, report.mended, report.unread_columns) == (0, 0, [])


@pytest.mark.parametrize("kind", ["sample", "generated"])
def test_round_trip(connection: Connection, contents: Contents, tmp_path: Path, kind: str) -> None:
    """Importing an export into an empty database restores the catalogue, and a new export is identical."""
    if kind == "sample":
        import_file(connection, sample_path())
    else:
        generate(connection, books=3000, seed=5)
    before, data = contents(), export_bytes(connection)
    reimport(connection, data, tmp_path / "books.csv")
    assert contents() == before
    assert export_bytes(connection) == data


def test_awkward_books_round_trip(connection: Connection, contents: Contents, tmp_path: Path) -> None:
    """Names with separators and backslashes, texts like formulas, and books with nothing but a title, survive a round
    trip."""
    with connection.transaction():
        connection.execute(r"""
            INSERT INTO author (name) VALUES ('Davis, Sammy'), ('A\B'), ('Plain'), ('\, both'), ('Unknown'), ('Jr.'),
                ('=1+1');
            INSERT INTO genre (name, slug) VALUES ('This; that', 't'), ('A, B', 'ab'), ('\', 'x');
            INSERT INTO book (title, publication_year, language) VALUES
                ('"Quoted", said she', -1750, 'en-GB'), ('Bare', NULL, NULL), ('\N', 0, 'nan'), ('NULL', NULL, NULL),
                ('''=1', NULL, NULL), ('-x', NULL, NULL);
            INSERT INTO book_author VALUES (1, 0, 4), (1, 1, 1), (1, 2, 3), (1, 3, 2), (3, 0, 1), (4, 0, 5),
                (2, 0, 3), (2, 1, 6), (5, 0, 7);
            INSERT INTO book_genre VALUES (1, 1), (1, 2), (1, 3)
        """)
    before = contents()
    reimport(connection, export_bytes(connection), tmp_path / "books.csv")
    assert contents() == before


def test_empty_catalogue_exports_a_header(connection: Connection) -> None:
    """An export without books is the header."""
    assert export_bytes(connection) == b"isbn13,authors,original_publication_year,title,language_code,genres\n"
