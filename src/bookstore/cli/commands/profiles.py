"""`bookstore profiles`: look at engine profiles without deploying any."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from bookstore.cli import output
from bookstore.config import settings
from bookstore.config.scalars import scalar
from bookstore.database import budget, preflight
from bookstore.database.budget import Budget, PoolerCapacity, ServerCapacity
from bookstore.exceptions import ConfigurationError
from bookstore.profile import engine_profile, json_schema, layers, loader, rendering
from bookstore.profile.engine_profile import EngineProfile

if TYPE_CHECKING:
    from bookstore.database.preflight import ServerProbe  # which needs the drivers

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
    every = [loader.load(name) for name in layers.names()]
    if as_json:
        keys = ("name", "driver", "loading", "description")
        _print_json([{key: getattr(one, key) for key in keys} for one in every])
        return
    rows = [("name", "driver", "loading", "description")]
    rows += [(one.name, one.driver, one.loading, one.description) for one in every]
    for line in output.lines(rows):
        click.echo(line)


@profiles.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """Print the effective profile NAME, defaults filled. What it prints is a profile, too."""
    shown = loader.load(name)
    if as_json:
        _print_json(_typed(shown))
    else:
        click.echo(rendering.to_yaml(shown), nl=False)


@profiles.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--no-database", is_flag=True, help="Check the files only, print what they need.")
@as_json
def check(names: tuple[str, ...], no_database: bool, as_json: bool) -> None:
    """Check profiles and their connection budgets (default: all shipped ones).

    A budget is (workers + 1) x (pool_size + max_overflow): while a worker is replaced, the old one and the
    new one both hold a pool. It has to fit into what the server has left; through a PgBouncer, what that may
    open has to, and the budget into its max_client_conn. Exit code 2 if a profile is refused or over budget.
    """
    fine, refusals = _sorted_out(names or layers.names())
    found = _look() if fine and not no_database else None
    sums = [(one, _budget(one, found)) for one in fine]
    if as_json:
        _print_json([_json(one, it, found) for one, it in sums])
    elif sums:
        _print_sums(sums, found)
    over = [
        f"profile {one.name}: over the connection budget: {budget.sentence(one, it)}; {budget.advice(one, it)}"
        for one, it in sums
        if _verdict(one, it, found) == "over"
    ]
    if refusals or over:
        raise ConfigurationError("\n".join([*refusals, *over]))


@profiles.command()
@click.argument("a")
@click.argument("b")
@as_json
def diff(a: str, b: str, as_json: bool) -> None:
    """Print the keys in which the effective profiles A and B differ; descriptions do not count."""
    one, other = loader.load(a), loader.load(b)
    left, right = _typed(one), _typed(other)
    differing = [key for key in engine_profile.KEYS if key != "description" and left.get(key, "") != right.get(key, "")]
    if as_json:
        _print_json({key: [left.get(key), right.get(key)] for key in differing})
        return
    if not differing:
        click.echo("no difference")
        return
    said, heard = rendering.effective(one), rendering.effective(other)
    rows = [("", one.name, other.name)]
    for line in output.lines(rows + [(key, said.get(key, "-"), heard.get(key, "-")) for key in differing]):
        click.echo(line)


@profiles.command()
def schema() -> None:
    """Print the JSON Schema of profile files, for editors."""
    _print_json(json_schema.schema())


def _sorted_out(names: Iterable[str]) -> tuple[list[EngineProfile], list[str]]:
    """The profiles that load, as `serve` would start them, and what is wrong with the others."""
    workers = settings.read().workers
    if workers:
        click.echo(f"WEB_CONCURRENCY={workers} goes over the profiles' workers", err=True)
    fine: list[EngineProfile] = []
    refusals: list[str] = []
    for name in names:
        try:
            fine.append(loader.with_workers(loader.load(name), workers))
        except ConfigurationError as refusal:
            refusals.append(str(refusal))
    return fine, refusals


def _look() -> ServerProbe:
    from bookstore.database.url import psycopg_url  # noqa: PLC0415 - as above

    found = preflight.probe(psycopg_url())
    if isinstance(found.pooler, str):
        click.echo(found.pooler, err=True)
    return found


def _budget(one: EngineProfile, found: ServerProbe | None) -> Budget:
    if found is None:
        return budget.budget(one, ServerCapacity(max_connections=0, reserved=0, in_use=0))
    return budget.budget(one, found.capacity, found.pooler_capacity)


def _verdict(one: EngineProfile, it: Budget, found: ServerProbe | None) -> str:
    """`fits` or `over`; why it cannot be said, where it cannot."""
    if found is None:
        return ""
    if one.behind_pooler != found.is_pooled:
        return "wants a pooler" if one.behind_pooler else "wants no pooler"
    if found.is_pooled and not found.pooler_capacity:
        return "unknown"
    return "fits" if it.fits else "over"


def _json(one: EngineProfile, it: Budget, found: ServerProbe | None) -> dict[str, object]:
    """`usable` and `fits` are null where no server was asked, or one that the profile is not made for."""
    verdict = _verdict(one, it, found)
    is_known = verdict in {"fits", "over"}
    return {
        "name": one.name,
        "workers": it.workers,
        "connections_per_worker": it.per_worker,
        "needed": it.needed,
        "usable": it.usable if is_known else None,
        "fits": verdict == "fits" if is_known else None,
    }


def _print_sums(sums: Sequence[tuple[EngineProfile, Budget]], found: ServerProbe | None) -> None:
    if found:
        capacity = found.capacity
        click.echo(
            f"server: {capacity.usable} connections usable = max_connections {capacity.max_connections} "
            f"- reserved {capacity.reserved} - in use {capacity.in_use}"
        )
        if found.pooler_capacity:
            _print_pooler(found.pooler_capacity)
    rows = [("name", "file", "(workers + 1) x connections", "budget")]
    for one, it in sums:
        rows.append((one.name, "OK", f"({it.workers} + 1) x {_each(one)} = {it.needed}", _verdict(one, it, found)))
    for line in output.lines(rows if found else [row[:3] for row in rows]):
        click.echo(line)


def _print_pooler(pooler: PoolerCapacity) -> None:
    most = "" if pooler.most is None else f", at most {pooler.most}"
    click.echo(
        f"PgBouncer: {pooler.usable} connections usable = max_client_conn {pooler.max_client_conn} "
        f"- in use {pooler.clients}"
    )
    click.echo(
        f"           {pooler.sessions} of the server's it may open = pool_size {pooler.pool_size} "
        f"+ reserve_pool_size {pooler.reserve_pool_size}{most}"
    )


def _each(one: EngineProfile) -> str:
    return f"({one.pool_size} + {one.max_overflow})" if one.pool == "queue" else str(one.connections_per_worker)


def _typed(one: EngineProfile) -> dict[str, Any]:
    """The effective profile for JSON: numbers and booleans as such, durations as texts such as `2s`."""
    told = rendering.effective(one)
    return {key: text if key in {"description", "pool"} else scalar(text) for key, text in told.items()}


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
