"""`bookstore runs`: look at what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
import msgspec

from bookstore.cli.output import FORMATS, printed
from bookstore.config import validation
from bookstore.exceptions import ConfigurationError
from bookstore.lab.storage import runs as results

RUNS: Final = Path("runs")

output_option = click.option(
    "--output", "-o", type=click.Path(file_okay=False, path_type=Path), default=RUNS, show_default=True,
    help="Where runs are kept.",
)  # fmt: skip


@click.group()
def runs() -> None:
    """List and show stored runs."""


@runs.command("list")
@output_option
@click.option("--json", "as_json", is_flag=True)
def list_(output: Path, as_json: bool) -> None:
    """List the runs, oldest first."""
    found = []
    for path in results.runs(output):
        try:
            found.append((path, results.read(path)))
        except ConfigurationError as refusal:
            click.echo(f"left out: {refusal}", err=True)
    if as_json:
        rows = [
            {"path": str(path), "id": it.id, "started_at": it.started_at, "status": it.status} for path, it in found
        ]
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2))
        return
    if not found:
        click.echo(f"no runs in {output}", err=True)
    for path, it in found:
        best = max((one.throughput_per_s for one in it.summary), default=0.0)
        status = "" if it.status == "complete" else f"  {it.status}"
        click.echo(f"{it.started_at:%Y-%m-%d %H:%M}  {it.workload.name:<10} {best:6.0f} req/s  {path}{status}")


@runs.command()
@click.argument("run")
@output_option
@click.option("--format", "-f", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json: the whole record.")
def show(run: str, output: Path, form: str, as_json: bool) -> None:
    """Show RUN: a folder, its run.json, its id, or `latest`."""
    path = find(run, output)
    record = results.read(path)
    form = "json" if as_json else form
    printed(record, form, results.reader(path if path.is_dir() else path.parent, record) if form == "ab" else None)


def find(run: str, output: Path) -> Path:
    """The folder or file of a run: a path, an id below `output`, or `latest`. Raises ConfigurationError for none."""
    known = results.runs(output)
    if run == "latest":
        if not known:
            raise ConfigurationError(f"no runs in {output}")
        return known[-1]
    if Path(run).exists():
        return Path(run)
    if (output / run).exists():
        return output / run
    raise ConfigurationError(
        f"run {run}: no such run; allowed is {validation.suggestion(run, [path.name for path in known])}"
    )
