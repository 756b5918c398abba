"""Doctor as operators run it, and its checks one by one."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import sqlalchemy as sa

from bookstore import cli, doctor
from bookstore.database.url import conninfo
from bookstore.doctor.finding import Finding

PATIENCE_S = 60.0

Doctor = Callable[..., subprocess.CompletedProcess[str]]
Examined = Callable[..., list[Finding]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a process of ours needs to run, and a data folder of its own."""
    home = {"HOME": str(tmp_path), "BOOKSTORE_DATA_DIR": str(tmp_path / "data")}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **home}


@pytest.fixture
def run_doctor(environment: dict[str, str], tmp_path: Path) -> Doctor:
    """Runs `bookstore doctor` with arguments, and variables by name, in this process: another takes two seconds of
    CPU to begin."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = ["bookstore", "doctor", *arguments]
        out, err = StringIO(), StringIO()
        with (
            patch.dict(os.environ, environment | variables, clear=True),
            patch.object(sys, "argv", command),
            patch.object(logging.getLogger("bookstore"), "level", logging.NOTSET),  # doctor sets it
            chdir(tmp_path),
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(SystemExit) as end,
        ):
            cli.main()
        code = end.value.code or 0
        assert isinstance(code, int)
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def run_doctor_outside(environment: dict[str, str], tmp_path: Path) -> Doctor:
    """The same in a process of its own."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bookstore", "doctor", *arguments],
            env=environment | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    return run


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def examined(tmp_path: Path, free_port: int) -> Examined:
    """The findings of a check on the database at `url`, with variables by name."""

    def findings(url: sa.URL, check: str, **variables: str) -> list[Finding]:
        environ = {"DATABASE_URL": conninfo(url), "BOOKSTORE_DATA_DIR": str(tmp_path), "BOOKSTORE_PORT": str(free_port)}
        found = doctor.examine(environ | variables, {}, [])
        assert found.starts, found.findings
        return [one for one in found.findings if one.check == check]

    return findings


def parsed(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What doctor printed with --json."""
    told: dict[str, Any] = json.loads(run.stdout)
    return told
