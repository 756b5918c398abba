"""`bookstore sweep`: measure a profile over a grid of keys and loads."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from bookstore.cli.commands.runs import output_option
from bookstore.cli.measurement import (
    catalogue_identity,
    exit_on_failure,
    measure,
    measuring_options,
    protocol_from_options,
    seed_from_options,
    workload_from_options,
)
from bookstore.lab import sweep as sweep_plan
from bookstore.lab.plan import plan
from bookstore.lab.record import run_record


@click.command()
@click.argument("profile")
@click.option(
    "--over", multiple=True, required=True, metavar="KEY=VALUE,…", help="Values of a profile key, concurrency or rate."
)
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Number of rounds.")
@measuring_options
@output_option
def sweep(profile: str, over: tuple[str, ...], rounds: int, **options: Any) -> None:
    """Measure PROFILE under every combination of keys and loads.

    Each --over adds a dimension to the grid. After Ctrl-C or a kill, the same command resumes the sweep.

    \b
    bookstore sweep asyncpg-json --over pool_size=1,2,5,10 --over concurrency=1,5,25,100
    """
    protocol = protocol_from_options(options, rounds, rounds, 1.0)
    cells, workload = sweep_plan.cells(profile, over), workload_from_options(options)
    planned = plan(cells, workload, protocol, options["output"], seed_from_options(options))
    mark, unfinished = sweep_plan.find_unfinished(planned, catalogue_identity(options))
    if unfinished:
        run_id = sweep_plan.run_id_of_folder(unfinished)
        planned = msgspec.structs.replace(planned, seed=sweep_plan.parse_seed(run_id))
        click.echo(f"resuming {unfinished} with its seed, {planned.seed}", err=True)
    else:
        run_id = sweep_plan.sweep_id(run_record.now(), mark, planned.seed)
    record, _ = measure(planned, options, run_id)
    exit_on_failure(record, [], None)
