"""`bookstore profiles`: look at engine profiles without deploying any."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

from bookstore import budget, profile, profile_schema, settings
from bookstore.budget import Budget, ServerCapacity
from bookstore.cli import table
from bookstore.profile import EngineProfile
from bookstore.refusal import Refused
from bookstore.scalars import scalar

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def profiles() -> None:
    """List, show, check and compare engine profiles.

    A profile is named by the name of a shipped one or by the path of a file. NAME@key=value,key=value
    overrides single keys.
    """


@profiles.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List the shipped profiles."""
    every = [profile.load(name) for name in profile.names()]
    if as_json:
        keys = ("name", "driver", "loading", "description")
        _print_json([{key: getattr(one, key) for key in keys} for one in every])
        return
    rows = [("name", "driver", "loading", "description")]
    rows += [(one.name, one.driver, one.loading, one.description) for one in every]
    for line in table.lines(rows):
        click.echo(line)


@profiles.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """Print the effective profile NAME, defaults filled. What it prints is a profile, too."""
    shown = profile.load(name)
    if as_json:
        _print_json(_typed(shown))
    else:
        click.echo(profile.to_yaml(shown), nl=False)


@profiles.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--no-database", is_flag=True, help="Check the files only, print what they need.")
@as_json
def check(names: tuple[str, ...], no_database: bool, as_json: bool) -> None:
    """Check profiles and their connection budgets (default: all shipped ones).

    A budget is (workers + 1) x (pool_size + max_overflow): while a worker is replaced, the old one and the
    new one both hold a pool. It has to fit into what the server has left. Exit code 2 if a profile is
    refused or over budget.
    """
    fine, refusals = _sorted_out(names or profile.names())
    capacity = _capacity() if fine and not no_database else None
    sums = [(one, _budget(one, capacity)) for one in fine]
    if as_json:
        _print_json([_verdict(one, it, capacity) for one, it in sums])
    elif sums:
        _print_sums(sums, capacity)
    over = [
        f"profile {one.name}: over the connection budget: {budget.sentence(one, it)}; {budget.advice(one, it)}"
        for one, it in sums
        if capacity and not it.fits
    ]
    if refusals or over:
        raise Refused("\n".join([*refusals, *over]))


@profiles.command()
@click.argument("a")
@click.argument("b")
@as_json
def diff(a: str, b: str, as_json: bool) -> None:
    """Print the keys in which the effective profiles A and B differ; descriptions do not count."""
    one, other = profile.load(a), profile.load(b)
    left, right = _typed(one), _typed(other)
    differing = [key for key in profile.KEYS if key != "description" and left.get(key, "") != right.get(key, "")]
    if as_json:
        _print_json({key: [left.get(key), right.get(key)] for key in differing})
        return
    if not differing:
        click.echo("no difference")
        return
    said, heard = profile.effective(one), profile.effective(other)
    rows = [("", one.name, other.name)]
    for line in table.lines(rows + [(key, said.get(key, "-"), heard.get(key, "-")) for key in differing]):
        click.echo(line)


@profiles.command()
def schema() -> None:
    """Print the JSON Schema of profile files, for editors."""
    _print_json(profile_schema.schema())


def _sorted_out(names: Iterable[str]) -> tuple[list[EngineProfile], list[str]]:
    """The profiles that load, as `serve` would start them, and what is wrong with the others."""
    workers = settings.read().workers
    if workers:
        click.echo(f"WEB_CONCURRENCY={workers} goes over the profiles' workers", err=True)
    fine: list[EngineProfile] = []
    refusals: list[str] = []
    for name in names:
        try:
            fine.append(profile.with_workers(profile.load(name), workers))
        except Refused as refusal:
            refusals.append(str(refusal))
    return fine, refusals


def _capacity() -> ServerCapacity:
    from bookstore import server  # noqa: PLC0415 - granian and drivers are not needed by the other commands
    from bookstore.database_url import psycopg_url  # noqa: PLC0415 - as above

    return server.capacity(psycopg_url())


def _budget(one: EngineProfile, capacity: ServerCapacity | None) -> Budget:
    return budget.budget(one, capacity or ServerCapacity(max_connections=0, reserved=0, in_use=0))


def _verdict(one: EngineProfile, it: Budget, capacity: ServerCapacity | None) -> dict[str, object]:
    """`usable` and `fits` are null where no server was asked."""
    return {
        "name": one.name,
        "workers": it.workers,
        "connections_per_worker": it.per_worker,
        "needed": it.needed,
        "usable": capacity.usable if capacity else None,
        "fits": it.fits if capacity else None,
    }


def _print_sums(sums: Sequence[tuple[EngineProfile, Budget]], capacity: ServerCapacity | None) -> None:
    if capacity:
        click.echo(
            f"server: {capacity.usable} connections usable = max_connections {capacity.max_connections} "
            f"- reserved {capacity.reserved} - in use {capacity.in_use}"
        )
    rows = [("name", "file", "(workers + 1) x connections", "budget")]
    for one, it in sums:
        verdict = "" if capacity is None else "fits" if it.fits else "over"
        rows.append((one.name, "OK", f"({it.workers} + 1) x {_each(one)} = {it.needed}", verdict))
    for line in table.lines(rows if capacity else [row[:3] for row in rows]):
        click.echo(line)


def _each(one: EngineProfile) -> str:
    return f"({one.pool_size} + {one.max_overflow})" if one.pool == "queue" else str(one.connections_per_worker)


def _typed(one: EngineProfile) -> dict[str, Any]:
    """The effective profile for JSON: numbers and booleans as such, durations as texts such as `2s`."""
    told = profile.effective(one)
    return {key: text if key in {"description", "pool"} else scalar(text) for key, text in told.items()}


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
