"""Recognises how a CSV file is written: encoding, delimiter, escapes, and what a spreadsheet put before the header."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from bookstore.catalog.datasets.parsing import columns
from bookstore.exceptions import ConfigurationError

HEAD_BYTES: Final = 4 * 1024 * 1024
"""Bytes at the beginning of the file that are looked at. Book-Crossing's first escaped quote is after about 2 MB."""

DELIMITERS: Final = (",", ";", "\t", "|")
_START: Final = 200_000
MAX_PREAMBLE: Final = 20
"""Characters and rows in which the header is looked for: blank lines and titles may come before it."""

_MARKS: Final = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEP_LINE: Final = re.compile(r'\s*"?sep=(.)"?\s*?[\r\n]', re.IGNORECASE)
"""Excel's first line that names the delimiter."""

_ESCAPE: Final = re.compile(r'(?:^|[,;\t|])"(?:[^"\\]|\\.)*\\"[^",;\t|\r\n]', re.MULTILINE)
r"""A quote within a quoted field written as \" instead of "", as MySQL does. Before a delimiter it could be the end."""


class Dialect(NamedTuple):
    """How to read the file. `rows_before` is the number of rows before the header."""

    encoding: str
    delimiter: str
    escape: str | None
    skip_spaces: bool
    rows_before: int

    def reader(self, lines: Iterable[str]) -> Any:
        """Return a csv.reader of `lines`."""
        return csv.reader(
            lines, delimiter=self.delimiter, escapechar=self.escape, skipinitialspace=self.skip_spaces, strict=True
        )


def recognise(
    path: Path, head: bytes, wanted: Mapping[str, str], delimiter: str | None, encoding: str | None
) -> Dialect:
    """Return the dialect of a file that begins with `head`. `wanted` maps our columns to header names.

    The row that names most of our columns, and the delimiter by which it does, are the header's. Raises
    ConfigurationError if the file is empty or no text.
    """
    encoding = encoding or _encoding(path, head)
    text = head.decode(encoding, "replace").removeprefix("\ufeff")
    if not text.strip():
        raise ConfigurationError(f"{path}:1: the file is empty; the first row must name the columns")
    start = text[:_START]
    escape = "\\" if '\\"' in text and _ESCAPE.search(text) else None
    sep_line = _SEP_LINE.match(start)
    if delimiter is None and sep_line is not None:
        delimiter = sep_line[1]
    found: list[tuple[int, int, int, Dialect]] = []
    for mark in (delimiter,) if delimiter else DELIMITERS:
        spaced = Dialect(encoding, mark, escape, f'{mark} "' in start, 0)
        for number, row in enumerate(_first_rows(spaced, start)):
            if any(cell.strip() for cell in row) and not (number == 0 and sep_line):
                score = columns.recognised([cell.strip() for cell in row], wanted)
                found.append((score, -number, len(row), spaced._replace(rows_before=number)))
    if not found:  # reading the first row reports the cause
        return Dialect(encoding, delimiter or DELIMITERS[0], escape, False, 0)
    return max(found, key=lambda candidate: candidate[:3])[3]


def _first_rows(dialect: Dialect, text: str) -> Iterator[list[str]]:
    try:
        yield from islice(dialect.reader(io.StringIO(text, newline="")), MAX_PREAMBLE)
    except csv.Error:  # the delimiter of another dialect, or an error that is reported with its line when it is read
        return


def _encoding(path: Path, head: bytes) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if head.startswith(b"PK\x03\x04"):
        raise ConfigurationError(f"{path}: is a workbook or a zip file; export the sheet as CSV in UTF-8")
    start = head[:200]
    for encoding, empty in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])):
        if len(start) > 1 and empty.count(0) > len(empty) // 2:
            raise ConfigurationError(f"{path}:1: found NUL characters as in UTF-16; pass --encoding {encoding}")
    return "utf-8-sig"
