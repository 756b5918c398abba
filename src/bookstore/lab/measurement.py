"""One measurement: a contender in one round, on a fresh database, with warm-up, measured load and cleanup."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import numpy as np

from bookstore.auth import tokens
from bookstore.auth.tokens import Token
from bookstore.lab.analysis import validity
from bookstore.lab.analysis.statistics import percentile
from bookstore.lab.load import k9
from bookstore.lab.load.k9 import LoadResult, Target
from bookstore.lab.record import run_record
from bookstore.lab.record.run_record import HostActivity, Kind, Measurement, Problem, Protocol, Telemetry
from bookstore.lab.record.samples import Samples, empty
from bookstore.lab.telemetry.usage import Usage
from bookstore.lab.telemetry.watcher import Cost, Watcher
from bookstore.lab.testbed.contender import PlannedContender
from bookstore.lab.testbed.database import DATABASE
from bookstore.lab.testbed.deployment import Deployment, DeploymentError
from bookstore.lab.testbed.process import wait_until
from bookstore.lab.testbed.testbed import Testbed
from bookstore.lab.workload.file import with_values
from bookstore.lab.workload.spec import Workload

QUIET_WITHIN_S: Final = 10
"""Seconds that the database's sessions may outlast a stopped service."""

Tick = Callable[[str, float], None]
Verify = Callable[[Deployment], None]


class MeasurementResult(NamedTuple):
    measurement: Measurement
    samples: Samples
    cost: Cost | None


def measure(
    contender: PlannedContender,
    workload: Workload,
    protocol: Protocol,
    testbed: Testbed,
    seed: int,
    verify: Verify,
    tick: Tick,
    *,
    inspect: bool = False,
) -> MeasurementResult:
    """Deploy `contender`, call `verify` on it, load it and return the measurement.

    `seed` draws the book ids; the same seed sends every contender the same requests. `inspect` enables the service's
    own metrics, which costs some throughput. A service that dies under load yields a measurement with problems. Raises
    InvalidMeasurement if the service cannot be deployed or verified, or if the load generator fails.
    """
    workload = workload_for(contender, workload)
    tick("starting", 0)
    testbed.database.restore()
    presented, token = _token(contender, workload)
    with testbed.deploy(contender, token, inspect=inspect) as deployment:
        workers = deployment.verify_identity()
        verify(deployment)
        target = Target(deployment.base, testbed.database.ids, presented)
        with _watcher(deployment, workers, contender, testbed, protocol.watch) as watcher:
            load = k9.send(
                workload, target, testbed.folder, testbed.reaper, tick, seed=seed,
                on_pid=lambda pid: setattr(watcher, "load_pid", pid) if watcher else None,
            )  # fmt: skip
        workers_after = _surviving_workers(deployment)
    problems = []
    if not wait_until(lambda: testbed.database.sessions() == 0, QUIET_WITHIN_S):
        problems.append(
            Problem(
                "not_quiet", f"{testbed.database.sessions()} database connections remained after the service stopped"
            )
        )
    problems += [Problem("not_quiet", f"{name} remained after the service stopped") for name in testbed.leftovers()]
    measurement = _measurement(contender, workload, protocol, load, workers, workers_after, watcher)
    problems = [*measurement.problems, *problems]
    began_at = datetime.now(UTC) - timedelta(seconds=time.monotonic() - load.began_s)
    measurement = msgspec.structs.replace(measurement, started_at=began_at, problems=problems)
    return MeasurementResult(measurement, load.samples, watcher.cost if watcher else None)


def no_measurement(label: str, problem: Problem) -> MeasurementResult:
    """Return an empty measurement that carries `problem`, for a round in which nothing was measured."""
    measurement = Measurement(
        profile=label, problems=[problem], started_at=run_record.now(), seconds=0, requests=0, errors=0,
        throughput_per_s=0, p50_ms=0, p95_ms=0, p99_ms=0, p999_ms=0, max_ms=0,
    )  # fmt: skip
    return MeasurementResult(measurement, empty(), None)


def workload_for(contender: PlannedContender, workload: Workload) -> Workload:
    """Return the workload with this contender's own load, and an external service's own paths."""
    paths = contender.service.requests if contender.service else {}
    workload = with_values(workload, contender.load) if contender.load else workload
    requests = [
        msgspec.structs.replace(request, path=paths.get(request.name, request.path)) for request in workload.requests
    ]
    return msgspec.structs.replace(workload, requests=requests)


