"""A benchmark database with a small catalogue, and made-up run records."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

from bookstore.catalog import datasets
from bookstore.database import embedded, migrations
from bookstore.database.embedded import Cluster
from bookstore.database.url import conninfo
from bookstore.lab.analysis import summary
from bookstore.lab.record import run_record
from bookstore.lab.record.samples import Samples
from bookstore.lab.testbed.database import _SETTINGS, BenchmarkDatabase, benchmark_database, server_settings
from bookstore.lab.workload.spec import RequestSpec, Workload
from bookstore.reaper import Reaper

BOOKS = 60


@pytest.fixture(scope="session")
def reaper() -> Iterator[Reaper]:
    with Reaper() as reaper:
        yield reaper


@pytest.fixture(scope="session")
def lab(reaper: Reaper) -> Iterator[Cluster]:
    """The server that a comparison starts, with 60 books."""
    with embedded.temporary_cluster(reaper, {**_SETTINGS, **server_settings(writes=False)}) as cluster:
        migrations.upgrade(cluster.url().set(drivername="postgresql+psycopg"))
        with psycopg.connect(conninfo(cluster.url())) as connection:
            datasets.generate(connection, books=BOOKS, seed=1)
        yield cluster


@pytest.fixture
def library(lab: Cluster) -> sa.URL:
    return lab.url()


@pytest.fixture
def connection(lab: Cluster) -> Iterator[psycopg.Connection]:
    with psycopg.connect(conninfo(lab.url()), autocommit=True, application_name="bookstore-lab") as connection:
        yield connection


def make_measurement(
    profile: str, throughput_per_s: float, connections: int, statements: float
) -> run_record.Measurement:
    """Return a measurement with latencies of five clients at this throughput."""
    mean_ms = 5000 / throughput_per_s
    return run_record.Measurement(
        profile=profile,
        seconds=5.0,
        requests=round(5 * throughput_per_s),
        errors=0,
        throughput_per_s=throughput_per_s,
        p50_ms=mean_ms,
        p95_ms=2 * mean_ms,
        p99_ms=3 * mean_ms,
        p999_ms=4 * mean_ms,
        max_ms=5 * mean_ms,
        cpu_ms_per_request=1000 / throughput_per_s,
        statements_per_request=statements,
        pss_bytes=120_000_000,
        connections=connections,
        ceiling_per_s=4000.0,
        workers=[123],
    )


@pytest.fixture
def make_record() -> Callable[..., run_record.Run]:
    """Make a record of version 2 from throughputs (contender -> one figure per round); `problems` by (contender,
    round)."""

    def make(
        throughput: dict[str, list[float]],
        *,
        problems: dict[tuple[str, int], run_record.Problem] | None = None,
        keys: dict[str, dict[str, str]] | None = None,
        workload: Workload | None = None,
        costs: dict[str, tuple[int, float]] | None = None,
    ) -> run_record.Run:
        rounds = []
        for number in range(1, len(next(iter(throughput.values()))) + 1):
            measurements = []
            for label, figures in throughput.items():
                measurement = make_measurement(label, figures[number - 1], *(costs or {}).get(label, (5, 1.0)))
                problem = (problems or {}).get((label, number))
                measurements.append(msgspec.structs.replace(measurement, problems=[problem] if problem else []))
            rounds.append(run_record.Round(number, measurements))
        contenders = [
            run_record.Contender(label=label, spec=label, keys=(keys or {}).get(label, {"driver": label}))
            for label in throughput
        ]

        def samples(label: str, number: int) -> Samples:
            latency = np.linspace(1, 25_000 / throughput[label][number - 1], 101, dtype=np.float32)
            done = np.linspace(-1, 6, 101)
            return Samples(done, latency, latency, np.full(101, 200, np.int16), np.zeros(101, np.uint8))

        return run_record.Run(
            id="20260131T080000_one_two",
            started_at=datetime(2026, 1, 31, 8, tzinfo=UTC),
            seed=1,
            protocol=run_record.Protocol(min_rounds=6, max_rounds=15, precision_ratio=0.03),
            workload=workload
            or Workload(name="list-100", requests=[RequestSpec(name="list-100", path="/books?limit=100")]),
            catalogue=run_record.Catalogue("generated, seed 1", 60),
            machine=run_record.Machine("Linux", "cpu", 2, 8 * 2**30, "3.11.0", "18.0", {"litestar": "2.0"}),
            contenders=contenders,
            rounds=rounds,
            summary=summary.summarise(rounds, contenders, samples),
            steps=summary.steps(rounds, contenders),
        )

    return make


@pytest.fixture(scope="session")
def shared_database(reaper: Reaper) -> Iterator[BenchmarkDatabase]:
    """A benchmark database with 60 books for all runs of the session."""

    def fill(connection: psycopg.Connection) -> run_record.Catalogue:
        datasets.generate(connection, books=BOOKS, seed=1)
        return run_record.Catalogue("generated, seed 1", BOOKS)

    with benchmark_database(reaper, fill, writes=False) as database:
        yield database


@pytest.fixture
def ready_database(
    shared_database: BenchmarkDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BenchmarkDatabase]:
    """The shared database, which `run` uses instead of creating one, and a private lock, since other comparisons may
    run on this machine."""

    @contextmanager
    def existing(*_: object, **__: object) -> Iterator[BenchmarkDatabase]:
        yield shared_database

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr("bookstore.lab.testbed.local.benchmark_database", existing)
    yield shared_database
    leftovers = [path.name for path in (tmp_path / "temporary").iterdir() if path.suffix != ".lock"]
    assert leftovers == []
