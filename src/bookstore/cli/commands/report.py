"""`bookstore report`: write the HTML report on runs, or the index of all runs."""

from __future__ import annotations

from pathlib import Path

import click

from bookstore.cli.commands.runs import find_run
from bookstore.cli.pages import read_all, render, write
from bookstore.lab.report import index as report_index
from bookstore.lab.report import page


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN…")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@click.option("--index", "as_index", is_flag=True, help="Write the page that lists all runs.")
@click.option(
    "--runs",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of the stored runs.",
)
def report(runs: tuple[str, ...], output: Path | None, as_index: bool, folder: Path) -> None:
    """Write an HTML report on one or more runs.

    RUN is a folder, its run.json, its ID, or `latest`. The report is a self-contained file: report.html in the
    run's folder, or in the folder of all runs if there are several. With --index it is index.html there.

    \b
    bookstore report latest
    bookstore report --index
    """
    if as_index == bool(runs):
        raise click.UsageError("name at least one RUN, or use --index without a RUN")
    if as_index:
        read, unreadable = read_all(folder)
        write(output or folder / report_index.FILE, report_index.index(read, unreadable))
        return
    paths = [find_run(run, folder) for run in runs]
    folders = [path if path.is_dir() else path.parent for path in paths]
    target = folders[0] if len(folders) == 1 else folders[0].parent
    write(output or target / page.FILE, render(folders))
