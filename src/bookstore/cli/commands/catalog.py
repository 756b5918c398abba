"""`bookstore catalog`: import books from CSV, generate them, export them."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import click
import msgspec
import psycopg
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bookstore.catalog import datasets as books_
from bookstore.catalog.datasets.generate import MOST_BOOKS
from bookstore.catalog.datasets.report import lines
from bookstore.cli import atomic_file
from bookstore.database.url import conninfo, psycopg_url, server
from bookstore.exceptions import ConfigurationError

APPLICATION_NAME = f"bookstore/catalog/{os.getpid()}"


@click.group()
def catalog() -> None:
    """Import, generate and export books."""


@catalog.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="OURS=THEIRS",
    help="Read THEIRS as our column, as title=Title.",
)
@click.option("--rejects", type=click.Path(path_type=Path), help="Write every row mended or refused to this CSV.")
@click.option("--force", is_flag=True, help="Write --rejects over a file that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
def import_(file: Path | None, columns: tuple[str, ...], rejects: Path | None, force: bool, as_json: bool) -> None:
    """Add the books of FILE, a CSV (or .csv.gz) with a header.

    Without FILE: the 10,000 real books that come with the program. All is added or, on any error, nothing.
    Books that are there already stay as they are, so importing twice changes nothing.
    """
    if file is None:
        file = books_.sample_path()
        click.echo(f"no FILE given: importing the shipped sample, {file.name}", err=True)
    mapping = _mapping(columns)
    if rejects and rejects.exists() and file.exists() and rejects.samefile(file):
        raise ConfigurationError(f"--rejects {rejects}: is the file to import; name another")
    with ExitStack() as stack:
        sink = stack.enter_context(atomic_file.atomic_write(rejects, force=force)) if rejects else None
        connection = stack.enter_context(_connection())
        told = stack.enter_context(_progress("importing"))
        report = books_.import_file(connection, file, columns=mapping, rejects=sink, progress=told)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        for line in lines(report):
            click.echo(line)


@catalog.command()
@click.option("--books", required=True, type=click.IntRange(1, MOST_BOOKS), help="How many to add.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Which ones.")
@click.option("--append", is_flag=True, help="Add to the books that are there: the next ones of the seed.")
def generate(books: int, seed: int, append: bool) -> None:
    """Add believable books; the same seed and number make the same catalogue anywhere."""
    with _connection() as connection, _progress("generating") as told:
        added = books_.generate(connection, books=books, seed=seed, append=append, progress=told)
    click.echo(f"{added:,} books added", err=True)


@catalog.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Write over FILE if it exists.")
def export(file: Path | None, force: bool) -> None:
    """Write every book as CSV to FILE (packed if it ends in .gz), or to stdout; import reads it again."""
    with ExitStack() as stack:
        target = cast("BinaryIO", sys.stdout.buffer)
        if file is not None:
            target = stack.enter_context(atomic_file.atomic_write(file, force=force))
            if file.suffix == ".gz":
                target = cast("BinaryIO", stack.enter_context(gzip.GzipFile(fileobj=target, mode="wb", mtime=0)))
        count = books_.export(stack.enter_context(_connection()), target)
        if file is None:
            target.flush()
    click.echo(f"{count:,} books written", err=True)


def _mapping(columns: tuple[str, ...]) -> Mapping[str, str]:
    """`("title=Title",)` as a mapping."""
    mapping: dict[str, str] = {}
    for text in columns:
        ours, equals, theirs = text.partition("=")
        if not (ours and equals and theirs):
            raise ConfigurationError(f"--column {text}: allowed is OURS=THEIRS, for example title=Title")
        if ours in mapping:
            raise ConfigurationError(f"--column {text}: {ours} is given twice; allowed is once")
        mapping[ours] = theirs
    return mapping


@contextmanager
def _connection() -> Iterator[psycopg.Connection[Any]]:
    """The database of the settings. What libpq says of a failure names the host, never the password."""
    url = psycopg_url()
    try:
        # Nothing is prepared: behind PgBouncer it would stay in a session which others get next.
        connection = psycopg.connect(conninfo(url), application_name=APPLICATION_NAME, prepare_threshold=None)
    except psycopg.OperationalError as error:
        raise ConfigurationError(f"no connection to {server(url)}: {str(error).strip()}") from None
    with connection:
        try:
            yield connection
        except psycopg.errors.InsufficientPrivilege as error:
            raise ConfigurationError(
                f"{server(url)}: {error.diag.message_primary}; ask its owner for the right"
            ) from None


@contextmanager
def _progress(doing: str) -> Iterator[books_.Progress | None]:
    """A bar on stderr, where somebody watches; else None."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 80)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.percentage:>3.0f} %"))
    books = TextColumn("{task.fields[books]:,} books")
    with Progress(*columns, books, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(doing, total=1.0, books=0)
        yield lambda ratio, count: bar.update(task, completed=ratio, books=count)
