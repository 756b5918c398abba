"""A run on stdout, in the form that was asked for."""

from __future__ import annotations

import shutil
import textwrap
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
    click.echo(sweep_grid.table(record, swept) if swept else table.table(record, shutil.get_terminal_size().columns))
    click.echo()
    click.echo(sweep_grid.legend(record, swept) if swept else table.legend(record))
    for sentence in conclusions.sentences(record):
        click.echo(textwrap.fill(sentence, 80, replace_whitespace=False, break_on_hyphens=False))
