"""Shared parts of the commands that measure: options, the measurement itself, exit codes."""

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
from bookstore.cli.output import FORMATS, print_run
from bookstore.cli.pages import write_after_run
from bookstore.cli.param_types import Duration, Size
from bookstore.cli.progress import progress, sigterm_as_interrupt
from bookstore.exceptions import ConfigurationError
from bookstore.lab import run as lab_run
from bookstore.lab.analysis import threshold_results, verdict
from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.plan import Plan
from bookstore.lab.record.run_record import Catalogue, Limits, Protocol, Run
from bookstore.lab.record.samples import concatenate
from bookstore.lab.storage import runs
from bookstore.lab.workload import file as workload_file
from bookstore.lab.workload.spec import Workload

EXIT_INVALID: Final = 3
"""The run is invalid: too few rounds are valid."""
EXIT_THRESHOLD_FAILED: Final = 99
"""A threshold failed; the same code as k6."""

CATALOGUE_SEED: Final = 1

_WORKLOAD_OPTIONS: Final = ("concurrency", "rate", "duration", "warm_up")
_OPTIONS: Final = [
    click.option(
        "--workload", "-w", "name", default="list-100", show_default=True,
        help="Workload: NAME or FILE.yaml, with @key=value,… to override keys.",
    ),
    click.option(
        "--concurrency", "-c", type=click.IntRange(1, 1000),
        help="Number of clients in the closed model.  [default: the workload's, 5]",
    ),
    click.option("--rate", type=click.FloatRange(0.1, 100_000), help="Requests per second in the open model."),
    click.option("--duration", type=Duration(), help="Duration of each measurement.  [default: the workload's]"),
    click.option("--warm-up", type=Duration(), help="Longest warm-up of a measurement.  [default: the workload's]"),
    click.option("--books", type=click.IntRange(1, 10_000_000), help="Generate a catalogue of this many books."),
    click.option("--catalog", "file", type=click.Path(path_type=Path), help="Import the catalogue from this CSV file."),
    click.option("--limit-cpu", "cpus", type=float, help="Number of CPUs the service may use, such as 0.5."),
    click.option("--limit-memory", "memory", type=Size(), help="Memory the service may use, such as 512MB."),
    click.option("--no-watch", is_flag=True, help="Measure the load only: no memory, connections or CPU."),
    click.option("--no-inspect", is_flag=True, help="Skip the inspection of pool and event loop after the rounds."),
    click.option("--allow-busy", is_flag=True, help="Count rounds on a busy machine, with a warning."),
    click.option("--seed", type=click.IntRange(0), help="Seed of the round order and the keys.  [default: random]"),
    click.option(
        "--format", "-f", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="Output format."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the full record; the same as --format json."),
]  # fmt: skip

_F = TypeVar("_F", bound=Callable[..., None])


def measuring_options(command: _F) -> _F:
    """Add the options for workload, catalogue, resource limits and output to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def workload_from_options(options: dict[str, Any]) -> Workload:
    """Return the workload of --workload with the overrides of the other options. Raises ConfigurationError."""
    if options["books"] and options["file"]:
        raise click.UsageError("--books and --catalog cannot be combined")
    if options["file"] and not options["file"].is_file():
        raise ConfigurationError(f"--catalog {options['file']}: no such file")
    changes = {key: options[key] for key in _WORKLOAD_OPTIONS if options[key] is not None}
    return workload_file.with_values(workload_file.load(options["name"]), changes)


def protocol_from_options(
    options: dict[str, Any], min_rounds: int, max_rounds: int, precision_ratio: float
) -> Protocol:
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


def seed_from_options(options: dict[str, Any]) -> int:
    seed: int | None = options["seed"]
    return seed if seed is not None else secrets.randbelow(2**31)


def catalogue_identity(options: dict[str, Any]) -> list[str]:
    """Return what identifies the catalogue: its size, or its file's path and SHA-256 digest.

    Raises ConfigurationError if the file cannot be read.
    """
    file: Path | None = options["file"]
    if file is None:
        return [str(options["books"])]
    try:
        return [str(file.resolve()), hashlib.sha256(file.read_bytes()).hexdigest()]
    except OSError as error:
        raise ConfigurationError(f"--catalog {file}: cannot be read: {error.strerror}") from None


def output_format(options: dict[str, Any]) -> str:
    return "json" if options["as_json"] else str(options["form"])


def measure(plan: Plan, options: dict[str, Any], resumable: str | None = None) -> tuple[Run, Path]:
    """Measure, write the report, print the record, and return record and folder. Exit with 3 if there is none.

    Printing comes last, because the reader of a pipe may be gone.
    """

    def fill(connection: psycopg.Connection) -> Catalogue:
        return _fill_catalogue(connection, plan.workload, options["books"], options["file"])

    with runs.exclusive_use(plan.output) as leftovers, sigterm_as_interrupt(), progress() as report_progress:
        for folder in leftovers:
            click.echo(f"removed leftovers of a killed comparison: {folder}", err=True)
        try:
            outcome = lab_run.run(plan, fill, report_progress, resumable)
        except InvalidMeasurement as error:
            click.echo(f"bookstore: invalid run: {error}", err=True)
            sys.exit(EXIT_INVALID)
        except KeyboardInterrupt:
            click.echo("all processes were stopped; complete rounds, if any, are stored", err=True)
            raise
    try:
        page = str(write_after_run(outcome.path.parent))
    except ConfigurationError as error:  # the record is complete; `bookstore report` can write the page later
        page = str(error)
    print_run(outcome.run, output_format(options), runs.samples_reader(outcome.path.parent, outcome.run))
    for line in (outcome.cost, f"record: {outcome.path}", f"report: {page}"):
        click.echo(line, err=True)
    return outcome.run, outcome.path.parent


def _fill_catalogue(
    connection: psycopg.Connection, workload: Workload, books: int | None, file: Path | None
) -> Catalogue:
    if size := None if file else books or workload.books:
        datasets.generate(connection, books=size, seed=CATALOGUE_SEED)
        source = f"generated, seed {CATALOGUE_SEED}"
    else:
        datasets.import_file(connection, file or datasets.sample_path())
        source = file.name if file else "real, goodbooks-10k"
    row = connection.execute("SELECT count(*) FROM book").fetchone()
    if row is None or row[0] == 0:
        raise ConfigurationError(f"{source}: contains no books; at least one is required")
    return Catalogue(source, row[0])


def failed_thresholds(record: Run, expressions: list[str], folder: Path) -> list[str]:
    """Return a line for each threshold that a contender fails over all its valid rounds, with the measured value."""
    read = runs.samples_reader(folder, record)
    lines = []
    for summary in record.summary if expressions else []:
        label = summary.profile
        pairs = [(each.number, measurement) for each in record.rounds for measurement in each.measurements]
        valid = [pair for pair in pairs if pair[1].profile == label and pair[1].is_valid]
        parts = [read(label, number).measured(each.seconds, record.workload.model) for number, each in valid]
        seconds = sum(each.seconds for _, each in valid)
        for result in threshold_results.evaluate(expressions, concatenate(parts), seconds):
            if result.failed:
                measured = "no requests" if result.value is None else f"{result.value:.4g}"
                lines.append(f"{label}: {result.expression}: measured {measured}")
    return lines


def exit_on_failure(record: Run, failures: list[str], slower: float | None) -> None:
    """Exit with 3 if the run is invalid, else with 99 if there are `failures` or a contender is slower than allowed.

    `slower` is the share of --fail-if-slower. An invalid run takes precedence because its figures prove nothing.
    """
    if record.status != "complete":
        click.echo(f"bookstore: invalid run: {record.told}", err=True)
        sys.exit(EXIT_INVALID)
    if slower is not None:
        failures = failures + [
            f"{summary.profile} is slower by more than {slower:.1%}"
            for summary in verdict.fail_if_slower(record.summary, slower)
        ]
    for failure in failures:
        click.echo(f"failed: {failure}", err=True)
    if failures:
        sys.exit(EXIT_THRESHOLD_FAILED)
