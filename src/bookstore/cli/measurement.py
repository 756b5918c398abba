"""What the commands that measure share: their options, the measuring itself, and how they end."""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import psycopg

from bookstore.catalog import datasets
from bookstore.cli.output import FORMATS, printed
from bookstore.cli.pages import write_after_run
from bookstore.cli.param_types import Duration, Size
from bookstore.cli.progress import progress, terminable
from bookstore.exceptions import ConfigurationError
from bookstore.lab import run as protocol
from bookstore.lab.analysis import threshold_results, verdict
from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.plan import Plan
from bookstore.lab.record.run_record import Catalogue, Limits, Protocol, Run
from bookstore.lab.record.samples import joined
from bookstore.lab.storage import runs
from bookstore.lab.workload import file as workload_file
from bookstore.lab.workload.spec import Workload

EXIT_INVALID: Final = 3
"""The measurement is not valid: too few rounds can be believed."""
EXIT_CROSSED: Final = 99
"""A threshold was crossed, k6's code."""

CATALOGUE_SEED: Final = 1

_OF_LOAD: Final = ("concurrency", "rate", "duration", "warm_up")
_OPTIONS: Final = [
    click.option(
        "--workload", "-w", "name", default="list-100", show_default=True, help="NAME or FILE.yaml, @key=value"
    ),
    click.option("--concurrency", "-c", type=click.IntRange(1, 1000), help="Clients  [default: the workload's, 5]"),
    click.option("--rate", type=click.FloatRange(0.1, 100_000), help="Requests a second, in the open model"),
    click.option("--duration", type=Duration(), help="Measured time a round  [default: the workload's]"),
    click.option("--warm-up", type=Duration(), help="The longest warm-up  [default: the workload's]"),
    click.option("--books", type=click.IntRange(1, 10_000_000), help="Generate a catalogue of so many books."),
    click.option("--catalog", "file", type=click.Path(path_type=Path), help="Import this CSV file."),
    click.option("--limit-cpu", "cpus", type=float, help="CPUs the service may use, such as 0.5"),
    click.option("--limit-memory", "memory", type=Size(), help="Memory the service may use, such as 512MB"),
    click.option("--no-watch", is_flag=True, help="Measure the load alone: no memory, no connections, no CPU."),
    click.option("--no-inspect", is_flag=True, help="Leave out the last deployments that tell of pool and loop."),
    click.option("--allow-busy", is_flag=True, help="Count rounds in which other processes were busy, with a warning."),
    click.option("--seed", type=click.IntRange(0), help="Of orders and keys  [default: random]"),
    click.option("--format", "-f", "form", type=click.Choice(FORMATS), default="text", show_default=True),
    click.option("--json", "as_json", is_flag=True, help="The same as --format json: the whole record."),
]

_F = TypeVar("_F", bound=Callable[..., None])


