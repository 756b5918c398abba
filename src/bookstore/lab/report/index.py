"""One HTML page that lists, filters and compares the runs of a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from bookstore.lab.record.run_record import Run
from bookstore.lab.report import page as report
from bookstore.lab.report import standalone_html

FILE: Final = "index.html"

_SCRIPTS: Final = ("elements.js", "run_differences.js", "index.js")


class Entry(msgspec.Struct, frozen=True):
    """A run without its rounds. `page` is the address of its report, relative to the index, if it has one."""

    run: Run
    page: str | None


class _Index(msgspec.Struct, frozen=True):
    runs: list[Entry]
    unreadable: list[str]


def index(runs: Iterable[tuple[Run, Path]], unreadable: Iterable[str]) -> str:
    """Return the HTML page of `runs`, newest first, each with its folder, which is next to the page. `unreadable` has
    a message for each folder whose record cannot be read."""
    entries = [
        Entry(msgspec.structs.replace(run, rounds=[], steps=[]), _address(folder))
        for run, folder in sorted(runs, key=lambda pair: pair[0].started_at, reverse=True)
    ]
    fallback = [f"{entry.run.started_at:%Y-%m-%d %H:%M} {entry.run.workload.name} {entry.run.id}" for entry in entries]
    return standalone_html.document("Runs", fallback, _Index(entries, list(unreadable)), _SCRIPTS)


def _address(folder: Path) -> str | None:
    return f"./{quote(folder.name)}/{report.FILE}" if (folder / report.FILE).is_file() else None
