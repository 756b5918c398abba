"""The result of an import: counts, and the number and first examples of each kind of finding."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import msgspec

from bookstore.catalog.datasets.entry import Finding, Outcome
from bookstore.catalog.datasets.parsing.author_format import GuessedFormat
from bookstore.catalog.datasets.parsing.author_names import Order
from bookstore.catalog.datasets.parsing.dialect import Dialect
from bookstore.config.text import excerpt

MAX_EXAMPLES = 3


class Example(msgspec.Struct, frozen=True):
    row: int
    found: str


class Kind(msgspec.Struct):
    """How often `reason` occurred in `column`, with the first MAX_EXAMPLES rows."""

    outcome: Outcome
    column: str
    reason: str
    count: int = 0
    examples: list[Example] = []


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one import. `rows` excludes the header; `rows` = `imported` + `already_there` + `refused`.

    `mended` counts corrected rows, whether new or not. `unread_columns` are the other columns of the file. `authors`
    and `genres` count new ones. A dry run writes nothing and compares nothing with the database: `imported`,
    `already_there`, `authors` and `genres` are 0, and `refused` lacks repeated books.
    """

    file: str
    dry_run: bool
    rows: int
    imported: int
    already_there: int
    refused: int
    mended: int
    authors: int
    genres: int
    duration_s: float
    unread_columns: list[str]
    kinds: list[Kind]


class Tally:
    """Counts findings by kind."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[Outcome, str, str], Kind] = {}
        self.refused_rows = 0
        self.mended_rows = 0
        self._mended_row = 0

    def add(self, finding: Finding) -> None:
        """Count `finding`. Findings of one row must be consecutive."""
        key = (finding.outcome, finding.column, finding.reason)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(finding.outcome, finding.column, finding.reason)
        kind.count += 1
        if kind.count <= MAX_EXAMPLES:
            kind.examples.append(Example(finding.row, finding.found))
        if finding.outcome is Outcome.REFUSED:
            self.refused_rows += 1
        elif finding.row != self._mended_row:
            self._mended_row = finding.row
            self.mended_rows += 1

    def kinds(self) -> list[Kind]:
        """Return the kinds, refusals first, then by descending count."""
        return sorted(self._kinds.values(), key=lambda kind: (kind.outcome == Outcome.MENDED, -kind.count))


def describe_format(dialect: Dialect, guessed: GuessedFormat) -> Iterator[str]:
    """Yield how a file is read: what is unusual about it, and its authors with evidence and examples."""
    unusual = (
        f"delimiter {dialect.delimiter!r}" if dialect.delimiter != "," else "",
        f"encoding {dialect.encoding}" if dialect.encoding != "utf-8-sig" else "",
        f"header in row {dialect.rows_before + 1}" if dialect.rows_before else "",
        'quotes written as \\"' if dialect.escape else "",
    )
    if any(unusual):
        yield f"file: {', '.join(filter(None, unusual))}"
    order = "last name first" if guessed.format.order is Order.LAST_FIRST else "first name first"
    yield f"authors: separated by {' '.join(map(repr, guessed.format.separators))}, {order}"
    yield from (f"  {reason}" for reason in guessed.evidence)
    yield from (f"  {excerpt(cell)} → {' | '.join(map(excerpt, names))}" for cell, names in guessed.examples)


def format_lines(report: Report) -> Iterator[str]:
    """Yield the report as text, in lines of at most 80 characters except for the first and long names of columns."""
    yield f"{report.file}: {report.rows:,} rows in {report.duration_s:.1f} s"
    if report.dry_run:
        yield f"  readable       {report.rows - report.refused:>9,}   (dry run: nothing was written)"
    else:
        yield f"  imported       {report.imported:>9,}   new authors {report.authors:,}, genres {report.genres:,}"
        yield f"  already there  {report.already_there:>9,}"
    yield f"  refused        {report.refused:>9,}"
    yield f"  mended         {report.mended:>9,}   (rows, new or not)"
    if report.unread_columns:
        text = f"columns not read: {', '.join(report.unread_columns)}"
        yield from textwrap.wrap(text, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    for kind in report.kinds:
        yield _truncate(f"{kind.outcome} {kind.count:,}: {kind.column}: {kind.reason}")
        first = kind.examples[0]
        yield _truncate(f"  first in row {first.row}: {first.found or '(empty)'}")


def _truncate(line: str) -> str:
    return line if len(line) <= 80 else line[:79] + "…"


class Rejects:
    """Writes findings as CSV to an open binary file, and the header at once. Does not close the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._write([Finding._fields])

    def write(self, findings: Iterable[Finding]) -> None:
        in_order: list[Finding] = sorted(findings, key=lambda finding: finding.row)
        self._write(in_order)

    def _write(self, rows: Iterable[tuple[object, ...]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue().encode())
