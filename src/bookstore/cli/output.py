"""A run on stdout, in the form that was asked for."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import Final

import click

from bookstore.lab.analysis import sweep_grid
from bookstore.lab.analysis.summary import Read
from bookstore.lab.record.run_record import Run
from bookstore.lab.report import conclusions, formats, table

FORMATS: Final = ("text", "markdown", "csv", "json", "ab")

_FORMS: Final = {"markdown": formats.markdown, "csv": formats.csv_text, "json": formats.json}


def printed(record: Run, form: str, read: Read | None = None) -> None:
    """`read` has the samples, which ab's form needs."""
    if form == "ab" and read is None:
        raise click.UsageError("--format ab is of one run: its percentiles are of one run's samples")
    if form == "ab" and read:
        click.echo(formats.ab(record, read))
    elif form != "text":
        click.echo(_FORMS[form](record).rstrip("\n"))
    else:
        _text(record)


def _text(record: Run) -> None:
    swept = sweep_grid.of(record)
    click.echo(table.sweep_table(record, swept) if swept else table.table(record, shutil.get_terminal_size().columns))
    click.echo()
    click.echo(table.sweep_legend(record, swept) if swept else table.legend(record))
    for sentence in conclusions.sentences(record):
        click.echo(textwrap.fill(sentence, 80, replace_whitespace=False, break_on_hyphens=False))


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in aligned columns; the last column is wrapped to the terminal's width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = max(20, shutil.get_terminal_size((80, 24)).columns - left)
    made: list[str] = []
    for row in rows:
        start = "  ".join(f"{cell:<{width}}" for cell, width in zip(row[:-1], widths[:-1], strict=True))
        for number, part in enumerate(textwrap.wrap(row[-1], room) or [""]):
            made.append(f"{start if number == 0 else ' ' * (left - 2)}  {part}".rstrip())
    return made
