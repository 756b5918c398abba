"""A run record of schema version 1 as one of version 2. What was not measured then is null."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from bookstore.exceptions import ConfigurationError
from bookstore.lab.analysis.statistics import percentile
from bookstore.lab.analysis.summary import steps, summarise
from bookstore.lab.record.run_record import (
    Catalogue,
    Contender,
    Kind,
    Machine,
    Measurement,
    Protocol,
    Round,
    Run,
    Series,
    Telemetry,
)
from bookstore.lab.record.samples import Samples, empty
from bookstore.lab.workload.spec import Workload, from_version_1

FILE: Final = "samples.csv.gz"

_Parts = dict[tuple[str, int], Samples]


class _Reading(msgspec.Struct):
    at_s: float
    pss_bytes: int | None
    cpu_s: float | None
    connections: int | None
    idle_in_transaction: int | None


class _Measurement(msgspec.Struct):
    profile: str
    requests: int
    errors: int
    throughput_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    ceiling_per_s: float
    workers: list[int]
    readings: list[_Reading]


class _Round(msgspec.Struct):
    number: int
    measurements: list[_Measurement]


class _Summary(msgspec.Struct):
    profile: str
    statements: int


class _Run(msgspec.Struct):
    id: str
    started_at: datetime
    seed: int
    workload: dict[str, Any]
    catalogue: Catalogue
    machine: Machine
    profiles: dict[str, dict[str, str]]
    statements: dict[str, list[str]]
    rounds: list[_Round]
    summary: list[_Summary]


def convert(record: dict[str, Any], folder: Path) -> Run:
    """`record` is the decoded run.json of `folder`, whose samples have the percentiles that it lacks. Judged anew, as a
    run of a fixed number of rounds. Raises ConfigurationError for samples that cannot be read, and
    msgspec.ValidationError or KeyError for what is no such record."""
    old = msgspec.convert(record, _Run)
    load = from_version_1(old.workload) if "path" in old.workload else msgspec.convert(old.workload, Workload)
    parts = samples(folder / FILE, load.warm_up)
    counts = {one.profile: one.statements for one in old.summary}
    rounds = [
        Round(each.number, [_measurement(one, each.number, load, parts, counts) for one in each.measurements])
        for each in old.rounds
    ]
    kind = load.requests[0].name
    contenders = [
        Contender(label=label, spec=label, keys=keys, statements={kind: old.statements[label]})
        for label, keys in old.profiles.items()
    ]
    return Run(
        id=old.id,
        started_at=old.started_at,
        seed=old.seed,
        protocol=Protocol(min_rounds=len(rounds), max_rounds=len(rounds), precision_ratio=0.0),
        workload=load,
        catalogue=old.catalogue,
        machine=old.machine,
        contenders=contenders,
        rounds=rounds,
        summary=summarise(rounds, contenders, lambda label, number: parts.get((label, number), empty())),
        steps=steps(rounds, contenders),
    )


def samples(path: Path, warm_up_s: float) -> _Parts:
    """The samples of each profile in each round; the warm-up's come before 0 s."""
    rows: dict[tuple[str, int], list[tuple[float, float, int]]] = {}
    try:
        with gzip.open(path, "rt", newline="") as text:
            for row in csv.DictReader(text):
                key = row["profile"], int(row["round"])
                rows.setdefault(key, []).append((float(row["done_s"]), float(row["duration_ms"]), int(row["status"])))
    except (OSError, EOFError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from None
    parts: _Parts = {}
    for key, found in rows.items():
        done, took, status = (np.array(column) for column in zip(*found, strict=True))
        latency = took.astype(np.float32)
        parts[key] = Samples(
            done - warm_up_s, latency, latency, status.astype(np.int16), np.zeros(len(found), np.uint8)
        )
    return parts


def _measurement(
    old: _Measurement, number: int, load: Workload, parts: _Parts, statements: dict[str, int]
) -> Measurement:
    it = parts.get((old.profile, number), empty()).between(0, load.duration)
    if len(it) != old.requests:
        raise ConfigurationError(
            f"{FILE}: {old.profile}, round {number}: found {len(it)} samples; {old.requests} were measured"
        )
    latencies = np.sort(it.latency_ms)
    p95_ms, p999_ms = (round(percentile(latencies, share), 4) for share in (0.95, 0.999))  # as many as in the old file
    kind = Kind(
        name=load.requests[0].name, requests=old.requests, errors=old.errors,
        p50_ms=old.p50_ms, p95_ms=p95_ms, p99_ms=old.p99_ms, max_ms=old.max_ms,
    )  # fmt: skip
    return Measurement(
        profile=old.profile,
        warm_up_s=load.warm_up,
        seconds=load.duration,
        requests=old.requests,
        errors=old.errors,
        statuses={str(status): count for status, count in sorted(Counter(it.status.tolist()).items())},
        throughput_per_s=old.throughput_per_s,
        p50_ms=old.p50_ms,
        p95_ms=p95_ms,
        p99_ms=old.p99_ms,
        p999_ms=p999_ms,
        max_ms=old.max_ms,
        kinds=[kind],
        statements_per_request=statements[old.profile],
        pss_bytes=max((one.pss_bytes for one in old.readings if one.pss_bytes is not None), default=None),
        connections=max((one.connections for one in old.readings if one.connections is not None), default=None),
        ceiling_per_s=old.ceiling_per_s,
        workers=old.workers,
        telemetry=_telemetry(old.readings, load.warm_up),
    )


def _telemetry(readings: Sequence[_Reading], warm_up_s: float) -> Telemetry:
    idle = [_float(one.idle_in_transaction) for one in readings]
    others = [
        None if one.connections is None or one.idle_in_transaction is None
        else float(one.connections - one.idle_in_transaction)
        for one in readings
    ]  # fmt: skip
    series = [
        Series("pss_bytes", "workers", [_float(one.pss_bytes) for one in readings]),
        Series("cpu_ratio", "workers", _cpu(readings)),
        Series("sessions_idle_in_transaction", "postgres", idle),
        Series("sessions_other", "postgres", others),
    ]
    return Telemetry([round(one.at_s - warm_up_s, 3) for one in readings], series)


def _cpu(readings: Sequence[_Reading]) -> list[float | None]:
    """The share of a core since the reading before; a gap where one of the two has none."""
    shares: list[float | None] = [None] * min(1, len(readings))
    for before, after in pairwise(readings):
        if before.cpu_s is None or after.cpu_s is None or after.at_s <= before.at_s:
            shares.append(None)
        else:
            shares.append((after.cpu_s - before.cpu_s) / (after.at_s - before.at_s))
    return shares


def _float(value: int | None) -> float | None:
    return None if value is None else float(value)