def measuring_options(command: _F) -> _F:
    """What is loaded, how fast, on what catalogue, within which limits."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def loaded(options: dict[str, Any]) -> Workload:
    """The workload that the options name, changed by them. Raises ConfigurationError."""
    if options["books"] and options["file"]:
        raise click.UsageError("--books and --catalog exclude each other")
    if options["file"] and not options["file"].is_file():
        raise ConfigurationError(f"--catalog {options['file']}: no such file")
    changes = {key: options[key] for key in _OF_LOAD if options[key] is not None}
    return workload_file.changed(workload_file.load(options["name"]), changes)


def protocol_of(options: dict[str, Any], min_rounds: int, max_rounds: int, precision_ratio: float) -> Protocol:
    return Protocol(
        min_rounds=min_rounds,
        max_rounds=max_rounds,
        precision_ratio=precision_ratio,
        watch=not options["no_watch"],
        inspect=not (options["no_watch"] or options["no_inspect"]),
        allow_busy=options["allow_busy"],
        limits=Limits(options["cpus"], options["memory"]),
        deploy=options.get("deploy", "process"),
    )


def seed_of(options: dict[str, Any]) -> int:
    chosen: int | None = options["seed"]
    return chosen if chosen is not None else secrets.randbelow(2**31)


def catalogue_of(options: dict[str, Any]) -> list[str]:
    """Which catalogue is asked for: its size, or its file as that is now. Raises ConfigurationError where that cannot
    be read."""
    file: Path | None = options["file"]
    if file is None:
        return [str(options["books"])]
    try:
        return [str(file.resolve()), hashlib.sha256(file.read_bytes()).hexdigest()]
    except OSError as error:
        raise ConfigurationError(f"--catalog {file}: cannot be read: {error.strerror}") from None


def form_of(options: dict[str, Any]) -> str:
    return "json" if options["as_json"] else str(options["form"])


def measured(plan: Plan, options: dict[str, Any], resumable: str | None = None) -> tuple[Run, Path]:
    """Measures, prints and returns the record and its folder. Ends the command where there is none to believe."""

    def fill(connection: psycopg.Connection) -> Catalogue:
        return _filled(connection, plan.workload, options["books"], options["file"])

    with runs.sole_user(plan.output) as left, terminable(), progress() as tell:
        for folder in left:
            click.echo(f"removed what a killed comparison left: {folder}", err=True)
        try:
            outcome = protocol.run(plan, fill, tell, resumable)
        except InvalidMeasurement as error:
            click.echo(f"bookstore: the measurement is not valid: {error}", err=True)
            sys.exit(EXIT_INVALID)
        except KeyboardInterrupt:
            click.echo("nothing was left running; whole rounds are stored, if there were any", err=True)
            raise
    printed(outcome.run, form_of(options), runs.reader(outcome.path.parent, outcome.run))
    click.echo(outcome.cost, err=True)
    click.echo(f"record: {outcome.path}", err=True)
    try:
        click.echo(f"page:   {write_after_run(outcome.path.parent)}", err=True)
    except ConfigurationError as refusal:  # the record is whole, and `bookstore report` makes the page of it
        click.echo(f"page:   {refusal}", err=True)
    return outcome.run, outcome.path.parent


def _filled(connection: psycopg.Connection, asked: Workload, books: int | None, file: Path | None) -> Catalogue:
    if wanted := None if file else books or asked.books:
        datasets.generate(connection, books=wanted, seed=CATALOGUE_SEED)
        source = f"generated, seed {CATALOGUE_SEED}"
    else:
        datasets.import_file(connection, file or datasets.sample_path())
        source = file.name if file else "real, goodbooks-10k"
    row = connection.execute("SELECT count(*) FROM book").fetchone()
    if row is None or row[0] == 0:
        raise ConfigurationError(f"{source}: found no book in it; at least one is needed")
    return Catalogue(source, row[0])


def crossed(record: Run, expressions: list[str], folder: Path) -> list[str]:
    """What each contender, over all its valid rounds, does not keep of the thresholds."""
    read = runs.reader(folder, record)
    told = []
    for one in record.summary if expressions else []:
        valid = [(each.number, it) for each in record.rounds for it in each.measurements if it.profile == one.profile]
        valid = [(number, it) for number, it in valid if it.is_valid]
        every = joined([read(one.profile, number).measured(it.seconds, record.workload.model) for number, it in valid])
        for outcome in threshold_results.evaluate(expressions, every, sum(it.seconds for _, it in valid)):
            if outcome.crossed:
                found = "no request" if outcome.found is None else f"{outcome.found:.4g}"
                told.append(f"{one.profile}: {outcome.expression}: found {found}")
    return told


def end(record: Run, crossed: list[str], slower: float | None) -> None:
    """The exit code: 3 before 99, for what is not valid crosses nothing."""
    if record.status != "complete":
        click.echo(f"bookstore: the measurement is not valid: {record.told}", err=True)
        sys.exit(EXIT_INVALID)
    if slower is not None:
        crossed = crossed + [
            f"{one.profile} is slower by more than {slower:.1%}"
            for one in verdict.fail_if_slower(record.summary, slower)
        ]
    for one in crossed:
        click.echo(f"crossed: {one}", err=True)
    if crossed:
        sys.exit(EXIT_CROSSED)
