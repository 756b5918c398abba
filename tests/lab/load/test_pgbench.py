from __future__ import annotations

from pathlib import Path

import pytest

from bookstore.database.embedded import Cluster
from bookstore.lab.load import pgbench
from bookstore.lab.load.pgbench import CeilingError, Script, measure_ceiling_per_s


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgbench, "CEILING_S", 1)


def test_figure(lab: Cluster, tmp_path: Path) -> None:
    """Several statements give a positive throughput, also with more clients than connections."""
    statements = [
        "BEGIN",
        "SELECT count(*) FROM book\nWHERE title <> 'a;b' AND '12:30'::time > '12:00'::time",
        "COMMIT",
    ]
    assert measure_ceiling_per_s(lab.url(), [Script(statements)], 2, tmp_path) > 10
    assert measure_ceiling_per_s(lab.url(), [Script(["SELECT 1"], 9), Script(["SELECT 2"])], 1000, tmp_path) > 10


@pytest.mark.parametrize("statements", [["SELECT nonsense"], ["SELECT 1", "SELEC 2"], []])
def test_no_figure(statements: list[str], lab: Cluster, tmp_path: Path) -> None:
    """SQL that fails, or no SQL, gives an error with pgbench's message."""
    with pytest.raises(CeilingError, match=r"pgbench: .+"):
        measure_ceiling_per_s(lab.url(), [Script(statements)], 2, tmp_path)


def test_stuck(lab: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pgbench that does not end is given up."""
    monkeypatch.setattr(pgbench, "SPARE_S", 0)
    with pytest.raises(CeilingError, match="did not end"):
        measure_ceiling_per_s(lab.url(), [Script(["SELECT pg_sleep(30)"])], 1, tmp_path)
