"""HTML pages on disk, written atomically: the report on one or more runs, and the index of all runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from bookstore.exceptions import ConfigurationError
from bookstore.lab.record.run_record import Run
from bookstore.lab.report import index as report_index
from bookstore.lab.report import page
from bookstore.lab.storage import runs


def render(folders: Sequence[Path]) -> str:
    """Return the HTML report on the runs in `folders`. Raises ConfigurationError if one cannot be read."""
    records = [runs.read(folder) for folder in folders]
    return page.page(
        [(record, runs.samples_reader(folder, record)) for record, folder in zip(records, folders, strict=True)]
    )


def write_after_run(folder: Path) -> Path:
    """Write the report of the run in `folder`, and the index of all runs beside it. Return the report's path.

    Raises ConfigurationError if one of them cannot be written.
    """
    _replace(folder / page.FILE, render([folder]))
    read, unreadable = read_all(folder.parent)
    _replace(folder.parent / report_index.FILE, report_index.index(read, unreadable))
    return folder / page.FILE


def read_all(folder: Path) -> tuple[list[tuple[Run, Path]], list[str]]:
    """Return the runs below `folder` with their folders, and messages about unreadable ones, which go to stderr too."""
    read, unreadable = [], []
    for path in runs.list_runs(folder):
        try:
            read.append((runs.read(path), path))
        except ConfigurationError as error:
            unreadable.append(str(error))
            click.echo(f"skipped: {error}", err=True)
    return read, unreadable


def write(file: Path, text: str) -> None:
    """Write `text` to `file` and print its path. Raises ConfigurationError if the file cannot be written."""
    _replace(file, text)
    click.echo(file)


def _replace(file: Path, text: str) -> None:
    """Replace `file`; if that fails, on a full disk for example, its previous content stays."""
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
