"""`bookstore catalog`: import books from CSV, generate them, export them."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import click
import msgspec
import psycopg
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bookstore.catalog import datasets
from bookstore.catalog.datasets.generate import MAX_BOOKS
from bookstore.catalog.datasets.parsing.author_format import GuessedFormat
from bookstore.catalog.datasets.parsing.author_names import Order
from bookstore.catalog.datasets.parsing.dialect import Dialect
from bookstore.catalog.datasets.parsing.options import (
    parse_author_separator,
    parse_columns,
    parse_delimiter,
    parse_encoding,
)
from bookstore.catalog.datasets.report import describe_format, format_lines
from bookstore.cli import atomic_file
from bookstore.database.connection import connect, translate
from bookstore.database.url import psycopg_url
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
    help="Read column OURS from the CSV column THEIRS, such as title=Name, from several, such as"
    " authors='Author'+'Additional Authors', or from none, such as language=.",
)
@click.option("--delimiter", metavar="CHAR", help="Character between columns: `;`, tab, pipe … Recognised by default.")
@click.option(
    "--encoding", metavar="NAME", help="Encoding of the file, such as windows-1252. UTF-8 and UTF-16 are recognised."
)
@click.option(
    "--author-separator",
    "author_separators",
    multiple=True,
    metavar="TEXT",
    help="Text between two authors, such as `;` or ` and `. Repeat it for several. Recognised by default.",
)
@click.option(
    "--author-order",
    type=click.Choice([order.value for order in Order]),
    default=Order.AUTO.value,
    show_default=True,
    help="Jane Austen is first-last; Austen, Jane is last-first.",
)
@click.option("--dry-run", is_flag=True, help="Read and check the file without a database, and write nothing.")
@click.option(
    "--rejects", type=click.Path(path_type=Path), help="Write every repaired or rejected row to this CSV file."
)
@click.option("--force", is_flag=True, help="Overwrite the file of --rejects if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
def import_(
    file: Path | None,
    columns: tuple[str, ...],
    delimiter: str | None,
    encoding: str | None,
    author_separators: tuple[str, ...],
    author_order: Order,
    dry_run: bool,
    rejects: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Import books from FILE, a CSV file (or .csv.gz) with a header.

    Without FILE, import the shipped sample of 10,000 real books. On any error, nothing is imported. Existing
    books stay unchanged, so a second import of the same file changes nothing.

    Delimiter, encoding, columns and the way authors are written are recognised and printed before anything is
    written. If that is ambiguous, the import stops and names the option to pass.
    """
    if file is None:
        file = datasets.sample_path()
        click.echo(f"importing the shipped sample, {file.name}", err=True)
    options = datasets.FileOptions(
        columns=parse_columns(columns),
        delimiter=None if delimiter is None else parse_delimiter(delimiter),
        encoding=None if encoding is None else parse_encoding(encoding),
        author_separators=tuple(map(parse_author_separator, author_separators)),
        author_order=Order(author_order),
    )
    if rejects and rejects.exists() and file.exists() and rejects.samefile(file):
        raise ConfigurationError(f"--rejects {rejects}: is the file to import; choose another file")
    with ExitStack() as stack:
        sink = stack.enter_context(atomic_file.atomic_write(rejects, force=force)) if rejects else None
        connection = None if dry_run else stack.enter_context(_connection())
        progress = stack.enter_context(_progress("reading" if dry_run else "importing"))
        report = datasets.import_file(connection, file, options, announce=_announce, rejects=sink, progress=progress)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        for line in format_lines(report):
            click.echo(line)


def _announce(dialect: Dialect, guessed: GuessedFormat) -> None:
    """Print on stderr how the file is read, with the evidence and examples."""
    for line in describe_format(dialect, guessed):
        click.echo(line, err=True)


@catalog.command()
@click.option("--books", required=True, type=click.IntRange(1, MAX_BOOKS), help="Number of books to add.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Seed of the generator.")
@click.option("--append", is_flag=True, help="Continue after existing books with the seed's next ones.")
def generate(books: int, seed: int, append: bool) -> None:
    """Generate realistic books.

    The same seed and number of books give the same catalogue on every machine.
    """
    with _connection() as connection, _progress("generating") as progress:
        added = datasets.generate(connection, books=books, seed=seed, append=append, progress=progress)
    click.echo(f"{added:,} books added", err=True)


@catalog.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
def export(file: Path | None, force: bool) -> None:
    """Export all books as CSV to FILE, or to stdout.

    The file is compressed if its name ends in .gz. `bookstore catalog import` reads it.
    """
    with ExitStack() as stack:
        target = cast("BinaryIO", sys.stdout.buffer)
        if file is not None:
            target = stack.enter_context(atomic_file.atomic_write(file, force=force))
            if file.suffix == ".gz":
                target = cast("BinaryIO", stack.enter_context(gzip.GzipFile(fileobj=target, mode="wb", mtime=0)))
        count = datasets.export(stack.enter_context(_connection()), target)
        if file is None:
            target.flush()
    click.echo(f"{count:,} books exported", err=True)


@contextmanager
def _connection() -> Iterator[psycopg.Connection[Any]]:
    """Connect to the configured database. libpq's error messages name the host, never the password.

    Raises ConfigurationError if the connection fails, and if a statement fails for a reason that an operator can fix,
    such as a missing privilege or a read-only server.
    """
    url = psycopg_url()
    with connect(url, application_name=APPLICATION_NAME) as connection:
        try:
            yield connection
        except psycopg.Error as error:
            raise translate(url, error) or error from None


@contextmanager
def _progress(activity: str) -> Iterator[datasets.Progress | None]:
    """Yield a callback for a progress bar on stderr, or None if stderr is not a terminal."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 80)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.percentage:>3.0f} %"))
    books = TextColumn("{task.fields[books]:,} books")
    with Progress(*columns, books, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(activity, total=1.0, books=0)
        yield lambda ratio, count: bar.update(task, completed=ratio, books=count)
