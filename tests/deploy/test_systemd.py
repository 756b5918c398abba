"""The unit of deploy/systemd is one that systemd takes, and hardened."""

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
"""Tenths, of 100: what a network service cannot do without."""


def _values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as systemd would read it, with a program that is there."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    file = tmp_path / UNIT.name
    file.write_text(UNIT.read_text().replace("/opt/bookstore/bin/bookstore", shutil.which("true") or ""))
    return file


def _analysed(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def test_systemd_takes_it(unit: Path) -> None:
    """systemd finds nothing to say against the unit."""
    done = _analysed("verify", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_is_hardened(unit: Path) -> None:
    """Little of the machine is exposed to the service."""
    done = _analysed("security", "--offline=true", f"--threshold={LARGEST_EXPOSURE}", unit)
    assert done.returncode == 0, done.stdout


def test_variables_are_known() -> None:
    """The service reads what the unit gives it, and secrets come as credentials."""
    given = dict(one.split("=", 1) for one in _values("Environment"))
    assert given.keys() <= ENVIRONMENT.keys()
    files = {name: value.removeprefix("%d/") for name, value in given.items() if name.endswith("_FILE")}
    assert [one.split(":")[0] for one in _values("LoadCredential")] == list(files.values())


def test_it_has_time_to_stop() -> None:
    """The service is not killed before its workers have had their time, and the signal is the main process's."""
    assert int(_values("TimeoutStopSec")[0].removesuffix("s")) > KILL_AFTER_S
    assert _values("KillMode") == ["mixed"]
