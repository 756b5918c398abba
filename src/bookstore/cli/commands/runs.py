"""`bookstore runs`: list and show stored runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
import msgspec

from bookstore.cli.output import FORMATS, print_run
from bookstore.config import validation
from bookstore.exceptions import ConfigurationError
from bookstore.lab.storage import runs as run_storage

RUNS: Final = Path("runs")

output_option = click.option(
    "--output", "-o", type=click.Path(file_okay=False, path_type=Path), default=RUNS, show_default=True,
    help="Folder of the stored runs.",
)  # fmt: skip


@click.group()
def runs() -> None:
    """List and show stored runs."""


@runs.command("list")
@output_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(output: Path, as_json: bool) -> None:
    """List the stored runs, oldest first."""
    records = []
    for path in run_storage.list_runs(output):
        try:
            records.append((path, run_storage.read(path)))
        except ConfigurationError as error:
            click.echo(f"skipped: {error}", err=True)
    if as_json:
        rows = [
            {"path": str(path), "id": run.id, "started_at": run.started_at, "status": run.status}
            for path, run in records
        ]
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2))
        return
    if not records:
        click.echo(f"no runs in {output}", err=True)
    for path, run in records:
        best = max((summary.throughput_per_s for summary in run.summary), default=0.0)
        status = "" if run.status == "complete" else f"  {run.status}"
        click.echo(f"{run.started_at:%Y-%m-%d %H:%M}  {run.workload.name:<10} {best:6.0f} req/s  {path}{status}")


@runs.command()
@click.argument("run")
@output_option
@click.option(
    "--format", "-f", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="Output format."
)
@click.option("--json", "as_json", is_flag=True, help="Print the full record; the same as --format json.")
def show(run: str, output: Path, form: str, as_json: bool) -> None:
    """Show a stored run.

    RUN is a folder, its run.json, its ID, or `latest`.
    """
    path = find_run(run, output)
    record = run_storage.read(path)
    form = "json" if as_json else form
    print_run(
        record,
        form,
        run_storage.samples_reader(path if path.is_dir() else path.parent, record) if form == "ab" else None,
    )


def find_run(run: str, output: Path) -> Path:
    """Return the path of a run, given as a path, an ID below `output` or `latest`. Raises ConfigurationError."""
    known = run_storage.list_runs(output)
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
