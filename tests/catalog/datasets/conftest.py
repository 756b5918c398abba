"""A connection to an empty catalogue, CSV files, and the contents of the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

Contents = Callable[[], list[tuple[Any, ...]]]
CsvFile = Callable[..., Path]


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url) as new:
        yield new


@pytest.fixture
def contents(connection: psycopg.Connection[Any]) -> Contents:
    """A function that reads every book with names of authors and genres, without ids and times."""

    def read() -> list[tuple[Any, ...]]:
        with connection.transaction():
            return connection.execute("""
                SELECT isbn13, title, publication_year, language, version,
                    ARRAY(SELECT name FROM book_author JOIN author ON author.id = author_id
                        WHERE book_id = book.id ORDER BY position),
                    ARRAY(SELECT name FROM book_genre JOIN genre ON genre.id = genre_id
                        WHERE book_id = book.id ORDER BY name)
                FROM book ORDER BY book.id
            """).fetchall()

    return read


@pytest.fixture
def csv_file(tmp_path: Path) -> CsvFile:
    """A function that writes lines to a file and returns its path."""

    def write(*lines: str, name: str = "books.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
