from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from bookstore.cli.commands.profiles import profiles
from bookstore.config.resources import shipped
from bookstore.exceptions import ConfigurationError
from bookstore.profile import json_schema, layers, loader, rendering


def _run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(profiles, arguments, env={"COLUMNS": "80", **environ})


def _error_message(result: Result) -> str:
    assert isinstance(result.exception, ConfigurationError)
    return str(result.exception)


def test_list() -> None:
    """The list shows each shipped profile with driver and loading, within 80 columns."""
    output = _run("list").stdout
    assert max(map(len, output.splitlines())) <= 80
    rows = [line.split() for line in output.splitlines() if not line.startswith(" ")][1:]
    shipped_profiles = [loader.load(name) for name in layers.names()]
    assert [row[:3] for row in rows] == [
        [profile.name, profile.driver, profile.loading] for profile in shipped_profiles
    ]
    words = output.split()
    for profile in shipped_profiles:
        assert set(profile.description.split()) <= set(words)


def test_list_json() -> None:
    """The list as JSON has the same profiles."""
    rows = json.loads(_run("list", "--json").stdout)
    assert [row["name"] for row in rows] == layers.names()
    assert rows[0].keys() == {"name", "driver", "loading", "description"}


@pytest.mark.parametrize("spec", [*layers.names(), "default@pool=null,backpressure=9"])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_show_prints_a_profile(spec: str, flags: list[str], tmp_path: Path) -> None:
    """The output of show, as YAML or JSON, loads as the same profile."""
    path = tmp_path / "again.yaml"
    path.write_text(_run("show", spec, *flags).stdout)
    reloaded, original = loader.load(str(path)), loader.load(spec)
    assert rendering.effective_values(reloaded) == rendering.effective_values(original)


def test_show_json_is_typed() -> None:
    """The JSON has numbers and booleans as such, and conforms to the schema."""
    shown = json.loads(_run("show", "article-sync", "--json").stdout)
    assert (shown["threads"], shown["echo"], shown["pool"], shown["pool_timeout"]) == (40, False, "queue", "30s")
    jsonschema.validate(shown, json_schema.schema())


def test_diff() -> None:
    """diff prints the keys that differ, with both values in aligned columns."""
    lines = _run("diff", "article-sync", "article-async").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["article-sync", "article-async"],
        ["driver", "psycopg-sync", "asyncpg"],
        ["loading", "lazy", "joined"],
        ["threads", "40", "-"],
    ]
    assert {
        line.index(word) for line, word in zip(lines, ["article-sync", "psycopg-sync", "lazy", "40"], strict=True)
    } == {9}


def test_diff_json() -> None:
    """diff as JSON has both values of each key that differs."""
    differences = json.loads(_run("diff", "default", "default@echo=on,pool_size=9", "--json").stdout)
    assert differences == {"echo": [False, True], "pool_size": [5, 9]}


def test_diff_of_equals() -> None:
    """Profiles with different descriptions only have no differences."""
    assert _run("diff", "default", "default@description=x").stdout == "no differences\n"
    assert json.loads(_run("diff", "default", "default", "--json").stdout) == {}


def test_schema_is_the_shipped_file() -> None:
    """The schema file beside the shipped profiles equals the command's output."""
    assert (shipped("profiles") / "profile.schema.json").read_text() == _run("schema").stdout


def test_check_without_database() -> None:
    """Without a database, all shipped profiles are checked and their connection needs printed."""
    result = _run("check", "--no-database")
    assert result.exit_code == 0
    assert " ".join(result.stdout.splitlines()[1].split()) == "article-async OK (1 + 1) x (5 + 10) = 30"
    assert len(result.stdout.splitlines()) == len(layers.names()) + 1


def test_check_reports_all_errors(tmp_path: Path) -> None:
    """All errors of all named profiles are reported at once; valid profiles still get their budgets."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("pool_szie: 1\nworkers: 0\n")
    result = _run("check", str(bad), "default", "nowhere", "--no-database")
    lines = _error_message(result).splitlines()
    assert [line.partition(" ")[0] for line in lines] == [f"{bad}:1:1:", f"{bad}:2:1:", "profile:"]
    assert result.stdout.splitlines()[1].startswith("default  OK ")


def test_check_against_the_server(database_url: str) -> None:
    """With a server, each budget is compared with the free connections; an exceeded one is an error with advice."""
    fits = _run("check", "default", DATABASE_URL=database_url)
    assert fits.exit_code == 0
    assert fits.stdout.startswith("server: ")
    assert fits.stdout.splitlines()[-1].endswith("fits")
    over = _run("check", "default", "default@pool_size=1000", DATABASE_URL=database_url)
    assert over.stdout.splitlines()[-1].endswith("over")
    assert _error_message(over).startswith("profile default@pool_size=1000: over the connection budget: needs 2000 = ")
    assert "the largest pool_size that fits is " in _error_message(over)


def test_check_json(database_url: str) -> None:
    """check as JSON has each budget and its verdict, which is null without a server."""
    [budget] = json.loads(_run("check", "default", "--json", DATABASE_URL=database_url).stdout)
    assert (budget["needed"], budget["fits"]) == (10, True)
    [budget] = json.loads(_run("check", "default", "--json", "--no-database").stdout)
    assert (budget["needed"], budget["usable"], budget["fits"]) == (10, None, None)


def test_check_without_a_reachable_server() -> None:
    """An unreachable server is a configuration error."""
    assert "cannot be reached" in _error_message(
        _run("check", "default", DATABASE_URL="postgresql://u:p@127.0.0.1:1/x")
    )


@pytest.mark.parametrize(
    "arguments", [["show", "defualt"], ["check", "defualt", "--no-database"], ["diff", "default", "x"]]
)
def test_an_error_exits_with_2(arguments: list[str]) -> None:
    """A configuration error of the command is one message on stderr and exit code 2; stdout has data only."""
    command = [sys.executable, "-c", "from bookstore.cli import main; main()", "profiles", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("bookstore: profile: found ")
    assert "Traceback" not in done.stderr
    assert "found" not in done.stdout
