"""The result of an import: counts, and the number and first examples of each kind of finding."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import msgspec

from bookstore.catalog.datasets.entry import Finding, Outcome

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

    `mended` counts corrected rows, whether new or not. `unread_columns` are unknown columns of the file. `authors` and
    `genres` count new ones.
    """

    file: str
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


def format_lines(report: Report) -> Iterator[str]:
    """Yield the report as text, in lines of at most 80 characters except for the first."""
    yield f"{report.file}: {report.rows:,} rows in {report.duration_s:.1f} s"
    yield f"  imported       {report.imported:>9,}   new authors {report.authors:,}, genres {report.genres:,}"
    yield f"  already there  {report.already_there:>9,}"
    yield f"  refused        {report.refused:>9,}"
    yield f"  mended         {report.mended:>9,}   (rows, new or not)"
    if report.unread_columns:
        yield _truncate(f"columns not read: {', '.join(report.unread_columns)}")
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
