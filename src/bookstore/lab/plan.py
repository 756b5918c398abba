"""The plan of a comparison: all that can be checked before anything starts."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bookstore.database import budget
from bookstore.exceptions import ConfigurationError
from bookstore.lab.load import k9 as generator
from bookstore.lab.record.run_record import Deploy, Limits, Protocol
from bookstore.lab.testbed import compose_project, external, limits, pgbouncer
from bookstore.lab.testbed.contender import PlannedContender
from bookstore.lab.testbed.database import MAX_CONNECTIONS
from bookstore.lab.testbed.external import External
from bookstore.lab.workload.file import with_values
from bookstore.lab.workload.spec import Workload
from bookstore.profile import loader

LAB_CONNECTIONS: Final = 4
"""What the lab itself opens beside the service: two to look with, one spare, one for pgbench's own check."""
_CHECKS: Final[Mapping[Deploy, Callable[[], object]]] = {"process": lambda: None, "compose": compose_project.check}
"""What has to be there for each kind of deployment; raises ConfigurationError."""
SPARE_FILES: Final = 128
"""Open files a process has beside its clients: libraries, logs, database connections."""


class Plan(msgspec.Struct, frozen=True):
    """A comparison as it was asked for, the baseline first."""

    contenders: list[PlannedContender]
    workload: Workload
    protocol: Protocol
    output: Path
    seed: int


Cell = tuple[str, dict[str, float]]
"""A profile's name or file, or that of another service; and what of the workload is another for it."""


def plan(
    cells: Sequence[Cell],
    workload: Workload,
    protocol: Protocol,
    output: Path,
    seed: int,
    services: Sequence[External] = (),
) -> Plan:
    """Checks all that can be known before anything starts; `services` come after the `cells`. Raises ConfigurationError
    with every mistake."""
    refused = []
    try:
        limits.check(protocol.limits)
        generator.check()
        _CHECKS[protocol.deploy]()
    except ConfigurationError as refusal:
        refused.append(str(refusal))
    if not 1 <= protocol.min_rounds <= protocol.max_rounds:
        refused.append(
            f"--min-rounds: found {protocol.min_rounds}; allowed is 1 to {protocol.max_rounds}, the most rounds"
        )
    contenders: list[PlannedContender] = []
    for spec, load in cells:
        try:
            it = _load_contender(spec)
            _check_open_files(changed(workload, load) if load else workload)
        except ConfigurationError as refusal:
            refused.append(str(refusal))
            continue
        name = it.label + "".join(f" {key}={value:g}" for key, value in load.items())
        contenders.append(msgspec.structs.replace(it, label=_unique_label(name, contenders), load=load))
    for service in services:
        if protocol.limits != Limits():
            refused.append(
                f"--external {service.name}: found it with a limit of CPU or memory; allowed is that for what the lab "
                f"starts: give its command in a file"
            )
        contenders.append(
            PlannedContender(label=_unique_label(service.name, contenders), spec=service.url or "", service=service)
        )
    if protocol.deploy == "compose":
        refused += [
            f"--deploy compose: found the service {it.label}; allowed are profiles, whose image is known"
            for it in contenders
            if it.service
        ]
        refused += [
            f"--deploy compose: found the profile {it.label}, which is behind a pooler; allowed are profiles without "
            f"behind_pooler: the lab deploys compose.yaml's db and api alone"
            for it in contenders
            if it.profile and it.profile.behind_pooler
        ]
    if refused:
        raise ConfigurationError("\n".join(dict.fromkeys(refused)))
    return Plan(contenders, workload, protocol, output, seed)


def _load_contender(spec: str) -> PlannedContender:
    if external.is_external(spec):
        service = external.load(spec)
        return PlannedContender(label=service.name, spec=spec, service=service)
    found = loader.load(spec)
    room = budget.ServerCapacity(MAX_CONNECTIONS, reserved=3, in_use=LAB_CONNECTIONS)
    if found.behind_pooler:
        pgbouncer.executable()
    if not (it := budget.budget(found, room, pgbouncer.CAPACITY if found.behind_pooler else None)).fits:
        told = f"{budget.sentence(found, it)}; {budget.advice(found, it)}"
        raise ConfigurationError(f"profile {spec}: over the connection budget of the lab's database: {told}")
    return PlannedContender(label=found.name, spec=spec, profile=found)


def _unique_label(name: str, before: Sequence[PlannedContender]) -> str:
    """`name`, and ` #2` behind it where there is one already."""
    times = sum(it.label.partition(" #")[0] == name for it in before)
    return f"{name} #{times + 1}" if times else name


def _check_open_files(workload: Workload) -> None:
    if workload.clients + SPARE_FILES > (limit := open_file_limit()):
        raise ConfigurationError(
            f"concurrency: found {workload.clients} clients; allowed are {limit - SPARE_FILES} with a limit "
            f"of {limit} open files: raise it with `ulimit -n {workload.clients + SPARE_FILES}`"
        )


def open_file_limit() -> int:
    """How many files a process started here may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft
