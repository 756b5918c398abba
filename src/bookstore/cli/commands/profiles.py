"""`bookstore profiles`: list, show, check and diff engine profiles without deploying any."""

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
    from bookstore.database.preflight import ServerProbe  # imports the drivers

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def profiles() -> None:
    """List, show, check and diff engine profiles.

    A profile is given by the name of a shipped one or by the path of a file. NAME@key=value,key=value
    overrides single keys.
    """


@profiles.command("list")
@_json_option
def list_(as_json: bool) -> None:
    """List the shipped profiles."""
    shipped = [loader.load(name) for name in layers.names()]
    if as_json:
        keys = ("name", "driver", "loading", "description")
        _print_json([{key: getattr(profile, key) for key in keys} for profile in shipped])
        return
    rows = [("name", "driver", "loading", "description")]
    rows += [(profile.name, profile.driver, profile.loading, profile.description) for profile in shipped]
    for line in output.align_columns(rows):
        click.echo(line)


@profiles.command()
@click.argument("name")
@_json_option
def show(name: str, as_json: bool) -> None:
    """Print the effective profile NAME, including defaults. The output is a valid profile file."""
    profile = loader.load(name)
    if as_json:
        _print_json(_typed_values(profile))
    else:
        click.echo(rendering.to_yaml(profile), nl=False)


@profiles.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--no-database", is_flag=True, help="Check only the files, and print the connections that they need.")
@_json_option
def check(names: tuple[str, ...], no_database: bool, as_json: bool) -> None:
    """Check profiles and their connection budgets (default: all shipped ones).

    The budget is (workers + 1) x (pool_size + max_overflow): while a worker is replaced, the old and the new
    one both have a pool. It must fit into the server's free connections. With PgBouncer, the budget must fit into
    its max_client_conn, and the connections that it may open must fit into the server's free ones. Exit with code 2
    if a profile is invalid or over budget.
    """
    valid, errors = _load_profiles(names or layers.names())
    probe = _probe_server() if valid and not no_database else None
    budgets = [(profile, _budget(profile, probe)) for profile in valid]
    if as_json:
        _print_json([_budget_as_json(profile, needed, probe) for profile, needed in budgets])
    elif budgets:
        _print_budgets(budgets, probe)
    errors += [
        f"profile {profile.name}: over the connection budget: {budget.describe(profile, needed)}; "
        f"{budget.advice(profile, needed)}"
        for profile, needed in budgets
        if _verdict(profile, needed, probe) == "over"
    ]
    if errors:
        raise ConfigurationError("\n".join(errors))


@profiles.command()
@click.argument("a")
@click.argument("b")
@_json_option
def diff(a: str, b: str, as_json: bool) -> None:
    """Print the keys that differ between the effective profiles A and B. Descriptions are ignored."""
    first, second = loader.load(a), loader.load(b)
    left, right = _typed_values(first), _typed_values(second)
    differing = [key for key in engine_profile.KEYS if key != "description" and left.get(key, "") != right.get(key, "")]
    if as_json:
        _print_json({key: [left.get(key), right.get(key)] for key in differing})
        return
    if not differing:
        click.echo("no differences")
        return
    left_text, right_text = rendering.effective_values(first), rendering.effective_values(second)
    rows = [("", first.name, second.name)]
    rows += [(key, left_text.get(key, "-"), right_text.get(key, "-")) for key in differing]
    for line in output.align_columns(rows):
        click.echo(line)


@profiles.command()
def schema() -> None:
    """Print the JSON Schema of profile files, for editors."""
    _print_json(json_schema.schema())


def _load_profiles(names: Iterable[str]) -> tuple[list[EngineProfile], list[str]]:
    """Return the valid profiles, with `workers` as `serve` would set them, and the errors in the others."""
    workers = settings.read().workers
    if workers:
        click.echo(f"WEB_CONCURRENCY={workers} overrides the profiles' workers", err=True)
    valid: list[EngineProfile] = []
    errors: list[str] = []
    for name in names:
        try:
            valid.append(loader.with_workers(loader.load(name), workers))
        except ConfigurationError as error:
            errors.append(str(error))
    return valid, errors


def _probe_server() -> ServerProbe:
    from bookstore.database.url import psycopg_url  # noqa: PLC0415 - imports the drivers

    probe = preflight.probe(psycopg_url())
    if isinstance(probe.pooler, str):
        click.echo(probe.pooler, err=True)
    return probe


def _budget(profile: EngineProfile, probe: ServerProbe | None) -> Budget:
    if probe is None:
        return budget.budget(profile, ServerCapacity(max_connections=0, reserved=0, in_use=0))
    return budget.budget(profile, probe.capacity, probe.pooler_capacity)


def _verdict(profile: EngineProfile, needed: Budget, probe: ServerProbe | None) -> str:
    """Return `fits`, `over` or the reason why neither applies; an empty string without a probe."""
    if probe is None:
        return ""
    if profile.behind_pooler != probe.is_pooled:
        return "needs a pooler" if profile.behind_pooler else "not for a pooler"
    if probe.is_pooled and not probe.pooler_capacity:
        return "unknown"
    return "fits" if needed.fits else "over"


def _budget_as_json(profile: EngineProfile, needed: Budget, probe: ServerProbe | None) -> dict[str, object]:
    """`usable` and `fits` are null without a probe, or if the verdict is neither `fits` nor `over`."""
    verdict = _verdict(profile, needed, probe)
    is_known = verdict in {"fits", "over"}
    return {
        "name": profile.name,
        "workers": needed.workers,
        "connections_per_worker": needed.per_worker,
        "needed": needed.needed,
        "usable": needed.usable if is_known else None,
        "fits": verdict == "fits" if is_known else None,
    }


def _print_budgets(budgets: Sequence[tuple[EngineProfile, Budget]], probe: ServerProbe | None) -> None:
    if probe:
        capacity = probe.capacity
        click.echo(
            f"server: {capacity.usable} usable connections = max_connections {capacity.max_connections} "
            f"- reserved {capacity.reserved} - in use {capacity.in_use}"
        )
        if probe.pooler_capacity:
            _print_pooler(probe.pooler_capacity)
    rows = [("name", "file", "(workers + 1) x connections", "budget")]
    for profile, needed in budgets:
        formula = f"({needed.workers} + 1) x {_connections_formula(profile)} = {needed.needed}"
        rows.append((profile.name, "OK", formula, _verdict(profile, needed, probe)))
    for line in output.align_columns(rows if probe else [row[:3] for row in rows]):
        click.echo(line)


def _print_pooler(pooler: PoolerCapacity) -> None:
    most = "" if pooler.max_sessions is None else f", at most {pooler.max_sessions}"
    click.echo(
        f"PgBouncer: {pooler.usable} usable connections = max_client_conn {pooler.max_client_conn} "
        f"- in use {pooler.clients}"
    )
    click.echo(
        f"           {pooler.sessions} server connections it may open = pool_size {pooler.pool_size} "
        f"+ reserve_pool_size {pooler.reserve_pool_size}{most}"
    )


def _connections_formula(profile: EngineProfile) -> str:
    if profile.pool == "queue":
        return f"({profile.pool_size} + {profile.max_overflow})"
    return str(profile.connections_per_worker)


def _typed_values(profile: EngineProfile) -> dict[str, Any]:
    """Return the effective profile for JSON: numbers and booleans as such, durations as strings such as `2s`."""
    texts = rendering.effective_values(profile)
    return {key: text if key in {"description", "pool"} else scalar(text) for key, text in texts.items()}


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
