"""The data of a sweep's page."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from bookstore.lab.record import samples
from bookstore.lab.report import contender_view
from bookstore.lab.report import page as report
from bookstore.lab.report.sweep_view import sweep

from .. import records


def test_the_best_cell_of_each_variant_has_a_view(tmp_path: Path) -> None:
    """Of 20 cells, four have a view and all have a throughput; the effects of single keys are omitted."""
    run = records.sweep(tmp_path)
    data = contender_view.run_view(run, partial(samples.read, tmp_path / run.id))
    assert data.sweep
    assert [view.label for view in data.views] == data.sweep.chosen
    assert [label.split()[0].rpartition("=")[2] for label in data.sweep.chosen] == ["1", "2", "5", "10"]
    assert data.sweep.best == "asyncpg-json@pool_size=10 concurrency=20"
    assert len(data.sweep.throughput) == 20
    assert [law.variant for law in data.sweep.laws if law.fit.is_poor] == ["pool_size=1"]
    assert run.steps
    assert not data.run.steps


def test_a_single_variant_has_three_views(tmp_path: Path) -> None:
    """A sweep over concurrency only has views of the first, the best and the last cell."""
    run = records.sweep(tmp_path, pool_sizes=(10, 5), clients=(1, 2, 5, 20, 50))
    ten = [one for one in run.contenders if "pool_size=10" in one.label]
    found = sweep(msgspec.structs.replace(run, contenders=ten, summary=run.summary[:5]))
    assert found
    assert [label.rpartition("=")[2] for label in found.chosen] == ["1", "20", "50"]


def test_a_comparison_has_no_sweep(tmp_path: Path) -> None:
    """A comparison of profiles is not a sweep."""
    assert sweep(records.make(tmp_path, rounds=1, invalid=())) is None


def test_the_page_of_a_large_sweep_stays_small(tmp_path: Path) -> None:
    """Only a few cells have telemetry, so a page of 100 cells is smaller than 1.5 MB."""
    run = records.sweep(tmp_path, pool_sizes=range(1, 21), clients=(1, 2, 5, 20, 50))
    page = report.page([(run, partial(samples.read, tmp_path / run.id))])
    assert len(page.encode()) < 1_500_000
