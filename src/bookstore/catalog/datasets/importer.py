"""Imports a CSV file: read, clean, store, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from bookstore.catalog.datasets import csv_reader, loader
from bookstore.catalog.datasets.cleaning import clean
from bookstore.catalog.datasets.csv_reader import BadRow, CsvSource, RawRow
from bookstore.catalog.datasets.entry import Entry, Finding
from bookstore.catalog.datasets.loader import BATCH_ROWS, Connection
from bookstore.catalog.datasets.prefetch import prefetch
from bookstore.catalog.datasets.report import Rejects, Report, Tally

SAMPLE: Final = Path(__file__).parent / "goodbooks-10k.csv.gz"

Progress = Callable[[float, int], None]
"""Called after each batch with the share done, 0 to 1, and the number of books processed."""


def sample_path() -> Path:
    """Return the path of the shipped file with 10,000 real books."""
    return SAMPLE


def import_file(
    connection: Connection,
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    rejects: BinaryIO | None = None,
    progress: Progress | None = None,
) -> Report:
    """Insert the books of the CSV file `path` that do not exist yet, in one transaction, and report the result.

    `columns` maps our columns to names in the header; `rejects` receives every finding as CSV. The connection must not
    be in a transaction. Raises ConfigurationError if the file or the database is not usable. Any exception leaves the
    tables unchanged.
    """
    started = time.monotonic()
    tally = Tally()
    sink = Rejects(rejects) if rejects else None
    with (
        csv_reader.open_csv(path, columns) as source,
        loader.bulk_load(connection) as load,
        closing(prefetch(_batches(source))) as batches,
    ):
        rows = 0
        for batch in batches:
            batch.findings += load.merge(batch.payload)
            for finding in batch.findings:
                tally.add(finding)
            if sink:
                sink.write(batch.findings)
            rows += batch.rows
            if progress:
                progress(batch.done_ratio, rows)
        unread = source.unread
    if load.counts.books:
        loader.vacuum(connection)
    return Report(
        file=str(path),
        rows=rows,
        imported=load.counts.books,
        already_there=load.counts.already_there,
        refused=tally.refused_rows,
        mended=tally.mended_rows,
        authors=load.counts.authors,
        genres=load.counts.genres,
        duration_s=round(time.monotonic() - started, 3),
        unread_columns=unread,
        kinds=tally.kinds(),
    )


class _Batch:
    """Up to BATCH_ROWS rows: payload to store, findings, and the share of the file that was read."""

    def __init__(self, source: CsvSource, raws: Iterator[RawRow | BadRow]) -> None:
        self.findings: list[Finding] = []
        entries: list[Entry] = []
        self.rows = 0
        for raw in islice(raws, BATCH_ROWS):
            self.rows += 1
            entry = clean(raw, self.findings)
            if entry is not None:
                entries.append(entry)
        self.payload = loader.payload(entries)
        self.done_ratio = source.done_ratio


def _batches(source: CsvSource) -> Iterator[_Batch]:
    rows = source.rows()
    while (batch := _Batch(source, rows)).rows:
        yield batch