@contextmanager
def _watcher(
    deployment: Deployment, workers: list[int], contender: PlannedContender, testbed: Testbed, watch: bool
) -> Iterator[Watcher | None]:
    if not watch:
        yield None
        return
    with (
        testbed.database.connect() as connection,
        Watcher(
            workers,
            own_pids={pid: deployment.own_pid(pid) for pid in workers},
            connection=connection,
            postmaster=testbed.database.server.pid(),  # the lab's, which is no interference
            database=DATABASE if contender.uses_database else None,
            metrics_url=deployment.metrics_url,
            beside=[deployment.pooler.pid] if deployment.pooler else [],
            named=contender.service is None,
        ) as watcher,
    ):
        yield watcher


def _token(contender: PlannedContender, workload: Workload) -> tuple[str, Token] | tuple[None, None]:
    """Return a write token as sent in requests and as stored by the service, if the workload writes."""
    if not workload.writes or contender.service:
        return None, None
    return tokens.create("lab", (tokens.CATALOG_WRITE,), run_record.now().date())


def _surviving_workers(deployment: Deployment) -> list[int] | None:
    """Return the workers' pids, or None if the service has stopped."""
    try:
        return deployment.verify_identity()
    except DeploymentError:
        return None


def _measurement(
    contender: PlannedContender,
    workload: Workload,
    protocol: Protocol,
    load: LoadResult,
    workers: list[int],
    workers_after: list[int] | None,
    watcher: Watcher | None,
) -> Measurement:
    seconds = workload.duration
    begin_s, end_s = load.began_s, load.began_s + seconds
    counted = load.samples.measured(seconds, workload.model)
    successes = int(counted.ok.sum())
    ordered = np.sort(counted.latency_ms)
    mean_ms = float(ordered.mean()) if len(ordered) else None

    def count_answers(from_s: float, to_s: float) -> int:
        return len(load.samples.between(from_s - begin_s, to_s - begin_s))

    usage = watcher.usage(begin_s, end_s, count_answers, mean_ms) if watcher else Usage()
    if not contender.uses_database:
        usage = msgspec.structs.replace(usage, database_cpu_ms_per_request=None)
    host_activity = watcher.host_activity(begin_s, end_s) if watcher else HostActivity()
    p50, p95, p99, p999, maximum = (
        percentile(ordered, q) if len(ordered) else 0.0 for q in (0.5, 0.95, 0.99, 0.999, 1)
    )
    statuses, counts = np.unique(counted.status, return_counts=True)
    problems = validity.problems(
        requests=len(counted),
        errors=len(counted) - successes,
        most_errors_ratio=protocol.most_errors_ratio,
        steady=load.steady,
        generator=load.generator,
        model=workload.model,
        quiet=host_activity,
        cores=os.cpu_count() or 1,
        workers_before=workers,
        workers_after=workers_after,
    )
    tolerated = {"machine_busy"} if protocol.allow_busy else set()
    return Measurement(
        profile=contender.label,
        problems=[problem for problem in problems if problem.code not in tolerated],
        warnings=[problem for problem in problems if problem.code in tolerated],
        warm_up_s=load.warm_up_s,
        seconds=seconds,
        requests=len(counted),
        errors=len(counted) - successes,
        statuses={str(status): int(count) for status, count in zip(statuses, counts, strict=True)},
        throughput_per_s=successes / seconds,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        p999_ms=p999,
        max_ms=maximum,
        kinds=_kind_statistics(workload, counted),
        workers=workers,
        generator=load.generator,
        quiet=host_activity,
        telemetry=watcher.telemetry(begin_s, load.samples) if watcher else Telemetry(),
        **msgspec.structs.asdict(usage),
    )


def _kind_statistics(workload: Workload, counted: Samples) -> list[Kind]:
    kinds = []
    for index, request in enumerate(workload.requests):
        samples = counted.where(counted.kind == index)
        if not len(samples):
            continue
        ordered = np.sort(samples.latency_ms)
        p50, p95, p99, maximum = (percentile(ordered, q) for q in (0.5, 0.95, 0.99, 1))
        errors = len(samples) - int(samples.ok.sum())
        kinds.append(Kind(request.name, len(samples), errors, p50, p95, p99, maximum))
    return kinds
