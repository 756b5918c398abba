"""`bookstore report`: a page of runs, and the index of all."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
import msgspec

from bookstore import document
from bookstore.lab import report as page
from bookstore.lab import report_index, results, samples
from bookstore.lab.record import SCHEMA_VERSION, Run
from bookstore.refusal import Refused


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN…", type=click.Path(path_type=Path))
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
def report(runs: tuple[Path, ...], output: Path | None, as_index: bool, folder: Path) -> None:
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
    found = [_find(run, folder) for run in runs]
    home = found[0] if len(found) == 1 else found[0].parent
    _write(output or home / page.FILE, page.page([(_read(path), partial(samples.read, path)) for path in found]))


def _read(folder: Path) -> Run:
    """The record in `folder`. Raises Refused where it is none of this version."""
    file = folder / "run.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=Run)
    except OSError as error:
        raise Refused(f"{file}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"{file}: not a run record of version {SCHEMA_VERSION}: {error}") from None


def _find(run: Path, folder: Path) -> Path:
    """The folder of the run that `run` names."""
    known = results.runs(folder)
    if str(run) == "latest":
        if not known:
            raise Refused(f"no runs in {folder}; bookstore compare makes one")
        return known[-1]
    for path in (run, folder / run):
        if path.is_dir():
            return path
        if path.is_file():
            return path.parent
    raise Refused(f"run {run}: no such run; allowed is {document.suggestion(str(run), [p.name for p in known])}")


def _all(folder: Path) -> tuple[list[tuple[Run, Path]], list[str]]:
    """Every run below `folder`, and why others could not be read."""
    read, unreadable = [], []
    for path in results.runs(folder):
        try:
            read.append((_read(path), path))
        except Refused as refusal:
            unreadable.append(str(refusal))
            click.echo(f"left out: {refusal}", err=True)
    return read, unreadable


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(f"{file}: cannot be written: {error.strerror}; choose another --output") from None
    click.echo(file)
