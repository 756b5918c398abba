"""Partial runs: measurements are on disk at once, and are not a run until complete."""

from __future__ import annotations

import resource
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.record import samples
from bookstore.lab.record.run_record import Catalogue, Contender, Machine, Measurement, Protocol, Round, Run
from bookstore.lab.record.samples import Samples
from bookstore.lab.storage import runs
from bookstore.lab.storage.partial_run import PartialRun
from bookstore.lab.workload.spec import RequestSpec, Workload

LABELS = ["asyncpg-json", "../x @k=v #2"]


def measured(label: str, figure: float = 100.0) -> Measurement:
    return Measurement(
        profile=label, seconds=1, requests=50, errors=0, throughput_per_s=figure,
        p50_ms=1, p95_ms=2, p99_ms=3, p999_ms=4, max_ms=5,
    )  # fmt: skip


def sampled(seed: int, count: int = 50) -> Samples:
    random = np.random.default_rng(seed)
    figures = random.lognormal(1, 0.5, count).astype(np.float32)
    status, kind = np.full(count, 200, np.int16), np.zeros(count, np.uint8)
    return Samples(np.sort(random.uniform(0, 1, count)), figures, figures, status, kind)


def record(partial_run: PartialRun, numbers: list[int] | None = None) -> Run:
    numbers = numbers or sorted({number for number, _ in partial_run.done})
    return Run(
        id=partial_run.run_id,
        started_at=datetime(2026, 1, 31, 8, tzinfo=UTC),
        seed=1,
        protocol=Protocol(min_rounds=1, max_rounds=2, precision_ratio=0.03),
        workload=Workload(name="list-100", requests=[RequestSpec(name="list", path="/books?limit=100")]),
        catalogue=Catalogue("generated, seed 1", 60),
        machine=Machine("Linux", "cpu", 2, 8 * 2**30, "3.11.0", "18.0", {}),
        contenders=[Contender(label=label, spec=label) for label in LABELS],
        rounds=[Round(number, [partial_run.done[number, label] for label in LABELS]) for number in numbers],
        summary=[],
    )


def fill(partial_run: PartialRun) -> None:
    for number in (1, 2):
        for label in LABELS:
            partial_run.add(number, measured(label), sampled(number))


def test_a_finished_partial_run_is_a_run(tmp_path: Path) -> None:
    """The parts are joined in the order of measurement, and nothing else is left."""
    with PartialRun(tmp_path, "one") as partial_run:
        fill(partial_run)
        assert np.array_equal(partial_run.read(LABELS[1], 2).latency_ms, sampled(2).latency_ms)
        assert runs.list_runs(tmp_path) == []
        file = partial_run.finish(record(partial_run))
    assert runs.list_runs(tmp_path) == [tmp_path / "one"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["latencies.hlog", "run.json", samples.FILE]
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert runs.read(file).rounds[1].measurements[1].profile == LABELS[1]
    assert len(samples.read(tmp_path / "one")) == 200
    assert np.array_equal(samples.read(tmp_path / "one", LABELS[0], 1).latency_ms, sampled(1).latency_ms)


def test_an_unfinished_partial_run_is_removed(tmp_path: Path) -> None:
    """An unfinished comparison leaves nothing behind."""
    with PartialRun(tmp_path, "one") as partial_run:
        fill(partial_run)
    assert list(tmp_path.iterdir()) == []


def test_a_partial_run_is_resumed(tmp_path: Path) -> None:
    """Stored measurements are found again, incomplete ones are not."""
    with PartialRun(tmp_path, "sweep", resume=True) as partial_run:
        partial_run.add(1, measured(LABELS[0], 123.0), sampled(7))
        partial_run.add(1, measured(LABELS[1]), sampled(8))
        partial_run.add_statements(LABELS[0], {"list": ["SELECT 1"]})
    broken = next(partial_run.folder.glob("0001-*/measurement.json"))
    lost = LABELS[0] if b"123.0" in broken.read_bytes() else LABELS[1]
    broken.rename(broken.with_suffix(".new"))
    assert runs.list_runs(tmp_path) == []
    with PartialRun(tmp_path, "sweep", resume=True) as again:
        assert set(again.done) == {(1, label) for label in LABELS if label != lost}
        assert again.statements == {LABELS[0]: {"list": ["SELECT 1"]}}
        again.add(1, measured(lost), sampled(9))
        again.finish(record(again))
    assert len(samples.read(tmp_path / "sweep")) == 100


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """The error on a full disk names the path; earlier runs are unchanged, and no partial file is left."""
    with PartialRun(tmp_path, "before") as partial_run:
        fill(partial_run)
        partial_run.finish(record(partial_run))
    before = {path: path.read_bytes() for path in (tmp_path / "before").iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with PartialRun(tmp_path, "now") as now:
        fill(now)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
        try:
            with pytest.raises(InvalidMeasurement, match=r"now: cannot be written: .+; the measurement is lost"):
                now.add(3, measured(LABELS[0]), sampled(3, 10_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["before"]
    assert {path: path.read_bytes() for path in (tmp_path / "before").iterdir()} == before


def test_an_incomplete_round_is_dropped(tmp_path: Path) -> None:
    """Measurements of an incomplete round are neither in the record nor in the samples."""
    with PartialRun(tmp_path, "one") as partial_run:
        fill(partial_run)
        partial_run.add(3, measured(LABELS[0]), sampled(3))
        stored = record(partial_run, [1, 2])
        partial_run.finish(stored)
    assert len(samples.read(tmp_path / "one")) == 200
    assert len(samples.read(tmp_path / "one", LABELS[0], 3)) == 0
    assert not list((tmp_path / "one").glob("000*"))


def test_a_sweep_that_cannot_be_finished_keeps_what_it_has(tmp_path: Path) -> None:
    """If the record itself cannot be written, the measurements are kept for the next attempt."""
    with PartialRun(tmp_path, "sweep", resume=True) as partial_run:
        fill(partial_run)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
        try:
            with pytest.raises(InvalidMeasurement, match="sweep: cannot be written"):
                partial_run.finish(record(partial_run))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert runs.list_runs(tmp_path) == []
    with PartialRun(tmp_path, "sweep", resume=True) as again:
        assert len(again.done) == 4
        again.finish(record(again))
    assert len(samples.read(tmp_path / "sweep")) == 200
