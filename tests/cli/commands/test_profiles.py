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


def _refusal(result: Result) -> str:
    assert isinstance(result.exception, ConfigurationError)
    return str(result.exception)


def test_list() -> None:
    """Each shipped profile stands in the list with driver and loading, nothing wider than 80 columns."""
    output = _run("list").stdout
    assert max(map(len, output.splitlines())) <= 80
    rows = [line.split() for line in output.splitlines() if not line.startswith(" ")][1:]
    every = [loader.load(name) for name in layers.names()]
    assert [row[:3] for row in rows] == [[one.name, one.driver, one.loading] for one in every]
    words = output.split()
    for one in every:
        assert set(one.description.split()) <= set(words)


def test_list_json() -> None:
    """The list as JSON has the same profiles."""
    told = json.loads(_run("list", "--json").stdout)
    assert [one["name"] for one in told] == layers.names()
    assert told[0].keys() == {"name", "driver", "loading", "description"}


@pytest.mark.parametrize("spec", [*layers.names(), "default@pool=null,backpressure=9"])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_show_prints_a_profile(spec: str, flags: list[str], tmp_path: Path) -> None:
    """What show prints, as YAML or as JSON, is a file that loads back as the same profile."""
    path = tmp_path / "again.yaml"
    path.write_text(_run("show", spec, *flags).stdout)
    again, meant = loader.load(str(path)), loader.load(spec)
    assert rendering.effective(again) == rendering.effective(meant)


def test_show_json_is_typed() -> None:
    """JSON has numbers and booleans as such, and fits the schema."""
    told = json.loads(_run("show", "article-sync", "--json").stdout)
    assert (told["threads"], told["echo"], told["pool"], told["pool_timeout"]) == (40, False, "queue", "30s")
    jsonschema.validate(told, json_schema.schema())


def test_diff() -> None:
    """diff prints the differing keys with both values, one below the other."""
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
    """diff as JSON has the two values of each differing key."""
    told = json.loads(_run("diff", "default", "default@echo=on,pool_size=9", "--json").stdout)
    assert told == {"echo": [False, True], "pool_size": [5, 9]}


def test_diff_of_equals() -> None:
    """Profiles that differ in their descriptions only do not differ."""
    assert _run("diff", "default", "default@description=x").stdout == "no difference\n"
    assert json.loads(_run("diff", "default", "default", "--json").stdout) == {}


def test_schema_is_the_shipped_file() -> None:
    """The schema beside the shipped profiles is what the command prints."""
    assert (shipped("profiles") / "profile.schema.json").read_text() == _run("schema").stdout


def test_check_without_database() -> None:
    """Without a database all shipped profiles are checked and what each needs is printed."""
    result = _run("check", "--no-database")
    assert result.exit_code == 0
    assert " ".join(result.stdout.splitlines()[1].split()) == "article-async OK (1 + 1) x (5 + 10) = 30"
    assert len(result.stdout.splitlines()) == len(layers.names()) + 1


def test_check_tells_all_mistakes(tmp_path: Path) -> None:
    """All mistakes of all named profiles come at once, the good ones still get their sums."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("pool_szie: 1\nworkers: 0\n")
    result = _run("check", str(bad), "default", "nowhere", "--no-database")
    told = _refusal(result).splitlines()
    assert [line.partition(" ")[0] for line in told] == [f"{bad}:1:1:", f"{bad}:2:1:", "profile:"]
    assert result.stdout.splitlines()[1].startswith("default  OK ")


def test_check_against_the_server(database_url: str) -> None:
    """With a server each budget is held against what is left there; one over it is refused with advice."""
    fits = _run("check", "default", DATABASE_URL=database_url)
    assert fits.exit_code == 0
    assert fits.stdout.startswith("server: ")
    assert fits.stdout.splitlines()[-1].endswith("fits")
    over = _run("check", "default", "default@pool_size=1000", DATABASE_URL=database_url)
    assert over.stdout.splitlines()[-1].endswith("over")
    assert _refusal(over).startswith("profile default@pool_size=1000: over the connection budget: needs 2000 = ")
    assert "the largest pool_size that fits is " in _refusal(over)


def test_check_json(database_url: str) -> None:
    """check as JSON has each sum and its verdict; null where no server was asked."""
    told = json.loads(_run("check", "default", "--json", DATABASE_URL=database_url).stdout)
    assert (told[0]["needed"], told[0]["fits"]) == (10, True)
    told = json.loads(_run("check", "default", "--json", "--no-database").stdout)
    assert (told[0]["needed"], told[0]["usable"], told[0]["fits"]) == (10, None, None)


def test_check_without_a_reachable_server() -> None:
    """A server that cannot be reached is refused, without a traceback."""
    assert "cannot be reached" in _refusal(_run("check", "default", DATABASE_URL="postgresql://u:p@127.0.0.1:1/x"))


@pytest.mark.parametrize(
    "arguments", [["show", "defualt"], ["check", "defualt", "--no-database"], ["diff", "default", "x"]]
)
def test_a_refusal_ends_with_2(arguments: list[str]) -> None:
    """As a command a refusal is one message on stderr, nothing but data on stdout, and exit code 2."""
    command = [sys.executable, "-c", "from bookstore.cli import main; main()", "profiles", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("bookstore: profile: found ")
    assert "Traceback" not in done.stderr
    assert "found" not in done.stdout
