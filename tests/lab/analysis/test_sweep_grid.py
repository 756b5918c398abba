"""A sweep's run as a grid."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from bookstore.lab.analysis import sweep_grid as grids
from bookstore.lab.analysis.sweep_grid import Grid
from bookstore.lab.record.run_record import Contender, Run
from bookstore.lab.report import conclusions, table
from bookstore.lab.report.conclusions import answer, ratios

from .. import records


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return records.sweep(tmp_path_factory.mktemp("sweep"))


def grid_of(run: Run) -> Grid:
    found = grids.grid_of(run)
    assert found
    return found


def test_axes(swept: Run) -> None:
    """Concurrency is in the columns, each other combination is a row, in the given order."""
    grid = grid_of(swept)
    assert (grid.profile, grid.over, grid.values) == ("asyncpg-json", "concurrency", ["1", "2", "5", "20", "50"])
    assert [variant.name for variant in grid.variants] == [f"pool_size={size}" for size in (1, 2, 5, 10)]
    assert grid.variants[2].labels[3] == "asyncpg-json@pool_size=5 concurrency=20"


def of_cells(run: Run, cells: list[tuple[str, dict[str, float]]]) -> Run:
    contenders = [Contender(label=f"{spec} {load}", spec=spec, load=load) for spec, load in cells]
    return replace(run, contenders=contenders, summary=[], rounds=[])


def test_shared_overrides_are_no_axis(swept: Run) -> None:
    """Overrides shared by all cells belong to the profile; with a single axis the profile is the only row."""
    grid = grid_of(of_cells(swept, [(f"default@workers=2,pool_size={size}", {}) for size in (1, 5)]))
    names = [variant.name for variant in grid.variants]
    assert (grid.over, grid.values, names) == ("pool_size", ["1", "5"], ["default"])
    assert conclusions.knees(swept, grid) == []


def test_a_comparison_is_no_grid(swept: Run, tmp_path: Path) -> None:
    """Profiles named one by one are no sweep, even if they differ in one key; a grid has no empty cell."""
    assert grids.grid_of(records.make(tmp_path, rounds=1, invalid=())) is None
    named = of_cells(swept, [(f"default@pool_size={size}", {}) for size in (1, 5)])
    assert grids.grid_of(replace(named, id="20260131T080000_default")) is None
    assert (
        grids.grid_of(of_cells(swept, [("a@pool_size=1", {"concurrency": 1}), ("a@pool_size=2", {"concurrency": 5})]))
        is None
    )


def test_the_answer_is_the_best_cell(swept: Run) -> None:
    """The answer names the cell with the highest throughput and its figures, without a comparison with the first
    cell."""
    top = max(swept.summary, key=lambda cell: cell.throughput_per_s)
    assert top.profile == "asyncpg-json@pool_size=10 concurrency=20"
    assert answer(swept).startswith("asyncpg-json is fastest with pool_size=10 and concurrency=20 (best of 20 cells): ")
    assert ratios(swept) == []


def test_each_variant_has_a_sentence_on_its_knee(swept: Run) -> None:
    """Each variant has a sentence with its knee, or with the reason why there is none."""
    told = dict(one.split(": ", 1) for one in conclusions.knees(swept, grid_of(swept)))
    assert told["pool_size=1"].startswith("no knee found, the law does not fit")
    assert told["pool_size=10"].startswith("knee at ")


def test_too_few_concurrencies_for_a_knee(tmp_path: Path) -> None:
    """With too few concurrencies for the law, that is said once."""
    run = records.sweep(tmp_path, clients=(1, 5, 25))
    assert conclusions.knees(run, grid_of(run)) == ["No knee found: the scalability law needs at least 4 concurrencies"]


def test_the_table_has_each_cell_and_marks_the_best(swept: Run) -> None:
    """A row for each variant, a column for each concurrency; a cell without a valid round is a dash."""
    lost = swept.contenders[0].label
    run = replace(swept, summary=[one for one in swept.summary if one.profile != lost])
    head, names, first, *_, last = table.sweep_table(run, grid_of(run)).splitlines()
    assert head.strip() == "concurrency"
    assert names.split() == ["req/s", "1", "2", "5", "20", "50"]
    assert first.split()[:2] == ["pool_size=1", "-"]
    assert [cell.endswith("*") for cell in last.split()] == [False, False, False, False, True, False]


def test_no_valid_cell(swept: Run) -> None:
    """A sweep without a valid cell has no best one."""
    assert answer(replace(swept, summary=[])) == "Invalid run: no conclusion (no cell of the sweep has a valid round)."
