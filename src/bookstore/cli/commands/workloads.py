"""`bookstore workloads`: look at workloads without sending a request."""

from __future__ import annotations

import json

import click
import msgspec

from bookstore.cli import output
from bookstore.exceptions import ConfigurationError
from bookstore.lab.workload import file as workload_file
from bookstore.lab.workload import json_schema, rendering
from bookstore.lab.workload.spec import Workload

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def workloads() -> None:
    """List, show and check workloads.

    A workload is named by the name of a shipped one or by the path of a file. NAME@key=value,key=value
    overrides single keys.
    """


@workloads.command("list")
@_as_json
def list_(as_json: bool) -> None:
    """List the shipped workloads."""
    every = [workload_file.load(name) for name in workload_file.names()]
    if as_json:
        keys = ("name", "model", "writes", "description")
        _print_json([{key: getattr(one, key) for key in keys} for one in every])
        return
    rows = [("name", "load", "description")]
    for line in output.lines(rows + [(one.name, pace(one), one.description) for one in every]):
        click.echo(line)


@workloads.command()
@click.argument("name")
@_as_json
def show(name: str, as_json: bool) -> None:
    """Print the effective workload NAME, defaults filled, and where each value was said. What it prints is a
    workload, too."""
    shown, origins = workload_file.read(name)
    if as_json:
        _print_json(rendering.effective(shown))
    else:
        click.echo(rendering.to_yaml(shown, origins), nl=False)


@workloads.command()
@click.argument("files", nargs=-1)
def check(files: tuple[str, ...]) -> None:
    """Check workloads (default: all shipped ones). Exit code 2 if one is refused."""
    refusals = []
    for name in files or workload_file.names():
        try:
            click.echo(f"{workload_file.load(name).name}: OK")
        except ConfigurationError as refusal:
            refusals.append(str(refusal))
    if refusals:
        raise ConfigurationError("\n".join(refusals))


@workloads.command()
def schema() -> None:
    """Print the JSON Schema of workload files, for editors."""
    _print_json(json_schema.schema())


def pace(one: Workload) -> str:
    """How fast it asks, in a few words: `5 clients, 5 s`."""
    unit = "clients" if one.model == "closed" else "requests/s"
    way = " to ".join(f"{level:g}" for level in dict.fromkeys([one.start, *(stage.target for stage in one.stages)]))
    return f"{way} {unit}, {one.duration:g} s"


def _print_json(value: object) -> None:
    click.echo(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False))
