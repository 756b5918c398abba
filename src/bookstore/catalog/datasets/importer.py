"""Imports a CSV file: read, clean, store, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from bookstore.catalog import schemas
from bookstore.catalog.datasets import loader
from bookstore.catalog.datasets.entry import Entry, Finding
from bookstore.catalog.datasets.export import COLUMNS
from bookstore.catalog.datasets.loader import BATCH_ROWS, Connection, LoadCounts
from bookstore.catalog.datasets.parsing import author_format, csv_reader
from bookstore.catalog.datasets.parsing.author_format import GuessedFormat
from bookstore.catalog.datasets.parsing.author_names import AuthorFormat
from bookstore.catalog.datasets.parsing.cleaning import clean
from bookstore.catalog.datasets.parsing.csv_reader import BadRow, CsvSource, RawRow
from bookstore.catalog.datasets.parsing.dialect import Dialect
from bookstore.catalog.datasets.parsing.options import FileOptions
from bookstore.catalog.datasets.prefetch import prefetch
from bookstore.catalog.datasets.report import Rejects, Report, Tally

SAMPLE: Final = Path(__file__).parent / "goodbooks-10k.csv.gz"

Progress = Callable[[float, int], None]
"""Called after each batch with the share done, 0 to 1, and the number of books processed."""

Announce = Callable[[Dialect, GuessedFormat], None]
"""Called once, before anything is written, with the format of the file."""


def sample_path() -> Path:
    """Return the path of the shipped file with 10,000 real books."""
    return SAMPLE


def import_file(
    connection: Connection | None,
    path: Path,
    options: FileOptions | None = None,
    *,
    announce: Announce | None = None,
    rejects: BinaryIO | None = None,
    progress: Progress | None = None,
) -> Report:
    """Insert the books of the CSV file `path` that do not exist yet, in one transaction, and report the result.

    `announce` receives the format of the file before anything is written; `rejects` receives every finding as CSV.
    The connection must not be in a transaction. Without one, reads and checks the file and writes nothing. Raises
    ConfigurationError if the file or the database is not usable. Any exception leaves the tables unchanged.
    """
    started = time.monotonic()
    tally = Tally()
    sink = Rejects(rejects) if rejects else None
    with csv_reader.open_csv(path, options) as source:
        guessed = _author_format(path, source, options or FileOptions())
        if announce:
            announce(source.dialect, guessed)
        with (
            loader.bulk_load(connection) if connection else nullcontext() as load,
            closing(prefetch(_batches(source, guessed.format))) as batches,
        ):
            rows = 0
            for batch in batches:
                if load:
                    batch.findings += load.merge(batch.payload)
                for finding in batch.findings:
                    tally.add(finding)
                if sink:
                    sink.write(batch.findings)
                rows += batch.rows
                if progress:
                    progress(batch.done_ratio, rows)
    counts = load.counts if load else LoadCounts()
    if connection and counts.books:
        loader.vacuum(connection)
    return Report(
        file=str(path),
        dry_run=connection is None,
        rows=rows,
        imported=counts.books,
        already_there=counts.already_there,
        refused=tally.refused_rows,
        mended=tally.mended_rows,
        authors=counts.authors,
        genres=counts.genres,
        duration_s=round(time.monotonic() - started, 3),
        unread_columns=source.unread,
        kinds=tally.kinds(),
    )


def _author_format(path: Path, source: CsvSource, options: FileOptions) -> GuessedFormat:
    cells = source.first_authors(author_format.GUESS_ROWS, author_format.LONGEST_CELL)
    if tuple(source.header) in {COLUMNS, schemas.Book.__struct_fields__}:  # of a command, of the service
        return author_format.exported_format(cells)
    return author_format.author_format(str(path), cells, options.author_separators, options.author_order)


class _Batch:
    """Up to BATCH_ROWS rows: payload to store, findings, and the share of the file that was read."""

    def __init__(self, source: CsvSource, raws: Iterator[RawRow | BadRow], written: AuthorFormat) -> None:
        self.findings: list[Finding] = []
        entries: list[Entry] = []
        self.rows = 0
        for raw in islice(raws, BATCH_ROWS):
            self.rows += 1
            entry = clean(raw, self.findings, written)
            if entry is not None:
                entries.append(entry)
        self.payload = loader.payload(entries)
        self.done_ratio = source.done_ratio


def _batches(source: CsvSource, written: AuthorFormat) -> Iterator[_Batch]:
    rows = source.rows()
    while (batch := _Batch(source, rows, written)).rows:
        yield batch
