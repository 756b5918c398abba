"""A run on standard output."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bookstore.cli.commands.runs import runs

from ..lab import records


@pytest.mark.parametrize(("charset", "dash"), [("utf-8", "\N{EN DASH}"), ("latin-1", "-")])
def test_intervals_in_any_encoding(charset: str, dash: str, tmp_path: Path) -> None:
    """An encoding without an en dash gets a hyphen; no line is wider than 80 columns."""
    run = records.make(tmp_path, rounds=2, invalid=())
    result = CliRunner(charset=charset).invoke(runs, ["show", str(tmp_path / run.id)], env={"COLUMNS": "80"})
    lines = result.stdout_bytes.decode(charset).splitlines()
    (answer,) = (line for line in lines if line.startswith("asyncpg-json serves "))
    assert dash in answer
    assert max(map(len, lines)) <= 80
