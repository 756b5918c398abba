"""`bookstore workloads`: list, show and check workloads without sending a request."""

from __future__ import annotations

import json

import click
import msgspec

from bookstore.cli import output
from bookstore.exceptions import ConfigurationError
from bookstore.lab.workload import file as workload_file
from bookstore.lab.workload import json_schema, rendering
from bookstore.lab.workload.spec import Workload

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def workloads() -> None:
    """List, show and check workloads.

    A workload is given by the name of a shipped one or by the path of a file. NAME@key=value,key=value
    overrides single keys.
    """


@workloads.command("list")
@_json_option
def list_(as_json: bool) -> None:
    """List the shipped workloads."""
    shipped = [workload_file.load(name) for name in workload_file.names()]
    if as_json:
        keys = ("name", "model", "writes", "description")
        _print_json([{key: getattr(workload, key) for key in keys} for workload in shipped])
        return
    rows = [("name", "load", "description")]
    rows += [(workload.name, describe_load(workload), workload.description) for workload in shipped]
    for line in output.align_columns(rows):
        click.echo(line)


@workloads.command()
@click.argument("name")
@_json_option
def show(name: str, as_json: bool) -> None:
    """Print the effective workload NAME, including defaults.

    The output is a valid workload file; comments say where each value comes from.
    """
    workload, origins = workload_file.read(name)
    if as_json:
        _print_json(rendering.effective(workload))
    else:
        click.echo(rendering.to_yaml(workload, origins), nl=False)


@workloads.command()
@click.argument("files", nargs=-1)
def check(files: tuple[str, ...]) -> None:
    """Check workloads (default: all shipped ones). Exit with code 2 if one is invalid."""
    errors = []
    for name in files or workload_file.names():
        try:
            click.echo(f"{workload_file.load(name).name}: OK")
        except ConfigurationError as error:
            errors.append(str(error))
    if errors:
        raise ConfigurationError("\n".join(errors))


@workloads.command()
def schema() -> None:
    """Print the JSON Schema of workload files, for editors."""
    _print_json(json_schema.schema())


def describe_load(workload: Workload) -> str:
    """Return load and duration as a phrase: `5 clients, 5 s`."""
    unit = "clients" if workload.model == "closed" else "requests/s"
    levels = dict.fromkeys([workload.start, *(stage.target for stage in workload.stages)])
    return f"{' to '.join(f'{level:g}' for level in levels)} {unit}, {workload.duration:g} s"


def _print_json(value: object) -> None:
    click.echo(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False))
