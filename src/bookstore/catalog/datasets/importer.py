"""A CSV file into the catalogue: read, clean, store, report."""

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
"""Told after every batch: how much is done, 0 to 1, and how many books were handled."""


def sample_path() -> Path:
    """The shipped file of 10,000 real books."""
    return SAMPLE


def import_file(
    connection: Connection,
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    rejects: BinaryIO | None = None,
    progress: Progress | None = None,
) -> Report:
    """Adds the books of the CSV file `path` that are not there yet, in one transaction.

    `columns` says which header stands for a column of ours; `rejects` gets every finding as CSV. The
    connection must not be in a transaction. Raises ConfigurationError where the file or the database is unfit; any
    exception leaves the tables as they were.
    """
    began = time.monotonic()
    tally = Tally()
    sink = Rejects(rejects) if rejects else None
    with (
        csv_reader.open_csv(path, columns) as file,
        loader.bulk_load(connection) as tables,
        closing(prefetch(_batches(file))) as batches,
    ):
        rows = 0
        for batch in batches:
            batch.findings += tables.merge(batch.payload)
            for finding in batch.findings:
                tally.add(finding)
            if sink:
                sink.write(batch.findings)
            rows += batch.rows
            if progress:
                progress(batch.done_ratio, rows)
        unread = file.unread
    if tables.stored.books:
        loader.vacuum(connection)
    return Report(
        file=str(path),
        rows=rows,
        imported=tables.stored.books,
        already_there=tables.stored.already_there,
        refused=tally.refused_rows,
        mended=tally.mended_rows,
        authors=tables.stored.authors,
        genres=tables.stored.genres,
        duration_s=round(time.monotonic() - began, 3),
        unread_columns=unread,
        kinds=tally.kinds(),
    )


class _Batch:
    """So many rows of the file: what is to be stored, and what was found. `done_ratio` of it is read."""

    def __init__(self, file: CsvSource, raws: Iterator[RawRow | BadRow]) -> None:
        self.findings: list[Finding] = []
        entries: list[Entry] = []
        self.rows = 0
        for raw in islice(raws, BATCH_ROWS):
            self.rows += 1
            entry = clean(raw, self.findings)
            if entry is not None:
                entries.append(entry)
        self.payload = loader.payload(entries)
        self.done_ratio = file.done_ratio


def _batches(file: CsvSource) -> Iterator[_Batch]:
    rows = file.rows()
    while (batch := _Batch(file, rows)).rows:
        yield batch
