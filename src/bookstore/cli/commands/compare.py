"""`bookstore compare`: measure engine profiles, or hold two stored runs against each other."""

from __future__ import annotations

from typing import Any, get_args

import click

from bookstore.cli.commands.runs import find, output_option
from bookstore.cli.measurement import crossed, end, form_of, loaded, measured, measuring_options, protocol_of, seed_of
from bookstore.cli.output import printed
from bookstore.cli.param_types import Percent
from bookstore.lab import plan as planning
from bookstore.lab.analysis import run_comparison, verdict
from bookstore.lab.plan import Cell, Plan
from bookstore.lab.record.run_record import Deploy
from bookstore.lab.storage import runs
from bookstore.lab.testbed import external
from bookstore.lab.workload import thresholds


@click.command()
@click.argument("profiles", nargs=-1)
@click.option("--external", "-e", "services", multiple=True, help="NAME=URL: a service that runs already, beside them.")
@click.option(
    "--deploy",
    type=click.Choice(get_args(Deploy)),
    default="process",
    show_default=True,
    help="compose: in the containers of ./compose.yaml, within its limits.",
)
@click.option(
    "--precision",
    type=Percent(),
    default=f"{verdict.PRECISION_RATIO:.0%}",
    show_default=True,
    help="Rounds go on until within ±this …",
)
@click.option(
    "--min-rounds", type=click.IntRange(1, 1000), help=f"… at least so many …  [default: {verdict.MIN_ROUNDS}]"
)
@click.option("--max-rounds", type=click.IntRange(1, 1000), help=f"… at most so many.  [default: {verdict.MAX_ROUNDS}]")
@click.option("--rounds", type=click.IntRange(1, 1000), help="Exactly so many.")
@measuring_options
@click.option("--threshold", "expressions", multiple=True, help="Such as 'p(95)<200': else end with 99.")
@click.option("--fail-if-slower", "slower", type=Percent(), help="End with 99 if one is slower by more, beyond doubt.")
@click.option("--baseline", metavar="RUN", help="A stored run to hold --contender against, instead of measuring.")
@click.option("--contender", metavar="RUN", help="A stored run.")
@click.option("--allow-unlike", is_flag=True, help="Stored runs of unlike machines or workloads, too.")
@output_option
def compare(profiles: tuple[str, ...], baseline: str | None, contender: str | None, **options: Any) -> None:
    """Compare PROFILES: the first is the baseline, the others contend.

    Each is a profile's NAME, FILE or NAME@key=value,…, or the file of another service. All get the same
    database, of 10,000 real books (or what --books or --catalog say), once a round, in shuffled order.

    \b
    bookstore compare psycopg-sync-lazy asyncpg-json
    bookstore compare asyncpg-joined asyncpg-joined@pool_size=20 -c 25
    bookstore compare asyncpg-json -e django=http://127.0.0.1:8001
    bookstore compare --baseline RUN --contender RUN
    """
    wanted = thresholds.checked(options["expressions"], "--threshold")
    if baseline or contender:
        if not (baseline and contender) or profiles or options["services"]:
            raise click.UsageError("--baseline and --contender go together, and with no profile")
        if wanted:
            raise click.UsageError("--threshold is for what is measured; stored runs take --fail-if-slower")
        record = run_comparison.compare(
            runs.read(find(baseline, options["output"])),
            runs.read(find(contender, options["output"])),
            allow_unlike=options["allow_unlike"],
        )
        printed(record, form_of(options))
        end(record, [], options["slower"])
        return
    record, folder = measured(_planned(profiles, options), options)
    end(record, crossed(record, [*record.workload.thresholds, *wanted], folder), options["slower"])


def _planned(profiles: tuple[str, ...], options: dict[str, Any]) -> Plan:
    services = [external.of_option(text) for text in options["services"]]
    if len(profiles) + len(services) < 2:
        raise click.UsageError("name two or more profiles or services: a baseline and what is compared with it")
    rounds = options["rounds"]
    if rounds and (options["min_rounds"] or options["max_rounds"]):
        raise click.UsageError("--rounds excludes --min-rounds and --max-rounds")
    most = rounds or options["max_rounds"] or max(verdict.MAX_ROUNDS, options["min_rounds"] or 0)
    least = rounds or options["min_rounds"] or min(verdict.MIN_ROUNDS, most)
    how = protocol_of(options, least, most, options["precision"])
    cells: list[Cell] = [(spec, {}) for spec in profiles]
    return planning.plan(cells, loaded(options), how, options["output"], seed_of(options), services)
