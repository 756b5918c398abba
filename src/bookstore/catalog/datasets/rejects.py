"""Every finding of an import, as CSV: one line each, in the order of the rows within a batch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import BinaryIO

from bookstore.catalog.datasets.entry import Finding


class Rejects:
    """Writes findings to an open binary file, which stays open; the header at once."""

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
