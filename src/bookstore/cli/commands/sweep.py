"""`bookstore sweep`: a profile over a grid of keys and loads."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from bookstore.cli.commands.runs import output_option
from bookstore.cli.measurement import catalogue_of, end, loaded, measured, measuring_options, protocol_of, seed_of
from bookstore.lab import plan as planning
from bookstore.lab import sweep as grid
from bookstore.lab.record import run_record


@click.command()
@click.argument("profile")
@click.option("--over", multiple=True, required=True, help="key=value,value,…: a profile's key, concurrency or rate.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@measuring_options
@output_option
def sweep(profile: str, over: tuple[str, ...], rounds: int, **options: Any) -> None:
    """Measure PROFILE under every combination of what --over names.

    Stopped by Ctrl-C or killed, the same command goes on where it was.

    \b
    bookstore sweep asyncpg-json --over pool_size=1,2,5,10 --over concurrency=1,5,25,100
    """
    how = protocol_of(options, rounds, rounds, 1.0)
    it = planning.plan(grid.cells(profile, over), loaded(options), how, options["output"], seed_of(options))
    mark, left = grid.unfinished(it, catalogue_of(options))
    run_id = grid.id_of(left) if left else grid.id_for(run_record.now(), mark, it.seed)
    if left:
        it = msgspec.structs.replace(it, seed=grid.seed_of(run_id))
        click.echo(f"goes on with {left}, with its seed, {it.seed}", err=True)
    record, _ = measured(it, options, run_id)
    end(record, [], None)
