"""Small plans and a service without a database, so that a round is cheap."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from bookstore.lab.plan import Plan, plan
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


def steady_service(folder: Path, name: str = "steady") -> str:
    """Write the file of a service that answers `{"items": []}` to every request."""
    file = folder / f"{name}.yaml"
    file.write_text(f"external:\n  command: {sys.executable} {SERVER} {{port}} 400\n")
    return str(file)


def make_plan(specs: Sequence[str], output: Path, workload: Workload = READING, seed: int = 1, **protocol: Any) -> Plan:
    """Return a plan of one round that tolerates a busy machine, unless `protocol` says otherwise."""
    defaults = {"min_rounds": 1, "max_rounds": 1, "precision_ratio": 0.5, "allow_busy": True, "inspect": False}
    return plan([(spec, {}) for spec in specs], workload, Protocol(**(defaults | protocol)), output, seed)


def ignore_progress(_what: str, _share: float) -> None:
    """Progress that nobody reads."""


def once(when: str, do: Callable[[], object]) -> Callable[[str, float], None]:
    """Progress that calls `do` once, after about a third of the activity `when`."""
    reports: list[str] = []

    def tell(what: str, _share: float) -> None:
        if when in what:
            reports.append(what)
            if len(reports) == 3:  # there are ten reports per second
                do()

    return tell


def child_processes(part: str) -> list[psutil.Process]:
    """Return the running processes below this one with `part` in their command."""
    processes = psutil.Process().children(recursive=True)
    return [
        process
        for process in processes
        if process.status() != psutil.STATUS_ZOMBIE and part in " ".join(process.cmdline())
    ]
