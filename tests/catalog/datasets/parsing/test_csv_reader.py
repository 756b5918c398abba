"""CSV files: recognised columns, and messages for unusable files."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest

from bookstore.catalog.datasets.parsing import csv_reader
from bookstore.catalog.datasets.parsing.csv_reader import BadRow, RawRow
from bookstore.catalog.datasets.parsing.options import FileOptions
from bookstore.exceptions import ConfigurationError


def read(path: Path, columns: Mapping[str, str] | None = None) -> list[RawRow | BadRow]:
    with csv_reader.open_csv(path, FileOptions(columns=columns or {})) as file:
        return list(file.rows())


def error_message(tmp_path: Path, data: bytes, columns: Mapping[str, str] | None = None) -> str:
    path = tmp_path / "books.csv"
    path.write_bytes(data)
    with pytest.raises(ConfigurationError) as caught:
        read(path, columns)
    return str(caught.value).removeprefix(str(path))


def test_rows_count_from_the_header(tmp_path: Path) -> None:
    """The header is row 1, blank rows are counted and skipped, line ends within quotes are not counted."""
    path = tmp_path / "books.csv"
    path.write_bytes(b'\xef\xbb\xbfauthors,title\r\nAnn,"A\nB"\r\n\r\nBo\r\nCy,C\r\n')
    first, second, third = read(path)
    assert isinstance(first, RawRow)
    assert (first.row, first.title, first.authors, first.isbn) == (2, "A\nB", "Ann", "")
    assert second == BadRow(4, 1, 2)
    assert third.row == 5


def test_gzipped_file(tmp_path: Path) -> None:
    """A .csv.gz file is decompressed while it is read."""
    path = tmp_path / "books.csv.gz"
    path.write_bytes(gzip.compress(b"title,authors\nA,Ann\n"))
    (row,) = read(path)
    assert isinstance(row, RawRow)
    assert row.title == "A"


def test_columns_can_be_mapped(tmp_path: Path) -> None:
    """--column maps other header names, and unread columns are listed."""
    path = tmp_path / "books.csv"
    path.write_bytes(b"Writer,Name,Shelf\nAnn,A,7\n")
    with csv_reader.open_csv(path, FileOptions(columns={"title": "Name", "authors": "Writer"})) as file:
        (row,) = file.rows()
        assert isinstance(row, RawRow)
        assert (row.title, row.authors, file.unread) == ("A", "Ann", ["Shelf"])


def test_unknown_header_suggests(tmp_path: Path) -> None:
    """The error for an unknown header lists its names and the known ones, and suggests a --column."""
    message = error_message(tmp_path, b"Titel,Author\nA,Ann\n")
    assert message.startswith(":1: no column 'title'; found Titel, Author; known are title, book_title, authors")
    assert "--column title='Titel'" in message


@pytest.mark.parametrize(
    ("columns", "message"),
    [({"titel": "Title"}, "unknown column 'titel'"), ({"title": "Name"}, "has no 'Name'; it has title, authors")],
)
def test_wrong_mapping(tmp_path: Path, columns: dict[str, str], message: str) -> None:
    """Mapping an unknown column, or to a name that is not in the header, is an error with the list of names."""
    assert message in error_message(tmp_path, b"title,authors\nA,Ann\n", columns)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", ":1: the file is empty"),
        (b"title,authors,title\n", ":1: column 'title' occurs twice"),
        (b"title,authors\nA,Ann\nB\xe9,Bo\n", ":3: found byte 0xe9, not UTF-8"),
        (b"title,authors\nA,Ann\nB\0,Bo\n", ":3: found a NUL character"),
        (b'title,authors\nA,Ann\n"B,Bo\nC,Cy\n', ":3: a quote opened in this row is never closed"),
        (b'title,authors\n"A"x,Ann\n', ":2: not CSV"),
        (
            b"title,authors\n" + b"x" * (csv.field_size_limit() + 1) + b",Ann\n",
            ":2: a field exceeds the limit of 131072",
        ),
    ],
)
def test_unreadable_file(tmp_path: Path, data: bytes, message: str) -> None:
    """The error for a file that is not CSV in UTF-8 has the line and its content."""
    assert error_message(tmp_path, data).startswith(message)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    """A missing file, a folder and a truncated .gz are errors that name the file."""
    truncated = tmp_path / "truncated.csv.gz"
    truncated.write_bytes(gzip.compress(b"title,authors\n" + b"A,Ann\n" * 1000)[:-20])
    for path in (tmp_path / "missing.csv", tmp_path, truncated):
        with pytest.raises(ConfigurationError, match=r"cannot be read"):
            read(path)
