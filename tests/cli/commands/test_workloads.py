from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
from click.testing import CliRunner, Result

from bookstore.cli.commands.workloads import workloads
from bookstore.exceptions import ConfigurationError
from bookstore.lab.workload import file as workload_file
from bookstore.lab.workload import json_schema


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(workloads, arguments, env={"COLUMNS": "80"})


def test_list() -> None:
    """The list shows each shipped workload, within 80 columns."""
    lines = _run("list").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[1:] if not line.startswith(" ")] == workload_file.names()


def test_list_json() -> None:
    """The list as JSON says whether each workload writes."""
    writes_by_name = {row["name"]: row["writes"] for row in json.loads(_run("list", "--json").stdout)}
    assert list(writes_by_name) == workload_file.names()
    assert {name for name, writes in writes_by_name.items() if writes} == {
        "create",
        "update",
        "mixed-90-10",
        "mixed-50-50",
    }


@pytest.mark.parametrize("spec", [*workload_file.names(), "list-20@concurrency=9,books=50"])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_show_prints_a_workload(spec: str, flags: list[str], tmp_path: Path) -> None:
    """The output of show, as YAML or JSON, loads as the same workload."""
    path = tmp_path / "again.yaml"
    path.write_text(_run("show", spec, *flags).stdout)
    original = workload_file.load(spec)
    assert msgspec.structs.replace(workload_file.load(str(path)), name=original.name) == original


def test_show_names_origins(tmp_path: Path) -> None:
    """show adds the origin of each value as a comment."""
    path = tmp_path / "mine.yaml"
    path.write_text("path: /books\nduration: 2s\nheaders: {Accept: '0x10'}")
    shown = _run("show", f"{path}@concurrency=9").stdout.splitlines()
    assert f"requests:  # {path}:1:1" in shown
    assert f"duration: 2s  # {path}:2:1" in shown
    assert '  - {name: mine, method: GET, path: /books, weight: 1, headers: {Accept: "0x10"}}' in shown
    assert any(line.startswith("concurrency: 9  # ") and "default" not in line for line in shown)
    assert "model: closed  # default" in shown


def test_show_json_fits_the_schema() -> None:
    """The JSON of show conforms to the schema."""
    jsonschema.validate(json.loads(_run("show", "mixed-50-50", "--json").stdout), json_schema.schema())


def test_check(tmp_path: Path) -> None:
    """check lists valid workloads, and reports every error of every file."""
    assert _run("check").stdout == "".join(f"{name}: OK\n" for name in workload_file.names())
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("path: books")
    second.write_text("path: /books\nrate: 5")
    result = _run("check", str(first), "list-20", str(second))
    assert result.stdout == "list-20: OK\n"
    assert isinstance(result.exception, ConfigurationError)
    assert [line.split(": ")[1] for line in str(result.exception).splitlines()] == ["path", "rate"]


def test_schema() -> None:
    """schema prints the JSON Schema."""
    assert json.loads(_run("schema").stdout) == json_schema.schema()
