"""Streams a CSV file as raw rows, maps its columns to ours, and reports unreadable files."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from bookstore.exceptions import ConfigurationError

COLUMN_ALIASES: Final = {
    "title": ("title",),
    "authors": ("authors",),
    "isbn": ("isbn",),
    "isbn13": ("isbn13",),
    "publication_year": ("publication_year", "original_publication_year"),
    "language": ("language", "language_code"),
    "genres": ("genres",),
    "original_title": ("original_title",),
}
"""Our columns and the header names that are accepted for them, including those of goodbooks-10k."""

REQUIRED: Final = ("title", "authors")
IGNORED_COLUMNS: Final = frozenset({"book_id", "average_rating", "ratings_count"})
"""Columns of goodbooks-10k that the catalogue does not use."""


class RawRow(NamedTuple):
    """A row as in the file. `row` counts from 1, the header. Cells of missing columns are empty."""

    row: int
    title: str
    authors: str
    isbn: str
    isbn13: str
    publication_year: str
    language: str
    genres: str
    original_title: str


class BadRow(NamedTuple):
    """A row with a wrong number of fields: it has `fields`, the header has `expected`."""

    row: int
    fields: int
    expected: int


class CsvSource:
    """An open CSV file. `unread` lists its unknown columns, `rows()` yields its rows."""

    def __init__(self, path: Path, text: Iterable[str], raw: BinaryIO, columns: Mapping[str, str]) -> None:
        self._path = path
        self._raw = raw
        self._size = os.fstat(raw.fileno()).st_size
        self._reader = csv.reader(_check_no_nul(path, text), strict=True)
        self._row_starts_at = 1
        header = self._next()
        if not header:
            raise ConfigurationError(f"{path}:1: the file is empty; the first row must name the columns")
        positions = _column_positions(path, header, columns)
        self._width = len(header)
        self._pick = itemgetter(*(positions.get(name, self._width) for name in COLUMN_ALIASES))
        used = set(positions.values())
        self.unread = [
            name for index, name in enumerate(header) if index not in used and name.strip() not in IGNORED_COLUMNS
        ]

    @property
    def done_ratio(self) -> float:
        """The share of the file that was read, 0 to 1."""
        return min(1.0, self._raw.tell() / self._size) if self._size else 0.0

    def rows(self) -> Iterator[RawRow | BadRow]:
        """Yield the rows, without the header and blank rows."""
        row, width, pick = 1, self._width, self._pick
        while (cells := self._next()) is not None:
            row += 1
            if len(cells) == width:
                cells.append("")  # the cell of every column that the file lacks
                yield RawRow(row, *pick(cells))
            elif cells:
                yield BadRow(row, len(cells), width)

    def _next(self) -> list[str] | None:
        self._row_starts_at = self._reader.line_num + 1
        try:
            return next(self._reader, None)
        except UnicodeDecodeError:
            raise ConfigurationError(_not_utf8_message(self._path)) from None
        except csv.Error as error:
            raise ConfigurationError(self._malformed_message(error)) from None
        except (EOFError, gzip.BadGzipFile, OSError) as error:
            raise ConfigurationError(f"{self._path}: cannot be read: {error}") from None

    def _malformed_message(self, error: csv.Error) -> str:
        place = f"{self._path}:{self._row_starts_at}"
        if "unexpected end of data" in str(error):
            return f"{place}: a quote opened in this row is never closed; write a quote within a field twice"
        if "field limit" in str(error):
            limit = csv.field_size_limit()
            return f"{place}: a field exceeds the limit of {limit} characters; is a quote not closed?"
        return f"{place}: not CSV: {error}"


@contextmanager
def open_csv(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[CsvSource]:
    """Open `path`, a CSV file, gzipped if it ends in .gz. `columns` maps our columns to names in its header.

    Raises ConfigurationError, also while rows are read, that names file, line, what was found and what is allowed.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    # newline="" keeps line ends within quotes, as the csv module requires.
    with (
        raw,
        cast("BinaryIO", gzip.open(raw)) if path.suffix == ".gz" else raw as file,
        io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text,
    ):
        yield CsvSource(path, text, raw, columns or {})


def _check_no_nul(path: Path, lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines unchanged. PostgreSQL cannot store NUL, and a file that contains one is rarely text."""
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise ConfigurationError(f"{path}:{number}: found a NUL character; allowed is text in UTF-8")
        yield line


def _column_positions(path: Path, header: list[str], columns: Mapping[str, str]) -> dict[str, int]:
    """Return the position of each of our columns in the header."""
    names = [name.strip() for name in header]
    if repeated := sorted({name for name in names if name and names.count(name) > 1}):
        raise ConfigurationError(f"{path}:1: column {repeated[0]!r} occurs twice; allowed is once")
    for ours, theirs in columns.items():
        if ours not in COLUMN_ALIASES:
            raise ConfigurationError(
                f"--column {ours}={theirs}: unknown column {ours!r}; known are {', '.join(COLUMN_ALIASES)}"
            )
        if theirs not in names:
            raise ConfigurationError(f"--column {ours}={theirs}: {path}:1 has no {theirs!r}; it has {', '.join(names)}")
    positions = {}
    for ours, aliases in COLUMN_ALIASES.items():
        wanted = (columns[ours],) if ours in columns else aliases
        if present := [name for name in wanted if name in names]:
            positions[ours] = names.index(present[0])
    if missing := [ours for ours in REQUIRED if ours not in positions]:
        raise ConfigurationError(_missing_column_message(path, missing[0], names))
    return positions


def _missing_column_message(path: Path, ours: str, names: list[str]) -> str:
    by_lower = {name.lower(): name for name in names if name}
    likely = difflib.get_close_matches(ours, by_lower, n=1) or list(by_lower)[:1]
    known = ", ".join(alias for aliases in COLUMN_ALIASES.values() for alias in aliases)
    example = f"--column {ours}={by_lower[likely[0]]!r}" if likely else f"--column {ours}=NAME"
    return (
        f"{path}:1: no column {ours!r}; found {', '.join(names)}; known are {known}. "
        f"Name the column, for example: {example}"
    )


def _not_utf8_message(path: Path) -> str:
    """Find the line that is not UTF-8. Text is decoded in blocks, so this reads the file again."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return f"{path}:{number}: found byte 0x{byte:02x}, not UTF-8; save the file as UTF-8"
    return f"{path}: not UTF-8; save the file as UTF-8"
