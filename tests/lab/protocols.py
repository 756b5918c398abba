"""Small plans for the protocol, and a service that needs no database: both make a round cheap."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from bookstore.lab import plan as planning
from bookstore.lab.plan import Plan
from bookstore.lab.record.run_record import Protocol
from bookstore.lab.workload.spec import RequestSpec, Workload

SERVER: Final = Path(__file__).parents[2] / "benchmarks/truth/server.py"
READING: Final = Workload(
    name="reading",
    requests=[
        RequestSpec(name="list", path="/books?limit=20", weight=3, expects="items"),
        RequestSpec(name="detail", path="/books/{id}", expects="items"),
    ],
    duration=0.5,
    warm_up=0,
)


def steady(folder: Path, name: str = "steady") -> str:
    """The file of a service that answers `{"items": []}` to whatever it is asked."""
    file = folder / f"{name}.yaml"
    file.write_text(f"external:\n  command: {sys.executable} {SERVER} {{port}} 400\n")
    return str(file)


def planned(specs: Sequence[str], output: Path, workload: Workload = READING, seed: int = 1, **protocol: Any) -> Plan:
    """A plan of one round, in which a busy machine is borne, unless `protocol` says otherwise."""
    asked = {"min_rounds": 1, "max_rounds": 1, "precision_ratio": 0.5, "allow_busy": True, "inspect": False}
    return planning.plan([(spec, {}) for spec in specs], workload, Protocol(**(asked | protocol)), output, seed)


def quiet(_what: str, _share: float) -> None:
    """Progress that nobody looks at."""


def once(when: str, do: Callable[[], object]) -> Callable[[str, float], None]:
    """Progress that does something the first time that a third of what `when` is part of is over."""
    done: list[str] = []

    def tell(what: str, _share: float) -> None:
        if when in what:
            done.append(what)
            if len(done) == 3:  # it is told ten times a second
                do()

    return tell


def children(part: str) -> list[psutil.Process]:
    """The running processes below this one with `part` in their command."""
    every = psutil.Process().children(recursive=True)
    return [one for one in every if one.status() != psutil.STATUS_ZOMBIE and part in " ".join(one.cmdline())]
