"""The plan of a comparison, and every check that needs no running service."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bookstore.database import budget
from bookstore.exceptions import ConfigurationError
from bookstore.lab.load import k9
from bookstore.lab.record.run_record import Deploy, Limits, Protocol
from bookstore.lab.testbed import compose_project, external, limits, pgbouncer, readiness
from bookstore.lab.testbed.contender import PlannedContender
from bookstore.lab.testbed.database import MAX_CONNECTIONS
from bookstore.lab.testbed.external import External
from bookstore.lab.workload.file import with_values
from bookstore.lab.workload.spec import Workload
from bookstore.profile import layers, loader

LAB_CONNECTIONS: Final = 4
"""Connections of the lab itself: two for observation, one spare, one for pgbench's own check."""
_CHECKS: Final[Mapping[Deploy, Callable[[], object]]] = {"process": lambda: None, "compose": compose_project.check}
"""Prerequisites of each kind of deployment; the function raises ConfigurationError if one is missing."""
SPARE_FILES: Final = 128
"""Open files that a process needs beside its clients: libraries, logs, database connections."""


class Plan(msgspec.Struct, frozen=True):
    """A checked comparison. The baseline is the first contender."""

    contenders: list[PlannedContender]
    workload: Workload
    protocol: Protocol
    output: Path
    seed: int


Cell = tuple[str, dict[str, float]]
"""A contender's name or file, and the workload values (such as `concurrency`) that differ for it."""


def plan(
    cells: Sequence[Cell],
    workload: Workload,
    protocol: Protocol,
    output: Path,
    seed: int,
    services: Sequence[External] = (),
) -> Plan:
    """Check everything that can be known before anything starts, and return the plan.

    External `services` follow the `cells`; those that run already get one request each. Raises ConfigurationError that
    lists every error.
    """
    errors = []
    try:
        limits.check(protocol.limits)
        k9.check()
        _CHECKS[protocol.deploy]()
    except ConfigurationError as error:
        errors.append(str(error))
    if not 1 <= protocol.min_rounds <= protocol.max_rounds:
        errors.append(
            f"--min-rounds: found {protocol.min_rounds}; allowed is 1 to {protocol.max_rounds} (--max-rounds)"
        )
    contenders: list[PlannedContender] = []
    for spec, load in cells:
        try:
            contender = _load_contender(spec, workload)
            _check_open_files(with_values(workload, load) if load else workload)
        except ConfigurationError as error:
            errors.append(str(error))
            continue
        name = contender.label + "".join(f" {key}={value:g}" for key, value in load.items())
        contenders.append(msgspec.structs.replace(contender, label=_unique_label(name, contenders), load=load))
    for service in [readiness.with_ready_path(each, workload) for each in services]:
        if service.name in {contender.label for contender in contenders}:
            errors.append(f"--external {service.name}: found the name of another contender; allowed is another name")
        if protocol.limits != Limits():
            errors.append(
                f"--external {service.name}: found a CPU or memory limit; allowed are limits only for services "
                f"that the lab starts: put the service's command in a file"
            )
        contenders.append(
            PlannedContender(label=_unique_label(service.name, contenders), spec=service.url or "", service=service)
        )
    taken = sorted({it.service.name for it in contenders if it.service} & set(layers.names()))
    errors += [f"external service {name}: found the name of a profile; allowed is another name" for name in taken]
    if protocol.deploy == "compose":
        errors += [
            f"--deploy compose: found the service {contender.label}; allowed are profiles, because their image is known"
            for contender in contenders
            if contender.service
        ]
        errors += [
            f"--deploy compose: found the profile {contender.label}, which is behind a pooler; allowed are profiles "
            f"without behind_pooler, because the lab deploys only db and api of compose.yaml"
            for contender in contenders
            if contender.profile and contender.profile.behind_pooler
        ]
    for service in [it.service for it in contenders if it.service and it.service.url] if not errors else []:
        try:
            readiness.probe(service)
        except ConfigurationError as error:
            errors.append(str(error))
    if errors:
        raise ConfigurationError("\n".join(dict.fromkeys(errors)))
    return Plan(contenders, workload, protocol, output, seed)


def _load_contender(spec: str, workload: Workload) -> PlannedContender:
    if external.is_external(spec):
        service = readiness.with_ready_path(external.load(spec), workload)
        return PlannedContender(label=service.name, spec=spec, service=service)
    profile = loader.load(spec)
    capacity = budget.ServerCapacity(MAX_CONNECTIONS, reserved=3, in_use=LAB_CONNECTIONS)
    if profile.behind_pooler:
        pgbouncer.executable()
    if not (needed := budget.budget(profile, capacity, pgbouncer.CAPACITY if profile.behind_pooler else None)).fits:
        explanation = f"{budget.describe(profile, needed)}; {budget.advice(profile, needed)}"
        raise ConfigurationError(f"profile {spec}: over the connection budget of the lab's database: {explanation}")
    return PlannedContender(label=profile.name, spec=spec, profile=profile)


def _unique_label(name: str, earlier: Sequence[PlannedContender]) -> str:
    """Return `name`, with ` #2` and so on appended if an earlier contender has the same name."""
    count = sum(contender.label.partition(" #")[0] == name for contender in earlier)
    return f"{name} #{count + 1}" if count else name


def _check_open_files(workload: Workload) -> None:
    if workload.clients + SPARE_FILES > (limit := open_file_limit()):
        raise ConfigurationError(
            f"concurrency: found {workload.clients} clients; allowed are at most {limit - SPARE_FILES} with a limit "
            f"of {limit} open files; raise the limit with `ulimit -n {workload.clients + SPARE_FILES}`"
        )


def open_file_limit() -> int:
    """Return the number of files that a process started here may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft
