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
    """Each shipped workload stands in the list, nothing wider than 80 columns."""
    lines = _run("list").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[1:] if not line.startswith(" ")] == workload_file.names()


def test_list_json() -> None:
    """The list as JSON says of each whether it writes."""
    told = {one["name"]: one["writes"] for one in json.loads(_run("list", "--json").stdout)}
    assert list(told) == workload_file.names()
    assert {name for name, writes in told.items() if writes} == {"create", "update", "mixed-90-10", "mixed-50-50"}


@pytest.mark.parametrize("spec", [*workload_file.names(), "list-20@concurrency=9,books=50"])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_show_prints_a_workload(spec: str, flags: list[str], tmp_path: Path) -> None:
    """What show prints, as YAML or as JSON, is a file that loads back as the same workload."""
    path = tmp_path / "again.yaml"
    path.write_text(_run("show", spec, *flags).stdout)
    meant = workload_file.load(spec)
    assert msgspec.structs.replace(workload_file.load(str(path)), name=meant.name) == meant


def test_show_says_where(tmp_path: Path) -> None:
    """Behind each key stands where it was said."""
    path = tmp_path / "mine.yaml"
    path.write_text("path: /books\nduration: 2s\nheaders: {Accept: '0x10'}")
    shown = _run("show", f"{path}@concurrency=9").stdout.splitlines()
    assert f"requests:  # {path}:1:1" in shown
    assert f"duration: 2s  # {path}:2:1" in shown
    assert '  - {name: mine, method: GET, path: /books, weight: 1, headers: {Accept: "0x10"}}' in shown
    assert any(line.startswith("concurrency: 9  # ") and "default" not in line for line in shown)
    assert "model: closed  # default" in shown


def test_show_json_fits_the_schema() -> None:
    """What show prints as JSON fits the schema."""
    jsonschema.validate(json.loads(_run("show", "mixed-50-50", "--json").stdout), json_schema.schema())


def test_check(tmp_path: Path) -> None:
    """check names what is fine, and refuses with every mistake of every file."""
    assert _run("check").stdout == "".join(f"{name}: OK\n" for name in workload_file.names())
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text("path: books")
    other.write_text("path: /books\nrate: 5")
    result = _run("check", str(one), "list-20", str(other))
    assert result.stdout == "list-20: OK\n"
    assert isinstance(result.exception, ConfigurationError)
    assert [line.split(": ")[1] for line in str(result.exception).splitlines()] == ["path", "rate"]


def test_schema() -> None:
    """schema prints the schema."""
    assert json.loads(_run("schema").stdout) == json_schema.schema()
