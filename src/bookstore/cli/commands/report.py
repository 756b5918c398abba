"""`bookstore report`: a page of runs, and the index of all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from bookstore.cli.commands.runs import find
from bookstore.exceptions import ConfigurationError
from bookstore.lab.record.run_record import Run
from bookstore.lab.report import index as report_index
from bookstore.lab.report import page
from bookstore.lab.storage import runs as results


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
        read, unreadable = _all(folder)
        _write(output or folder / report_index.FILE, report_index.index(read, unreadable))
        return
    found = [find(run, folder) for run in runs]
    homes = [path if path.is_dir() else path.parent for path in found]
    home = homes[0] if len(homes) == 1 else homes[0].parent
    _write(output or home / page.FILE, of_runs(homes))


def of_runs(folders: Sequence[Path]) -> str:
    """The page about the runs in these folders. Raises ConfigurationError where one cannot be read."""
    records = [results.read(folder) for folder in folders]
    return page.page([(it, results.reader(folder, it)) for it, folder in zip(records, folders, strict=True)])


def after(folder: Path) -> Path:
    """Writes the page of the run that has just been measured, and the index of all beside it; returns the page. Raises
    ConfigurationError where one cannot be written."""
    _replace(folder / page.FILE, of_runs([folder]))
    read, unreadable = _all(folder.parent)
    _replace(folder.parent / report_index.FILE, report_index.index(read, unreadable))
    return folder / page.FILE


def _all(folder: Path) -> tuple[list[tuple[Run, Path]], list[str]]:
    """Every run below `folder`, and why others could not be read."""
    read, unreadable = [], []
    for path in results.runs(folder):
        try:
            read.append((results.read(path), path))
        except ConfigurationError as refusal:
            unreadable.append(str(refusal))
            click.echo(f"left out: {refusal}", err=True)
    return read, unreadable


def _write(file: Path, text: str) -> None:
    _replace(file, text)
    click.echo(file)


def _replace(file: Path, text: str) -> None:
    """The whole page or the one that was there before, on a full disk too."""
    partial = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and not file.is_file():  # /dev/stdout
            file.write_text(text, encoding="utf-8")
            return
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}; choose another --output") from None
