"""The runs of a folder -> one HTML page to filter them and to put two beside each other."""

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

_SCRIPTS: Final = ("elements.js", "likeness.js", "index.js")


class Entry(msgspec.Struct, frozen=True):
    """A run without its rounds; `page` is the address of its own page, from the index, where there is one."""

    run: Run
    page: str | None


class _Index(msgspec.Struct, frozen=True):
    runs: list[Entry]
    unreadable: list[str]


def index(runs: Iterable[tuple[Run, Path]], unreadable: Iterable[str]) -> str:
    """The page of `runs`, each with its folder, which lies beside the page; `unreadable` says of what else lies
    there why it is no run. The newest is first."""
    entries = [
        Entry(msgspec.structs.replace(run, rounds=[], steps=[]), _address(folder))
        for run, folder in sorted(runs, key=lambda it: it[0].started_at, reverse=True)
    ]
    said = [f"{entry.run.started_at:%Y-%m-%d %H:%M} {entry.run.workload.name} {entry.run.id}" for entry in entries]
    return standalone_html.document("Runs", said, _Index(entries, list(unreadable)), _SCRIPTS)


def _address(folder: Path) -> str | None:
    return f"./{quote(folder.name)}/{report.FILE}" if (folder / report.FILE).is_file() else None
