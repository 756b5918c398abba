"""Report pages on disk: the page of one or more runs, and the index of all runs, written atomically."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from bookstore.exceptions import ConfigurationError
from bookstore.lab.record.run_record import Run
from bookstore.lab.report import index as report_index
from bookstore.lab.report import page
from bookstore.lab.storage import runs as results


def render(folders: Sequence[Path]) -> str:
    """The page about the runs in these folders. Raises ConfigurationError where one cannot be read."""
    records = [results.read(folder) for folder in folders]
    return page.page([(it, results.reader(folder, it)) for it, folder in zip(records, folders, strict=True)])


def write_after_run(folder: Path) -> Path:
    """Writes the page of the run that has just been measured, and the index of all beside it; returns the page. Raises
    ConfigurationError where one cannot be written."""
    _replace(folder / page.FILE, render([folder]))
    read, unreadable = read_all(folder.parent)
    _replace(folder.parent / report_index.FILE, report_index.index(read, unreadable))
    return folder / page.FILE


def read_all(folder: Path) -> tuple[list[tuple[Run, Path]], list[str]]:
    """Every run below `folder`, and why others could not be read."""
    read, unreadable = [], []
    for path in results.runs(folder):
        try:
            read.append((results.read(path), path))
        except ConfigurationError as refusal:
            unreadable.append(str(refusal))
            click.echo(f"left out: {refusal}", err=True)
    return read, unreadable


def write(file: Path, text: str) -> None:
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
