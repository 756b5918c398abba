"""Made-up run records for tests: random numbers that look like measurements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace

from bookstore.lab.analysis import summary
from bookstore.lab.record import samples
from bookstore.lab.record.run_record import (
    Catalogue,
    Contender,
    Generator,
    Histogram,
    HostActivity,
    Kind,
    Machine,
    Measurement,
    Problem,
    Protocol,
    Round,
    Run,
    Series,
    Split,
    Telemetry,
)
from bookstore.lab.record.samples import Samples
from bookstore.lab.workload import file as workload_file

RATES: Final = {"psycopg-sync-lazy": 24.0, "asyncpg-joined": 190.0, "asyncpg-json": 1100.0}
"""Requests per second of each made-up contender."""

WARM_UP_S: Final = 2.0
WORKERS: Final = (4101, 4102)
_STARTED: Final = datetime(2026, 1, 31, 8, tzinfo=UTC)
_BOUNDS_S: Final = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0]


def make(
    folder: Path,
    *,
    run_id: str = "20260131T080000_made-up",
    rates: dict[str, float] | None = None,
    rounds: int = 6,
    seconds: float = 6.0,
    clients: int = 5,
    asked: str = "list-100",
    invalid: Sequence[int] = (4,),
    watch: bool = True,
    cores: int = 2,
    day: int = 0,
) -> Run:
    """Create a run in `folder`/`run_id`: run.json and samples.parquet.

    In the `invalid` rounds another process kept the machine busy while the last contender was measured. With `watch`
    there are inspections too.
    """
    rates = rates or RATES
    home = folder / run_id
    home.mkdir(parents=True)
    rng = np.random.default_rng(7)
    done: list[Round] = []
    with samples.Writer(home) as writer:
        for number in range(1, rounds + 1):
            measurements = []
            for label in rng.permutation(list(rates)).tolist():
                drawn = _samples(rng, rates[label], seconds, clients)
                writer.add(number, label, drawn)
                is_bad = number in invalid and label == list(rates)[-1]
                measurements.append(_measurement(rng, label, drawn, seconds, clients, watch=watch, is_bad=is_bad))
            done.append(Round(number, measurements))
    contenders = [_contender(label) for label in rates]
    inspections = []
    for label in rates if watch else []:
        drawn = _samples(rng, rates[label], seconds, clients)
        inspections.append(_measurement(rng, label, drawn, seconds, clients, watch=True, is_bad=False))
    run = Run(
        id=run_id,
        started_at=_STARTED + timedelta(days=day),
        ended_at=_STARTED + timedelta(days=day, minutes=6),
        seed=7,
        protocol=Protocol(min_rounds=5, max_rounds=12, precision_ratio=0.03, watch=watch),
        workload=replace(workload_file.load(asked), concurrency=clients, duration=seconds, warm_up=WARM_UP_S),
        catalogue=Catalogue("generated, seed 1", 10_000),
        machine=Machine("Linux 6.1", "A CPU", cores, 8 * 2**30, "3.11.2", "18.1", {"litestar": "2.25.0"}),
        contenders=contenders,
        rounds=done,
        inspections=inspections,
        summary=summary.summarise(done, contenders, partial(samples.read, home)),
        steps=summary.steps(done, contenders),
    )
    store(run, folder)
    return run


def sweep(folder: Path, pool_sizes: Sequence[int] = (1, 2, 5, 10), clients: Sequence[int] = (1, 2, 5, 20, 50)) -> Run:
    """A sweep over two axes whose throughput follows the scalability law, except for the smallest pool, which is
    erratic."""
    cells = {
        f"asyncpg-json@pool_size={size} concurrency={count}": (size, count) for size in pool_sizes for count in clients
    }

    def rate(size: int, count: int) -> float:
        if size == min(pool_sizes):
            return 90.0 if count == clients[2] else 30.0
        return (40 + size) * count / (1 + 0.1 * (count - 1) + 0.002 * count * (count - 1))

    rates = {label: rate(*cell) for label, cell in cells.items()}
    run = make(folder, run_id="20260131T080000_sweep-made-up", rates=rates, rounds=2, seconds=3, invalid=(1,))
    contenders = [
        replace(
            contender,
            spec=contender.label.partition(" ")[0],
            keys=_contender("asyncpg-json").keys | {"pool_size": str(cells[contender.label][0])},
            load={"concurrency": float(cells[contender.label][1])},
        )
        for contender in run.contenders
    ]
    swept = replace(run, contenders=contenders, steps=summary.steps(run.rounds, contenders))
    store(swept, folder)
    return swept


def store(run: Run, folder: Path) -> Path:
    """Write the run's run.json below `folder` and return its folder."""
    home = folder / run.id
    home.mkdir(parents=True, exist_ok=True)
    (home / "run.json").write_bytes(msgspec.json.encode(run))
    return home


def _samples(rng: np.random.Generator, rate: float, seconds: float, clients: int) -> Samples:
    count = int(rate * (seconds + WARM_UP_S) * rng.normal(1, 0.02))
    done = np.sort(rng.uniform(-WARM_UP_S, seconds, count))
    latency = clients * 1000 / rate * rng.lognormal(-0.05, 0.28, count) * np.where(rng.random(count) < 0.008, 4, 1)
    latency = latency * np.where(done < -1, 1.8, 1)
    zeros = np.zeros(count)
    columns = (done, latency, latency * 0.98, np.full(count, 200), zeros)
    return Samples(*(column.astype(dtype) for column, dtype in zip(columns, samples.COLUMNS.values(), strict=True)))


