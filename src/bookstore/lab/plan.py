"""The plan of a comparison: all that can be checked before anything starts."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bookstore import budget, profile
from bookstore.lab.workload import Workload
from bookstore.profile import EngineProfile
from bookstore.refusal import Refused

MAX_CONNECTIONS: Final = 100
"""PostgreSQL's own default, as the article's server had."""
LAB_CONNECTIONS: Final = 3
"""What the lab itself opens beside the service: one to look with, one spare, one for pgbench's own check."""
SPARE_FILES: Final = 128
"""Open files a process has beside its clients: libraries, logs, database connections."""


class Plan(msgspec.Struct, frozen=True):
    """A comparison as it was asked for: (label, spec, profile) each, the baseline first."""

    contenders: list[tuple[str, str, EngineProfile]]
    workload: Workload
    rounds: int
    output: Path
    seed: int


def plan(specs: Sequence[str], workload: Workload, rounds: int, output: Path, seed: int) -> Plan:
    """Checks all that can be known before anything starts. Raises Refused with every mistake."""
    contenders: list[tuple[str, str, EngineProfile]] = []
    refused = []
    if workload.concurrency + SPARE_FILES > (limit := open_files()):
        refused.append(
            f"concurrency: found {workload.concurrency} clients; allowed are {limit - SPARE_FILES} with a limit "
            f"of {limit} open files: raise it with `ulimit -n {workload.concurrency + SPARE_FILES}`"
        )
    for spec in specs:
        try:
            found = profile.load(spec)
        except Refused as refusal:
            refused.append(str(refusal))
            continue
        times = sum(label.partition(" #")[0] == found.name for label, *_ in contenders)
        label = f"{found.name} #{times + 1}" if times else found.name
        contenders.append((label, spec, found))
        room = budget.ServerCapacity(MAX_CONNECTIONS, reserved=3, in_use=LAB_CONNECTIONS)
        if not (it := budget.budget(found, room)).fits:
            told = f"{budget.sentence(found, it)}; {budget.advice(found, it)}"
            refused.append(f"profile {spec}: over the connection budget of the lab's database: {told}")
    if refused:
        raise Refused("\n".join(dict.fromkeys(refused)))
    return Plan(contenders, workload, rounds, output, seed)


def open_files() -> int:
    """How many files a process started here may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft
