"""`bookstore compare` and `bookstore runs`: measure profiles, look at what was measured."""

from __future__ import annotations

import secrets
import shutil
import signal
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import click
import msgspec
import psycopg
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from bookstore import catalog, document
from bookstore.lab import compare as judge
from bookstore.lab import plan as planning
from bookstore.lab import results, workload_file
from bookstore.lab import run as protocol
from bookstore.lab.invalid import Invalid
from bookstore.lab.results import Catalogue, Run
from bookstore.refusal import Refused

EXIT_INVALID: Final = 3
"""The measurement is not valid: nothing is stored, and there is no figure to believe."""

CATALOGUE_SEED: Final = 1

_RUNS = click.Path(file_okay=False, path_type=Path)


class Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return document.duration(value)
        except ValueError:
            self.fail(f"{value!r} is no duration; allowed is a number with ms, s, m or h, such as 5s", param, ctx)


@click.command()
@click.argument("baseline")
@click.argument("contenders", nargs=-1, required=True)
@click.option("--workload", "-w", "name", default="list-100", show_default=True, help="NAME or FILE.yaml")
@click.option("--concurrency", "-c", type=click.IntRange(1, 1000), help="Clients  [default: the workload's, 5]")
@click.option("--duration", type=Duration(), help="Measured time  [default: the workload's, 5s]")
@click.option("--warm-up", type=Duration(), help="Load before it that no figure counts  [default: 5s]")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--books", type=click.IntRange(1, 10_000_000), help="Generate a catalogue of so many books.")
@click.option("--catalog", "file", type=click.Path(path_type=Path), help="Import this CSV file.")
@click.option("--seed", type=click.IntRange(0), help="Of the order of deployments  [default: random]")
@click.option("--output", "-o", type=_RUNS, default=Path("runs"), show_default=True, help="Where runs are kept.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole record.")
def compare(
    baseline: str,
    contenders: tuple[str, ...],
    name: str,
    concurrency: int | None,
    duration: float | None,
    warm_up: float | None,
    rounds: int,
    books: int | None,
    file: Path | None,
    seed: int | None,
    output: Path,
    as_json: bool,
) -> None:
    """Compare engine profiles: BASELINE with each of CONTENDERS.

    Each is a profile's NAME, FILE or NAME@key=value,… All run on a database of their own that holds 10,000
    real books (or what --books or --catalog say), once a round, in shuffled order.

    \b
    bookstore compare psycopg-sync-lazy asyncpg-json
    bookstore compare asyncpg-joined asyncpg-joined@pool_size=20 -c 25
    """
    if books and file:
        raise click.UsageError("--books and --catalog exclude each other")
    if file and not file.is_file():
        raise Refused(f"--catalog {file}: no such file")
    asked = workload_file.load(name)
    options = {"concurrency": concurrency, "duration": duration, "warm_up": warm_up}
    asked = workload_file.changed(asked, {key: value for key, value in options.items() if value is not None})
    chosen = seed if seed is not None else secrets.randbelow(2**31)
    plan = planning.plan([baseline, *contenders], asked, rounds, output, chosen)

    def fill(connection: psycopg.Connection) -> Catalogue:
        if books:
            catalog.generate(connection, books=books, seed=CATALOGUE_SEED)
            source = f"generated, seed {CATALOGUE_SEED}"
        else:
            catalog.import_file(connection, file or catalog.sample_path())
            source = file.name if file else "real, goodbooks-10k"
        row = connection.execute("SELECT count(*) FROM book").fetchone()
        if row is None or row[0] == 0:
            raise Refused(f"{source}: found no book in it; at least one is needed")
        return Catalogue(source, row[0])

    with results.sole_user(output), _terminable(), _progress() as progress:
        try:
            record, path = protocol.run(plan, fill, progress)
        except Invalid as error:
            _invalid(str(error))
        except KeyboardInterrupt:
            click.echo("nothing was left running, nothing was stored", err=True)
            raise
    _print(record, as_json)
    click.echo(f"record: {path}", err=True)


@click.group()
def runs() -> None:
    """List and show stored runs."""


@runs.command("list")
@click.option("--output", "-o", type=_RUNS, default=Path("runs"), show_default=True)
@click.option("--json", "as_json", is_flag=True)
def list_(output: Path, as_json: bool) -> None:
    """List the runs, oldest first."""
    found = []
    for path in results.runs(output):
        try:
            found.append((path, results.read(path)))
        except Refused as refusal:
            click.echo(f"left out: {refusal}", err=True)
    if as_json:
        rows = [{"path": str(path), "id": it.id, "started_at": it.started_at} for path, it in found]
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2))
        return
    if not found:
        click.echo(f"no runs in {output}", err=True)
    for path, it in found:
        best = max(it.summary, key=lambda one: one.throughput_per_s)
        click.echo(f"{it.started_at:%Y-%m-%d %H:%M}  {it.workload.name:<10} {best.throughput_per_s:6.0f} req/s  {path}")


@runs.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=_RUNS, default=Path("runs"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the whole record.")
def show(run: Path, output: Path, as_json: bool) -> None:
    """Show RUN: a folder, its run.json, its id, or `latest`."""
    known = results.runs(output)
    if str(run) == "latest":
        if not known:
            raise Refused(f"no runs in {output}")
        run = known[-1]
    elif not run.exists() and (output / run).exists():
        run = output / run
    elif not run.exists():
        raise Refused(f"run {run}: no such run; allowed is {document.suggestion(str(run), [p.name for p in known])}")
    _print(results.read(run), as_json)


def _print(record: Run, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(record), indent=2))
        return
    click.echo(judge.table(record, shutil.get_terminal_size().columns))
    click.echo()
    click.echo(judge.legend(record))
    for sentence in judge.sentences(record):
        click.echo(textwrap.fill(sentence, 80, replace_whitespace=False, break_on_hyphens=False))


def _invalid(reason: str) -> NoReturn:
    click.echo(f"bookstore: the measurement is not valid: {reason}", err=True)
    sys.exit(EXIT_INVALID)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM is taken as Ctrl-C is: what was started is stopped."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress() -> Iterator[protocol.Progress]:
    """A bar at a terminal; in a pipe, a line for each thing that is begun."""
    console = Console(stderr=True)
    if not console.is_terminal:
        said = set[str]()

        def say(what: str, done: float) -> None:
            if what not in said:
                said.add(what)
                click.echo(f"{done * 100:3.0f}%  {what}", err=True)

        yield say
        return
    what = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
    columns = (BarColumn(20), TaskProgressColumn(), TimeElapsedColumn(), what)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1)
        yield lambda what, done: bar.update(task, description=what, completed=done)
