"""One contender in one round: a fresh database, a deployment, warm-up, measured load, and nothing left."""

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
"""How long the database may know sessions of a service that has ended."""

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
    """Deploys `contender`, has it verified and measures it. `seed` draws the keys: with the same one each contender is
    asked the same. With `inspect` the service tells about itself, at some cost. A service that dies under the load
    makes an invalid measurement. Raises InvalidMeasurement where there is no service to measure, or none to measure
    with."""
    workload = workload_for(contender, workload)
    tick("starts", 0)
    testbed.database.restore()
    presented, token = _token(contender, workload)
    with testbed.deploy(contender, token, inspect=inspect) as deployment:
        workers = deployment.verify_identity()
        verify(deployment)
        target = Target(deployment.base, testbed.database.ids, presented)
        with _watcher(deployment, workers, contender, testbed, protocol.watch) as watcher:
            sent = k9.send(
                workload, target, testbed.folder, testbed.reaper, tick, seed=seed,
                pid=lambda pid: setattr(watcher, "load_pid", pid) if watcher else None,
            )  # fmt: skip
        workers_after = _surviving_workers(deployment)
    problems = []
    if not wait_until(lambda: testbed.database.sessions() == 0, QUIET_WITHIN_S):
        problems.append(
            Problem("not_quiet", f"{testbed.database.sessions()} database connections outlived the service")
        )
    problems += [Problem("not_quiet", f"{it} outlived the service") for it in testbed.leftovers()]
    measurement = _measurement(contender, workload, protocol, sent, workers, workers_after, watcher)
    problems = [*measurement.problems, *problems]
    began_at = datetime.now(UTC) - timedelta(seconds=time.monotonic() - sent.began_s)
    measurement = msgspec.structs.replace(measurement, started_at=began_at, problems=problems)
    return MeasurementResult(measurement, sent.samples, watcher.cost if watcher else None)


def no_measurement(label: str, problem: Problem) -> MeasurementResult:
    """A measurement that did not come about."""
    measurement = Measurement(
        profile=label, problems=[problem], started_at=run_record.now(), seconds=0, requests=0, errors=0,
        throughput_per_s=0, p50_ms=0, p95_ms=0, p99_ms=0, p999_ms=0, max_ms=0,
    )  # fmt: skip
    return MeasurementResult(measurement, empty(), None)


def workload_for(contender: PlannedContender, workload: Workload) -> Workload:
    """The workload with another service's own paths, and with this contender's own load."""
    paths = contender.service.requests if contender.service else {}
    workload = with_values(workload, contender.load) if contender.load else workload
    asks = [msgspec.structs.replace(ask, path=paths.get(ask.name, ask.path)) for ask in workload.requests]
    return msgspec.structs.replace(workload, requests=asks)


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
            postmaster=testbed.database.server.pid(),
            database=DATABASE,
            metrics_url=deployment.metrics_url,
            beside=[deployment.pooler.pid] if deployment.pooler else [],
            named=contender.service is None,
        ) as watcher,
    ):
        yield watcher


def _token(contender: PlannedContender, workload: Workload) -> tuple[str, Token] | tuple[None, None]:
    """A token for what the workload writes, as it is presented and as the service knows it."""
    if not workload.writes or contender.service:
        return None, None
    return tokens.make("lab", (tokens.CATALOG_WRITE,), run_record.now().date())


def _surviving_workers(deployment: Deployment) -> list[int] | None:
    """The workers' pids; None where the service is gone."""
    try:
        return deployment.verify_identity()
    except DeploymentError:
        return None


def _measurement(
    contender: PlannedContender,
    workload: Workload,
    protocol: Protocol,
    sent: LoadResult,
    workers: list[int],
    workers_after: list[int] | None,
    watcher: Watcher | None,
) -> Measurement:
    seconds = workload.duration
    begin_s, end_s = sent.began_s, sent.began_s + seconds
    counted = sent.samples.measured(seconds, workload.model)
    good = int(counted.ok.sum())
    ordered = np.sort(counted.latency_ms)
    mean_ms = float(ordered.mean()) if len(ordered) else None

    def answered(from_s: float, to_s: float) -> int:
        return len(sent.samples.between(from_s - begin_s, to_s - begin_s))

    usage = watcher.usage(begin_s, end_s, answered, mean_ms) if watcher else Usage()
    quiet = watcher.host_activity(begin_s, end_s) if watcher else HostActivity()
    p50, p95, p99, p999, most = (percentile(ordered, q) if len(ordered) else 0.0 for q in (0.5, 0.95, 0.99, 0.999, 1))
    statuses, counts = np.unique(counted.status, return_counts=True)
    found = validity.problems(
        requests=len(counted),
        errors=len(counted) - good,
        most_errors_ratio=protocol.most_errors_ratio,
        steady=sent.steady,
        generator=sent.generator,
        model=workload.model,
        quiet=quiet,
        cores=os.cpu_count() or 1,
        workers_before=workers,
        workers_after=workers_after,
    )
    borne = {"machine_busy"} if protocol.allow_busy else set()
    return Measurement(
        profile=contender.label,
        problems=[one for one in found if one.code not in borne],
        warnings=[one for one in found if one.code in borne],
        warm_up_s=sent.warm_up_s,
        seconds=seconds,
        requests=len(counted),
        errors=len(counted) - good,
        statuses={str(status): int(count) for status, count in zip(statuses, counts, strict=True)},
        throughput_per_s=good / seconds,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        p999_ms=p999,
        max_ms=most,
        kinds=_kind_statistics(workload, counted),
        workers=workers,
        generator=sent.generator,
        quiet=quiet,
        telemetry=watcher.telemetry(begin_s, sent.samples) if watcher else Telemetry(),
        **msgspec.structs.asdict(usage),
    )


def _kind_statistics(workload: Workload, counted: Samples) -> list[Kind]:
    kinds = []
    for index, ask in enumerate(workload.requests):
        mine = counted.where(counted.kind == index)
        if not len(mine):
            continue
        ordered = np.sort(mine.latency_ms)
        p50, p95, p99, most = (percentile(ordered, q) for q in (0.5, 0.95, 0.99, 1))
        errors = len(mine) - int(mine.ok.sum())
        kinds.append(Kind(ask.name, len(mine), errors, p50, p95, p99, most))
    return kinds
