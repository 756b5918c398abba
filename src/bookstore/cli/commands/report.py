"""`bookstore report`: a page of runs, and the index of all."""

from __future__ import annotations

from pathlib import Path

import click

from bookstore.cli.commands.runs import find
from bookstore.cli.pages import read_all, render, write
from bookstore.lab.report import index as report_index
from bookstore.lab.report import page


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN…")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@click.option("--index", "as_index", is_flag=True, help="Write the page of all runs, to filter and compare.")
@click.option(
    "--runs",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where runs are kept.",
)
def report(runs: tuple[str, ...], output: Path | None, as_index: bool, folder: Path) -> None:
    """Write one HTML file about each RUN: a folder, its run.json, its id, or `latest`.

    The file needs no network and no server: open it, send it, print it. It is report.html in the run's folder,
    or with several in the folder of all runs; with --index it is index.html there.

    \b
    bookstore report latest
    bookstore report --index
    """
    if as_index == bool(runs):
        raise click.UsageError("allowed is RUN…, or --index without a RUN")
    if as_index:
        read, unreadable = read_all(folder)
        write(output or folder / report_index.FILE, report_index.index(read, unreadable))
        return
    found = [find(run, folder) for run in runs]
    homes = [path if path.is_dir() else path.parent for path in found]
    home = homes[0] if len(homes) == 1 else homes[0].parent
    write(output or home / page.FILE, render(homes))
