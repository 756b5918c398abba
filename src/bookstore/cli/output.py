"""A run on stdout in the selected format, and aligned columns."""

from __future__ import annotations

import shutil
import sys
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


def print_run(record: Run, form: str, read: Read | None = None) -> None:
    """Print a run in one of FORMATS. `read` reads its samples; only `ab` needs it.

    Raises click.UsageError if `form` is `ab` without `read`.
    """
    if form == "ab" and read is None:
        raise click.UsageError("--format ab requires a single run, because it computes percentiles from its samples")
    if form == "ab" and read:
        click.echo(formats.ab(record, read))
    elif form != "text":
        click.echo(_FORMS[form](record).rstrip("\n"))
    else:
        _print_text(record)


def _print_text(record: Run) -> None:
    swept = sweep_grid.grid_of(record)
    width = shutil.get_terminal_size().columns
    first = table.sweep_table(record, swept) if swept else table.table(record, width)
    last = table.sweep_legend(record, swept) if swept else table.legend(record)
    text = "\n\n".join([first, *conclusions.paragraphs(record), last])
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # Latin-1 and ASCII have no en dash
        text = text.replace("\N{EN DASH}", "-")
    click.echo(text)


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table of rows of cells. The last column is wrapped to the terminal's width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    indent = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = max(20, shutil.get_terminal_size((80, 24)).columns - indent)
    lines: list[str] = []
    for row in rows:
        start = "  ".join(f"{cell:<{width}}" for cell, width in zip(row[:-1], widths[:-1], strict=True))
        for number, part in enumerate(textwrap.wrap(row[-1], room) or [""]):
            lines.append(f"{start if number == 0 else ' ' * (indent - 2)}  {part}".rstrip())
    return lines
