from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bookstore.lab.record import samples
from bookstore.lab.record.run_record import Telemetry
from bookstore.lab.report import contender_view
from bookstore.lab.report import page as report

from .. import records


def test_invalid_rounds_are_not_drawn(tmp_path: Path) -> None:
    """Percentiles cover the measured requests of valid rounds, without warm-ups and invalid rounds."""
    run = records.make(tmp_path, rounds=3, invalid=(2,))
    read = partial(samples.read, tmp_path / run.id)
    view = contender_view.run_view(run, read).views[-1]
    counted = samples.concatenate([read(view.label, number).between(0, 6) for number in (1, 3)])
    assert view.latency[-1][1] == pytest.approx(np.max(counted.latency_ms), rel=1e-3)
    assert dict(view.latency)[0.9] == pytest.approx(
        np.quantile(counted.latency_ms, 0.9, method="inverted_cdf"), rel=1e-3
    )
    assert view.watched in {1, 3}
    assert view.seconds.at_s[0] < 0


def test_the_record_has_no_telemetry(tmp_path: Path) -> None:
    """The page's data has every round with its problems; telemetry is present only as lines."""
    run = records.make(tmp_path)
    data = contender_view.run_view(run, partial(samples.read, tmp_path / run.id))
    measured = [one for each in data.run.rounds for one in each.measurements]
    assert [one.problems for one in measured] == [one.problems for each in run.rounds for one in each.measurements]
    assert not any(one.telemetry.series for one in measured)
    view = data.views[0]
    assert [line.name for line in view.memory.lines] == [f"worker {pid}" for pid in records.WORKERS]
    assert view.most_sessions == 100
    assert {"active", "idle", "foreign"} <= {line.name for line in view.sessions.lines}


def test_service_metrics_come_from_the_inspection(tmp_path: Path) -> None:
    """Pool, event loop, garbage collector and the latency's components come from the inspection, or from the rounds if
    there was none."""
    run = records.make(tmp_path, rounds=3, invalid=())
    read = partial(samples.read, tmp_path / run.id)
    view = contender_view.run_view(run, read).views[0]
    assert view.is_inspected
    assert view.split == run.inspections[0].split
    assert view.pool_wait == run.inspections[0].pool_wait
    assert [line.name for line in view.loop.lines] == ["loop_lag_ms", "gc_pause_ms"]
    without = contender_view.run_view(msgspec.structs.replace(run, inspections=[]), read).views[0]
    assert not without.is_inspected
    assert without.pool.lines
    assert without.split != view.split
    failed = msgspec.structs.replace(run.inspections[0], telemetry=Telemetry())
    assert contender_view.run_view(msgspec.structs.replace(run, inspections=[failed]), read).views[0] == without


def test_without_samples_the_rest_is_drawn(tmp_path: Path) -> None:
    """If samples.parquet is missing, the page says so and has everything else."""
    run = records.make(tmp_path, rounds=2, invalid=())
    (tmp_path / run.id / samples.FILE).unlink()
    data = contender_view.run_view(run, partial(samples.read, tmp_path / run.id))
    assert samples.FILE in data.missing
    assert data.views[0].latency == []
    assert data.views[0].memory.lines


def test_a_page_of_four_profiles_and_eight_rounds_is_small(tmp_path: Path) -> None:
    """A page with libraries, style and data is smaller than 1.5 MB, with measurements of five minutes."""
    rates = {f"profile-{number}": 20.0 for number in range(4)}
    run = records.make(tmp_path, rates=rates, rounds=8, seconds=300, invalid=())
    page = report.page([(run, partial(samples.read, tmp_path / run.id))])
    assert len(page.encode()) < 1_500_000


def test_a_contender_without_a_valid_round(tmp_path: Path) -> None:
    """It has no throughput, and the page's data can be encoded."""
    run = records.make(tmp_path, rounds=2, invalid=(1, 2))
    data = contender_view.run_view(run, partial(samples.read, tmp_path / run.id))
    assert [one.profile for one in data.run.summary] == list(records.RATES)[:-1]
    assert data.views[-1].throughput is None
    assert msgspec.json.encode(data)
