"""Streams a CSV file as raw rows, maps its columns to ours, and reports unreadable files."""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from bookstore.catalog.datasets.parsing import columns, dialect
from bookstore.catalog.datasets.parsing.author_names import CELL_BREAK
from bookstore.catalog.datasets.parsing.options import FileOptions
from bookstore.config.text import excerpt
from bookstore.exceptions import ConfigurationError

_GZIP = b"\x1f\x8b"


class RawRow(NamedTuple):
    """A row as in the file. `row` counts from 1, the first row of the file. Cells of missing columns are empty."""

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
    """An open CSV file. `header` and `unread` are names of its columns, `rows()` yields its rows."""

    def __init__(self, path: Path, raw: BinaryIO, file: BinaryIO, options: FileOptions) -> None:
        self._path = path
        self._raw = raw
        self._size = os.fstat(raw.fileno()).st_size
        self._file = file
        self._encoding_given = options.encoding is not None
        self.dialect = dialect.recognise(path, self._head(), options.columns, options.delimiter, options.encoding)
        self._row = 0
        self._lines = 0
        # newline="" keeps line ends within quotes, as the csv module requires.
        self._text = io.TextIOWrapper(file, encoding=self.dialect.encoding, newline="")
        self._rewind()
        self.header = self._next() or []
        if not any(self.header):
            raise ConfigurationError(f"{path}:1: found no header in the first {dialect.MAX_PREAMBLE} rows")
        found = columns.find_columns(f"{path}:{self._reader.line_num}", self.header, options.columns)
        self.unread = found.unread
        self._width = len(self.header)
        # A row gets more cells: an empty one for the columns that the file lacks, and one for each joined column.
        self._joined = [(ours, itemgetter(*at)) for ours, at in found.positions.items() if len(at) > 1]
        place = {ours: at[0] for ours, at in found.positions.items()}
        place |= {ours: self._width + 1 + index for index, (ours, _) in enumerate(self._joined)}
        self._pick = itemgetter(*(place.get(ours, self._width) for ours in columns.COLUMN_ALIASES))

    @property
    def done_ratio(self) -> float:
        """The share of the file that was read, 0 to 1."""
        return min(1.0, self._raw.tell() / self._size) if self._size else 0.0

    def first_authors(self, rows: int, longest: int) -> list[str]:
        """Return the authors of the first `rows` rows, without cells over `longest` characters, and rewind."""
        first = islice(self.rows(), rows)
        cells = [raw.authors for raw in first if isinstance(raw, RawRow) and len(raw.authors) <= longest]
        self._rewind()
        self._next()
        return cells

    def rows(self) -> Iterator[RawRow | BadRow]:
        """Yield the rows after the header, without blank rows."""
        width, pick, joined = self._width, self._pick, self._joined
        while (cells := self._next()) is not None:
            if len(cells) == width:
                cells.append("")
                for ours, parts in joined:
                    cells.append(columns.joined(ours, parts(cells), CELL_BREAK))
                yield RawRow(self._row, *pick(cells))
            elif cells:
                yield BadRow(self._row, len(cells), width)

    def _head(self) -> bytes:
        try:
            return self._file.read(dialect.HEAD_BYTES)
        except (EOFError, gzip.BadGzipFile, OSError) as error:
            raise ConfigurationError(f"{self._path}: cannot be read: {error}") from None

    def _rewind(self) -> None:
        """Go to the header."""
        self._text.seek(0)
        self._reader = self.dialect.reader(self._checked_lines())
        self._row = 0
        for _ in range(self.dialect.rows_before):
            self._next()

    def _checked_lines(self) -> Iterator[str]:
        """Yield the lines without a byte order mark. PostgreSQL cannot store NUL, which is rarely part of a text."""
        for number, line in enumerate(self._text, 1):
            if "\0" in line:
                raise ConfigurationError(
                    f"{self._path}:{number}: found a NUL character; allowed is text, in UTF-8 or --encoding"
                )
            yield line.removeprefix("\ufeff") if number == 1 else line

    def _next(self) -> list[str] | None:
        starts_at = self._reader.line_num + 1
        self._row += 1
        try:
            return cast("list[str] | None", next(self._reader, None))
        except UnicodeError:
            raise ConfigurationError(self._not_text_message()) from None
        except csv.Error as error:
            raise ConfigurationError(self._malformed_message(f"{self._path}:{starts_at}", error)) from None
        except (EOFError, gzip.BadGzipFile, OSError) as error:
            raise ConfigurationError(f"{self._path}: cannot be read: {error}") from None

    def _malformed_message(self, place: str, error: csv.Error) -> str:
        if "unexpected end of data" in str(error):
            return f"{place}: a quote opened in this row is never closed; write a quote within a field twice"
        if "field limit" in str(error):
            limit = csv.field_size_limit()
            return f"{place}: a field exceeds the limit of {limit} characters; is a quote not closed?"
        return f"{place}: not CSV: {error}; write a quote within a field twice"

    def _not_text_message(self) -> str:
        """Find the line that cannot be decoded. Text is decoded in blocks, so this reads the file again."""
        encoding = self.dialect.encoding
        name = "UTF-8" if encoding == "utf-8-sig" else encoding
        if not encoding.startswith(("utf-16", "utf-32")):  # whose line ends are more than one byte
            self._file.seek(0)
            for number, line in enumerate(self._file, 1):
                try:
                    line.decode(encoding)
                except UnicodeDecodeError as error:
                    found = f"{self._path}:{number}: found byte 0x{line[error.start]:02x}, not {name}"
                    western = line[max(0, error.start - 20) : error.start + 20].decode("cp1252", "replace")
                    return f"{found}; {self._encoding_hint(excerpt(western.strip()))}"
        return f"{self._path}: not {name}; {self._encoding_hint('')}"

    def _encoding_hint(self, western: str) -> str:
        if self._encoding_given or not western:
            return "name the encoding of the file with --encoding, or save the file as UTF-8"
        return f"if {western!r} is right, pass --encoding windows-1252; otherwise save the file as UTF-8"


@contextmanager
def open_csv(path: Path, options: FileOptions | None = None) -> Iterator[CsvSource]:
    """Open `path`, a CSV file, gzipped or not. A pipe is copied to a temporary file first, to be read twice.

    Raises ConfigurationError, also while rows are read, that names file, line, what was found and what is allowed.
    """
    with ExitStack() as stack:
        try:
            raw: BinaryIO = stack.enter_context(path.open("rb"))
            if not raw.seekable():
                pipe, raw = raw, cast("BinaryIO", stack.enter_context(tempfile.TemporaryFile()))
                shutil.copyfileobj(pipe, raw)
                raw.seek(0)
            packed = raw.read(2) == _GZIP
            raw.seek(0)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
        file = cast("BinaryIO", stack.enter_context(gzip.open(raw))) if packed else raw
        yield CsvSource(path, raw, file, options or FileOptions())