def _measurement(
    rng: np.random.Generator, label: str, drawn: Samples, seconds: float, clients: int, *, watch: bool, is_bad: bool
) -> Measurement:
    kept = drawn.between(0, seconds)
    p50, p95, p99, p999 = (float(value) for value in np.quantile(kept.latency_ms, [0.5, 0.95, 0.99, 0.999]))
    mean = float(kept.latency_ms.mean())
    parts = [mean * share for share in ((0.05, 0.45, 0.1, 0.35) if "json" not in label else (0.1, 0.7, 0.02, 0.08))]
    pool_wait, database, serialisation, python = parts
    split = Split(mean, pool_wait, database, serialisation, python, mean - sum(parts))
    weights = rng.dirichlet(np.linspace(8, 0.2, len(_BOUNDS_S) + 1)) * len(kept)
    reason = "others used 31 % of the CPUs; allowed is 5 %: stop other programs on this machine"
    return Measurement(
        profile=label,
        problems=[Problem("machine_busy", reason)] if is_bad else [],
        started_at=_STARTED,
        warm_up_s=WARM_UP_S,
        seconds=seconds,
        requests=len(kept),
        errors=0,
        statuses={"200": len(kept)},
        throughput_per_s=len(kept) / seconds * (0.7 if is_bad else 1),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        p999_ms=p999,
        max_ms=float(kept.latency_ms.max()),
        kinds=[Kind("list-100", len(kept), 0, p50, p95, p99, float(kept.latency_ms.max()))],
        cpu_ms_per_request=0.8 * mean / clients,
        database_cpu_ms_per_request=0.3 * mean / clients,
        database_ms_per_request=database,
        statements_per_request=201.0 if "lazy" in label else 1.0,
        rows_per_request=100.0,
        pss_bytes=int(rng.normal(180e6, 2e6)) if watch else None,
        connections=clients if watch else None,
        ceiling_per_s=3700.0 if "json" in label else 900.0,
        split=split if watch else None,
        pool_wait=Histogram(_BOUNDS_S, [int(weight) for weight in weights], 1.0) if watch else None,
        pool_timeouts=0 if watch else None,
        workers=list(WORKERS),
        generator=Generator(cpu_ratio=0.2),
        quiet=HostActivity(0.0, 0.31 if is_bad else 0.01, 0.02, 1.4, 0.0),
        telemetry=_telemetry(rng, label, seconds, clients) if watch else Telemetry(),
    )


def _telemetry(rng: np.random.Generator, label: str, seconds: float, clients: int) -> Telemetry:
    at = np.arange(-WARM_UP_S, seconds, 0.25)
    warm = np.clip((at + WARM_UP_S) / 3, 0, 1)
    series: list[Series] = []

    def add(name: str, of: str, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
        figures: list[float | None] = [float(value) for value in values]
        if name != "max_connections":
            figures[11] = None  # a failed sample
        series.append(Series(name, of, figures))

    size = len(at)
    for pid in WORKERS:
        growth = 30e6 * warm + (9e6 * at if "lazy" in label else 0)
        add("pss_bytes", f"worker {pid}", 70e6 + growth + rng.normal(0, 4e5, size))
        add("cpu_ratio", f"worker {pid}", np.clip(0.7 * warm + rng.normal(0, 0.05, size), 0, 1))
    out = np.clip(rng.poisson(clients * 0.6, size), 0, clients).astype(float)
    add("pool_checked_out", "workers", out)
    add("pool_waiting", "workers", np.clip(rng.poisson(1.0, size), 0, clients).astype(float))
    add("cpu_ratio", "workers", np.clip(1.3 * warm + rng.normal(0, 0.06, size), 0, 2))
    add("loop_lag_ms", "workers", rng.exponential(2, size))
    add("gc_pause_ms", "workers", rng.exponential(0.5, size))
    add("sessions_active", "postgres", np.clip(rng.poisson(2.0, size), 0, clients).astype(float))
    add("sessions_idle", "postgres", np.full(size, float(clients)))
    add("sessions_idle_in_transaction", "postgres", rng.poisson(0.5, size).astype(float))
    add("sessions_other", "postgres", np.zeros(size))
    add("sessions_foreign", "postgres", np.ones(size))
    add("max_connections", "postgres", np.full(size, 100.0))
    add("cpu_ratio", "postgres", np.clip(0.4 * warm + rng.normal(0, 0.04, size), 0, 2))
    add("cpu_ratio", "load", np.clip(0.15 * warm + rng.normal(0, 0.02, size), 0, 1))
    add("others_ratio", "machine", np.clip(rng.normal(0.01, 0.004, size), 0, 1))
    return Telemetry([float(value) for value in at], series)


def _contender(label: str) -> Contender:
    keys = {
        "driver": "psycopg-sync" if label.startswith("psycopg") else "asyncpg",
        "loading": label.rsplit("-", 1)[-1],
        "pool_size": "5",
        "max_overflow": "0",
        "workers": "2",
        "gc": "freeze",
    }
    return Contender(label=label, spec=label, keys=keys, statements={"list-100": ["SELECT id, title FROM book"]})


def measured(profile: str, *, requests: int = 100, split: Split | None = None) -> Measurement:
    """A measurement with only the required fields."""
    return Measurement(
        profile=profile,
        seconds=1.0,
        requests=requests,
        errors=0,
        throughput_per_s=float(requests),
        p50_ms=1.0,
        p95_ms=2.0,
        p99_ms=3.0,
        p999_ms=4.0,
        max_ms=5.0,
        split=split,
    )
