"""Converts a run record of schema version 1 to version 2; figures that version 1 did not measure are null."""

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
    """Convert `record`, the decoded run.json of `folder`, and recompute its summary as of a run with a fixed number
    of rounds.

    Missing percentiles are computed from the folder's samples. Raises ConfigurationError if these cannot be read, and
    msgspec.ValidationError or KeyError if `record` is not a version 1 record.
    """
    old = msgspec.convert(record, _Run)
    workload = from_version_1(old.workload) if "path" in old.workload else msgspec.convert(old.workload, Workload)
    parts = samples(folder / FILE, workload.warm_up)
    counts = {summary.profile: summary.statements for summary in old.summary}
    rounds = [
        Round(
            each.number,
            [_measurement(measurement, each.number, workload, parts, counts) for measurement in each.measurements],
        )
        for each in old.rounds
    ]
    kind = workload.requests[0].name
    contenders = [
        Contender(label=label, spec=label, keys=keys, statements={kind: old.statements[label]})
        for label, keys in old.profiles.items()
    ]
    return Run(
        id=old.id,
        started_at=old.started_at,
        seed=old.seed,
        protocol=Protocol(min_rounds=len(rounds), max_rounds=len(rounds), precision_ratio=0.0),
        workload=workload,
        catalogue=old.catalogue,
        machine=old.machine,
        contenders=contenders,
        rounds=rounds,
        summary=summarise(rounds, contenders, lambda label, number: parts.get((label, number), empty())),
        steps=steps(rounds, contenders),
    )


def samples(path: Path, warm_up_s: float) -> _Parts:
    """Return the samples of each profile in each round; those of the warm-up are before 0 s."""
    rows: dict[tuple[str, int], list[tuple[float, float, int]]] = {}
    try:
        with gzip.open(path, "rt", newline="") as text:
            for row in csv.DictReader(text):
                key = row["profile"], int(row["round"])
                rows.setdefault(key, []).append((float(row["done_s"]), float(row["duration_ms"]), int(row["status"])))
    except (OSError, EOFError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from None
    parts: _Parts = {}
    for key, values in rows.items():
        done, took, status = (np.array(column) for column in zip(*values, strict=True))
        latency = took.astype(np.float32)
        parts[key] = Samples(
            done - warm_up_s, latency, latency, status.astype(np.int16), np.zeros(len(values), np.uint8)
        )
    return parts


def _measurement(
    old: _Measurement, number: int, workload: Workload, parts: _Parts, statements: dict[str, int]
) -> Measurement:
    measured = parts.get((old.profile, number), empty()).between(0, workload.duration)
    if len(measured) != old.requests:
        raise ConfigurationError(
            f"{FILE}: {old.profile}, round {number}: found {len(measured)} samples; {old.requests} were measured"
        )
    latencies = np.sort(measured.latency_ms)
    p95_ms, p999_ms = (round(percentile(latencies, share), 4) for share in (0.95, 0.999))  # rounded as in the old file
    kind = Kind(
        name=workload.requests[0].name, requests=old.requests, errors=old.errors,
        p50_ms=old.p50_ms, p95_ms=p95_ms, p99_ms=old.p99_ms, max_ms=old.max_ms,
    )  # fmt: skip
    return Measurement(
        profile=old.profile,
        warm_up_s=workload.warm_up,
        seconds=workload.duration,
        requests=old.requests,
        errors=old.errors,
        statuses={str(status): count for status, count in sorted(Counter(measured.status.tolist()).items())},
        throughput_per_s=old.throughput_per_s,
        p50_ms=old.p50_ms,
        p95_ms=p95_ms,
        p99_ms=old.p99_ms,
        p999_ms=p999_ms,
        max_ms=old.max_ms,
        kinds=[kind],
        statements_per_request=statements[old.profile],
        pss_bytes=max((reading.pss_bytes for reading in old.readings if reading.pss_bytes is not None), default=None),
        connections=max(
            (reading.connections for reading in old.readings if reading.connections is not None), default=None
        ),
        ceiling_per_s=old.ceiling_per_s,
        workers=old.workers,
        telemetry=_telemetry(old.readings, workload.warm_up),
    )


def _telemetry(readings: Sequence[_Reading], warm_up_s: float) -> Telemetry:
    idle = [_float(reading.idle_in_transaction) for reading in readings]
    others = [
        None if reading.connections is None or reading.idle_in_transaction is None
        else float(reading.connections - reading.idle_in_transaction)
        for reading in readings
    ]  # fmt: skip
    series = [
        Series("pss_bytes", "workers", [_float(reading.pss_bytes) for reading in readings]),
        Series("cpu_ratio", "workers", _cpu(readings)),
        Series("sessions_idle_in_transaction", "postgres", idle),
        Series("sessions_other", "postgres", others),
    ]
    return Telemetry([round(reading.at_s - warm_up_s, 3) for reading in readings], series)


def _cpu(readings: Sequence[_Reading]) -> list[float | None]:
    """Return the share of a core used since the previous reading; a gap if either reading has no CPU time."""
    shares: list[float | None] = [None] * min(1, len(readings))
    for before, after in pairwise(readings):
        if before.cpu_s is None or after.cpu_s is None or after.at_s <= before.at_s:
            shares.append(None)
        else:
            shares.append((after.cpu_s - before.cpu_s) / (after.at_s - before.at_s))
    return shares


def _float(value: int | None) -> float | None:
    return None if value is None else float(value)
