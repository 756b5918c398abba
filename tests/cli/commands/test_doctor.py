"""Output and exit codes of `bookstore doctor`."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import quote

import jsonschema
import pytest
import sqlalchemy as sa
from tests.doctor.conftest import Doctor, parse

from bookstore.database.url import conninfo

CANARY = "c4n@ry:/%"

FINDING = {
    "type": "object",
    "properties": {
        "level": {"enum": ["problem", "warning", "note", "ok"]},
        "check": {"type": "string", "minLength": 1},
        "found": {"type": "string", "minLength": 1},
        "do": {"type": "string"},
    },
    "required": ["level", "check", "found", "do"],
    "additionalProperties": False,
}
VALUE = {
    "type": "object",
    "properties": {name: {"type": "string", "minLength": 1} for name in ("name", "value", "origin")},
    "required": ["name", "value", "origin"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {
        "version": {"const": 1},
        "starts": {"type": "boolean"},
        "findings": {"type": "array", "items": FINDING, "minItems": 1},
        "configuration": {"type": "array", "items": VALUE},
    },
    "required": ["version", "starts", "findings", "configuration"],
    "additionalProperties": False,
}


def test_json(run_doctor_outside: Doctor, database_url: str, free_port: int) -> None:
    """The JSON has the documented shape, starts with the most severe finding, and has the origin of each value."""
    run = run_doctor_outside(
        "--json",
        *("-p", "asyncpg-rows@pool_size=7", "--port", str(free_port)),
        DATABASE_URL=database_url,
        WEB_CONCURRENCY="2",
        BOOKSTORE_SLOW_STATEMENT="250ms",
        PGSSLMODE="require",
    )
    report = parse(run)
    jsonschema.validate(report, SCHEMA)
    levels = [finding["level"] for finding in report["findings"]]
    assert levels == sorted(levels, key=["problem", "warning", "note", "ok"].index)
    values = {value["name"]: (value["value"], value["origin"]) for value in report["configuration"]}
    assert values["BOOKSTORE_PORT"] == (str(free_port), "argument")
    assert values["BOOKSTORE_SLOW_STATEMENT"] == ("250ms", "environment")
    assert values["BOOKSTORE_HOST"] == ("127.0.0.1", "default")
    assert values["pool_size"] == ("7", "asyncpg-rows@pool_size=7")
    assert values["loading"] == ("rows", "profiles/asyncpg-rows.yaml:4")
    assert values["workers"] == ("2", "WEB_CONCURRENCY")
    assert values["gc"] == ("freeze", "default")
    assert "PGSSLMODE" in str([finding for finding in report["findings"] if finding["check"] == "environment"])


def test_text_fits_a_terminal(run_doctor_outside: Doctor, database_url: str, free_port: int) -> None:
    """In a pipe, the text has no colour and at most 80 columns, and starts with the most severe finding."""
    run = run_doctor_outside("-p", "default@pool_size=300", "--port", str(free_port), DATABASE_URL=database_url)
    assert run.returncode == 2
    assert run.stdout.startswith("serve would refuse to start: 1 problem, ")
    assert max(map(len, run.stdout.splitlines())) <= 80
    assert run.stdout.isascii()
    assert "\x1b" not in run.stdout
    assert run.stdout.splitlines()[2].startswith("problem  budget: ")


@pytest.mark.parametrize("place", ["url", "file", "PGPASSWORD", "unreachable", "broken", "wrong parameter"])
@pytest.mark.parametrize("options", [["--json"], []], ids=["json", "text"])
def test_no_secret_is_shown(
    run_doctor: Doctor, url: sa.URL, place: str, options: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The output contains no password, encoded or not, and no token digest."""
    secret = quote(CANARY, safe="")
    file = tmp_path_factory.mktemp("secret") / "password"
    file.write_text(CANARY)
    variables = {
        "url": {"DATABASE_URL": conninfo(url.set(password=CANARY))},
        "file": {"DATABASE_URL": conninfo(url), "DATABASE_PASSWORD_FILE": str(file)},
        "PGPASSWORD": {"DATABASE_URL": conninfo(url), "PGPASSWORD": CANARY},
        "unreachable": {"DATABASE_URL": f"postgresql://me:{secret}@127.0.0.1:1/books"},
        "broken": {"DATABASE_URL": f"postgresql://me:{CANARY}@127.0.0.1/books"},
        "wrong parameter": {"DATABASE_URL": f"postgresql://me@127.0.0.1/books?password={secret}"},
    }[place]
    digest = "0123456789abcdef" * 4
    run = run_doctor(*options, BOOKSTORE_API_TOKENS=f"ci catalog:write {digest}", **variables)
    text = run.stdout + run.stderr
    assert "DATABASE_URL" in text or place == "broken"
    assert [form for form in (CANARY, secret, quote(CANARY), "c4n", digest) if form in text] == []


def test_unresponsive_database(run_doctor: Doctor) -> None:
    """A server that accepts connections but never answers is a problem, found in bounded time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        run = run_doctor("--json", DATABASE_URL=f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/books")
    assert run.returncode == 2
    [problem] = [finding for finding in parse(run)["findings"] if finding["level"] == "problem"]
    assert problem["check"] == "database"
    assert "cannot be reached" in problem["found"]


def test_the_embedded_database_is_not_started(run_doctor: Doctor, environment: dict[str, str]) -> None:
    """If the embedded PostgreSQL is not running, doctor says so and creates nothing."""
    run = run_doctor("--json")
    assert run.returncode == 0
    [database] = [finding for finding in parse(run)["findings"] if finding["check"] == "database"]
    assert database["level"] == "note"
    assert "is not running" in database["found"]
    assert not Path(environment["BOOKSTORE_DATA_DIR"]).exists()
    assert run_doctor("-p", "default@pool_size=49").returncode == 2
