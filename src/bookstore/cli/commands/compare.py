"""`bookstore compare`: measure engine profiles against each other, or compare two stored runs."""

from __future__ import annotations

from typing import Any, get_args

import click

from bookstore.cli.commands.runs import find_run, output_option
from bookstore.cli.measurement import (
    exit_on_failure,
    failed_thresholds,
    measure,
    measuring_options,
    output_format,
    protocol_from_options,
    seed_from_options,
    workload_from_options,
)
from bookstore.cli.output import print_run
from bookstore.cli.param_types import Percent
from bookstore.lab.analysis import run_comparison, verdict
from bookstore.lab.plan import Cell, Plan, plan
from bookstore.lab.record.run_record import Deploy
from bookstore.lab.storage import runs
from bookstore.lab.testbed import external
from bookstore.lab.workload import thresholds


@click.command()
@click.argument("profiles", nargs=-1)
@click.option("--external", "-e", "services", multiple=True, help="Also compare a running service, as NAME=URL.")
@click.option(
    "--external-ready",
    metavar="PATH",
    help="Path below the --external URL that answers 2xx when the service is ready.  [default: the workload's]",
)
@click.option(
    "--deploy",
    type=click.Choice(get_args(Deploy)),
    default="process",
    show_default=True,
    help="Run local processes, or the containers of ./compose.yaml within its limits.",
)
@click.option(
    "--precision",
    type=Percent(),
    default=f"{verdict.PRECISION_RATIO:.0%}",
    show_default=True,
    help="Add rounds until each interval is within ± this percentage.",
)
@click.option(
    "--min-rounds",
    type=click.IntRange(1, 1000),
    help=f"Minimum number of valid rounds.  [default: {verdict.MIN_ROUNDS}]",
)
@click.option(
    "--max-rounds", type=click.IntRange(1, 1000), help=f"Maximum number of rounds.  [default: {verdict.MAX_ROUNDS}]"
)
@click.option("--rounds", type=click.IntRange(1, 1000), help="Exact number of rounds.")
@measuring_options
@click.option(
    "--threshold", "expressions", multiple=True, help="Exit with code 99 unless this holds, such as 'p(95)<200'."
)
@click.option(
    "--fail-if-slower",
    "slower",
    type=Percent(),
    help="Exit with code 99 if a contender is clearly slower by more than this.",
)
@click.option("--baseline", metavar="RUN", help="Stored run to compare --contender with, instead of measuring.")
@click.option("--contender", metavar="RUN", help="Stored run to compare with --baseline.")
@click.option("--allow-unlike", is_flag=True, help="Compare stored runs of different machines or workloads.")
@output_option
def compare(profiles: tuple[str, ...], baseline: str | None, contender: str | None, **options: Any) -> None:
    """Compare engine profiles under the same load.

    The first one is the baseline. PROFILES are NAME, FILE or NAME@key=value,…, or the file of another service.
    Each round measures every contender once, in random order, on the same database: 10,000 real books, or those
    of --books or --catalog.

    \b
    bookstore compare psycopg-sync-lazy asyncpg-json
    bookstore compare asyncpg-joined asyncpg-joined@pool_size=20 -c 25
    bookstore compare asyncpg-json -e django=http://127.0.0.1:8001
    bookstore compare --baseline RUN --contender RUN
    """
    expressions = thresholds.validate(options["expressions"], "--threshold")
    if baseline or contender:
        if not (baseline and contender) or profiles or options["services"] or options["external_ready"]:
            raise click.UsageError("--baseline and --contender go together, without PROFILES and --external")
        if expressions:
            raise click.UsageError("--threshold applies to new measurements only; use --fail-if-slower for stored runs")
        record = run_comparison.compare(
            runs.read(find_run(baseline, options["output"])),
            runs.read(find_run(contender, options["output"])),
            allow_unlike=options["allow_unlike"],
        )
        print_run(record, output_format(options))
        exit_on_failure(record, [], options["slower"])
        return
    record, folder = measure(_plan(profiles, options), options)
    failures = failed_thresholds(record, [*record.workload.thresholds, *expressions], folder)
    exit_on_failure(record, failures, options["slower"])


def _plan(profiles: tuple[str, ...], options: dict[str, Any]) -> Plan:
    if options["external_ready"] is not None and not options["services"]:
        raise click.UsageError("--external-ready applies to --external; a service's file has the key external.ready")
    services = external.parse_options(options["services"], options["external_ready"])
    if len(profiles) + len(services) < 2:
        raise click.UsageError("name two or more profiles or services: a baseline and at least one contender")
    rounds = options["rounds"]
    if rounds and (options["min_rounds"] or options["max_rounds"]):
        raise click.UsageError("--rounds cannot be combined with --min-rounds or --max-rounds")
    most = rounds or options["max_rounds"] or max(verdict.MAX_ROUNDS, options["min_rounds"] or 0)
    least = rounds or options["min_rounds"] or min(verdict.MIN_ROUNDS, most)
    protocol = protocol_from_options(options, least, most, options["precision"])
    cells: list[Cell] = [(spec, {}) for spec in profiles]
    return plan(
        cells, workload_from_options(options), protocol, options["output"], seed_from_options(options), services
    )
