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
    """Two statements done together a second is a positive figure, with more clients than connections too."""
    asked = ["BEGIN", "SELECT count(*) FROM book\nWHERE title <> 'a;b' AND '12:30'::time > '12:00'::time", "COMMIT"]
    assert measure_ceiling_per_s(lab.url(), [Script(asked)], 2, tmp_path) > 10
    assert measure_ceiling_per_s(lab.url(), [Script(["SELECT 1"], 9), Script(["SELECT 2"])], 1000, tmp_path) > 10


@pytest.mark.parametrize("asked", [["SELECT nonsense"], ["SELECT 1", "SELEC 2"], []])
def test_no_figure(asked: list[str], lab: Cluster, tmp_path: Path) -> None:
    """SQL that fails, or none, has no ceiling; pgbench's words are told."""
    with pytest.raises(CeilingError, match=r"pgbench: .+"):
        measure_ceiling_per_s(lab.url(), [Script(asked)], 2, tmp_path)


def test_stuck(lab: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pgbench that does not come to its end is given up."""
    monkeypatch.setattr(pgbench, "SPARE_S", 0)
    with pytest.raises(CeilingError, match="did not end"):
        measure_ceiling_per_s(lab.url(), [Script(["SELECT pg_sleep(30)"])], 1, tmp_path)
