"""The unit in deploy/systemd is valid and hardened."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from bookstore.cli.reference import ENVIRONMENT
from bookstore.http.server import KILL_AFTER_S

UNIT: Final = Path(__file__).parents[2] / "deploy/systemd/bookstore.service"
LARGEST_EXPOSURE: Final = 15
"""In tenths, at most 100: the exposure that a network service cannot avoid."""


def _read_values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists on this machine."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    file = tmp_path / UNIT.name
    file.write_text(UNIT.read_text().replace("/opt/bookstore/bin/bookstore", shutil.which("true") or ""))
    return file


def _analyse(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def test_unit_is_valid(unit: Path) -> None:
    """systemd-analyze reports nothing about the unit."""
    done = _analyse("verify", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_unit_is_hardened(unit: Path) -> None:
    """The service's exposure, as systemd-analyze rates it, is low."""
    done = _analyse("security", "--offline=true", f"--threshold={LARGEST_EXPOSURE}", unit)
    assert done.returncode == 0, done.stdout


def test_variables_are_known() -> None:
    """The service reads every variable of the unit, and secrets come as credentials."""
    given = dict(assignment.split("=", 1) for assignment in _read_values("Environment"))
    assert given.keys() <= ENVIRONMENT.keys()
    files = {name: value.removeprefix("%d/") for name, value in given.items() if name.endswith("_FILE")}
    assert [credential.split(":")[0] for credential in _read_values("LoadCredential")] == list(files.values())


def test_time_to_stop() -> None:
    """The service is not killed before its workers had time to stop, and only the main process gets the signal."""
    assert int(_read_values("TimeoutStopSec")[0].removesuffix("s")) > KILL_AFTER_S
    assert _read_values("KillMode") == ["mixed"]
