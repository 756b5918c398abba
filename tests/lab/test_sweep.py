"""Sweeps: the grid of keys and loads, and resuming an interrupted one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab import sweep
from bookstore.lab.plan import Plan, plan
from bookstore.lab.record.run_record import Protocol
from bookstore.lab.workload import file as workload_file


def make_plan(output: Path, over: list[str], seed: int = 1) -> Plan:
    protocol = Protocol(min_rounds=2, max_rounds=2, precision_ratio=1)
    return plan(sweep.cells("asyncpg-json", over), workload_file.load("list-100"), protocol, output, seed)


def test_the_grid_is_every_combination() -> None:
    """Profile keys become overrides, workload values the load."""
    assert sweep.cells("asyncpg-json", ["pool_size=1,5", "concurrency=1,25"]) == [
        ("asyncpg-json@pool_size=1", {"concurrency": 1.0}),
        ("asyncpg-json@pool_size=1", {"concurrency": 25.0}),
        ("asyncpg-json@pool_size=5", {"concurrency": 1.0}),
        ("asyncpg-json@pool_size=5", {"concurrency": 25.0}),
    ]
    assert sweep.cells("default@workers=2", ["pool_size=1"]) == [("default@workers=2,pool_size=1", {})]
    assert sweep.cells("/a@b/own.yaml", ["pool_size=1"]) == [("/a@b/own.yaml@pool_size=1", {})]


def test_each_cell_has_a_label_and_its_load(tmp_path: Path) -> None:
    """Each cell has a distinct label and its own load."""
    comparison = make_plan(tmp_path, ["pool_size=1,5", "concurrency=1,25"])
    assert [contender.label for contender in comparison.contenders] == [
        "asyncpg-json@pool_size=1 concurrency=1", "asyncpg-json@pool_size=1 concurrency=25",
        "asyncpg-json@pool_size=5 concurrency=1", "asyncpg-json@pool_size=5 concurrency=25",
    ]  # fmt: skip
    assert [contender.load for contender in comparison.contenders][:2] == [{"concurrency": 1}, {"concurrency": 25}]


def test_the_same_sweep_is_found_again(tmp_path: Path) -> None:
    """The same grid resumes whatever its seed; another grid, or another catalogue, does not."""
    over = ["concurrency=1,5"]
    fingerprint, unfinished = sweep.find_unfinished(make_plan(tmp_path, over))
    assert unfinished is None
    name = sweep.sweep_id(datetime(2026, 1, 31, 8, tzinfo=UTC), fingerprint, 1)
    folder = tmp_path / f".{name}.unfinished"
    folder.mkdir()
    assert sweep.find_unfinished(make_plan(tmp_path, over, seed=2)) == (fingerprint, folder)
    assert sweep.run_id_of_folder(folder) == name == f"20260131T080000_sweep-{fingerprint}-1"
    assert sweep.parse_seed(name) == 1
    assert sweep.find_unfinished(make_plan(tmp_path, over), ["200"])[1] is None
    assert sweep.find_unfinished(make_plan(tmp_path, ["concurrency=1,6"]))[1] is None


@pytest.mark.parametrize(
    ("over", "message"),
    [
        (["pool_szie=1,2"], "allowed is key=value.*pool_size"),
        (["pool_size"], "found 'pool_size'"),
        (["pool_size=1,,2"], "found 'pool_size=1,,2'"),
        (["pool_size=1,1"], "allowed is each once"),
        (["pool_size=1", "pool_size=2"], "allowed is each once"),
        (["concurrency=few"], "allowed are numbers for concurrency and rate"),
        ([f"{key}={','.join(map(str, range(1, 22)))}" for key in ("pool_size", "concurrency")], "441 combinations"),
        ([], "found nothing"),
    ],
)  # fmt: skip
def test_a_grid_that_is_none_is_refused(over: list[str], message: str) -> None:
    """Invalid sweeps are refused, with the allowed values."""
    with pytest.raises(ConfigurationError, match=message):
        sweep.cells("asyncpg-json", over)


def test_every_impossible_cell_is_told_before_anything_starts(tmp_path: Path) -> None:
    """A pool that exceeds the database's connections, and an invalid load, are refused at once."""
    with pytest.raises(ConfigurationError, match=r"pool_size=200: over the connection budget"):
        make_plan(tmp_path, ["pool_size=200", "concurrency=1"])
    with pytest.raises(ConfigurationError, match="concurrency"):
        make_plan(tmp_path, ["concurrency=100000"])
