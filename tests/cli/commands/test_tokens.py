from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bookstore.auth import keyring
from bookstore.cli.commands.tokens import tokens
from bookstore.config.settings import Settings
from bookstore.exceptions import ConfigurationError


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder."""
    monkeypatch.setenv("BOOKSTORE_DATA_DIR", str(tmp_path))
    return tmp_path


def _run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(tokens, arguments, env=environ)


def _error_message(result: Result) -> str:
    assert isinstance(result.exception, ConfigurationError)
    assert result.stdout == ""
    return str(result.exception)


def test_create(data: Path) -> None:
    """stdout has only the token, once; the file that serve reads by default has only its digest."""
    result = _run("create", "ci", "--scope", "catalog:write")
    presented = result.stdout.removesuffix("\n")
    text = (data / "tokens").read_text()
    today = datetime.now(UTC).date()
    assert text == f"ci catalog:write {hashlib.sha256(presented.encode()).hexdigest()} {today}\n"
    assert result.stderr == f"{data}/tokens: added ci (catalog:write); the token is not shown again\n"
    token = keyring.read(Settings(data_dir=data)).find(presented)
    assert token
    assert token.name == "ci"


def test_create_elsewhere(data: Path) -> None:
    """If serve does not read the file, stderr says which variable to set."""
    (data / "of us").mkdir()
    path = data / "of us" / "tokens"
    result = _run("create", "ci", "--scope", "admin", "--file", str(path))
    assert f"for bookstore serve, set BOOKSTORE_API_TOKENS_FILE='{path}'\n" in result.stderr
    assert "BOOKSTORE_API" not in _run("create", "x", "--scope", "admin", BOOKSTORE_API_TOKENS_FILE=str(path)).stderr
    result = _run("create", "y", "--scope", "admin", "--file", str(path), BOOKSTORE_API_TOKENS="# none")
    assert result.stderr.endswith(" and unset BOOKSTORE_API_TOKENS\n")
    assert not (data / "tokens").exists()


def test_tokens_in_the_environment(data: Path) -> None:
    """With tokens in the environment, no file is written, because serve would not read it."""
    for command in (("create", "ci", "--scope", "admin"), ("revoke", "ci")):
        assert "BOOKSTORE_API_TOKENS is set" in _error_message(_run(*command, BOOKSTORE_API_TOKENS="# none"))
    assert list(data.iterdir()) == []
    line = f"ci admin {'0' * 64}"
    assert "ci    admin" in _run("list", BOOKSTORE_API_TOKENS=line).stdout


@pytest.mark.parametrize("scopes", [[], ["--scope", "write"], ["--scope", ""]])
def test_scope_is_needed(data: Path, scopes: list[str]) -> None:
    """A token without a known scope is not created."""
    assert _run("create", "ci", *scopes).exit_code == 2
    assert list(data.iterdir()) == []


def test_list(data: Path) -> None:
    """The list has names, scopes and dates, as a table and as JSON, and no digests; it can be empty."""
    empty = _run("list")
    assert (empty.stdout, empty.stderr) == ("", f"no tokens in {data}/tokens\n")
    assert _run("list", "--json").stdout == "[]\n"
    (data / "tokens").write_text(
        f"ci catalog:write {'0' * 64} 2026-01-31\nroot catalog:write,admin {'1' * 64}\n",
    )
    assert _run("list").stdout == (
        "name  scopes               created\n"
        "ci    catalog:write        2026-01-31\n"
        "root  catalog:write,admin\n"
    )  # fmt: skip
    assert json.loads(_run("list", "--json", "--file", str(data / "tokens")).stdout) == [
        {"name": "ci", "scopes": ["catalog:write"], "created": "2026-01-31"},
        {"name": "root", "scopes": ["catalog:write", "admin"], "created": None},
    ]


def test_list_of_an_invalid_file(data: Path) -> None:
    """An invalid file, or a named file that does not exist, is an error."""
    (data / "tokens").write_text("oops")
    assert f"{data}/tokens:1: found 1 words" in _error_message(_run("list"))
    assert "none: cannot be read" in _error_message(_run("list", "--file", str(data / "none")))


def test_revoke(data: Path) -> None:
    """A revoked token is removed from the file; revoking it again is an error."""
    presented = _run("create", "ci", "--scope", "admin").stdout.strip()
    result = _run("revoke", "ci")
    assert (result.stdout, result.stderr) == ("", f"{data}/tokens: revoked ci\n")
    assert keyring.read(Settings(data_dir=data)).find(presented) is None
    assert "found no token ci" in _error_message(_run("revoke", "ci"))
    assert presented not in _error_message(_run("revoke", presented))
