"""Fixtures that run doctor as operators do, and single checks."""

from __future__ import annotations

import json
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
    """The variables that a process of ours needs, and its own data folder."""
    home = {"HOME": str(tmp_path), "BOOKSTORE_DATA_DIR": str(tmp_path / "data")}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **home}


@pytest.fixture
def run_doctor(environment: dict[str, str], tmp_path: Path) -> Doctor:
    """Run `bookstore doctor` with arguments and variables in this process, because a new one costs two seconds of
    CPU."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = ["bookstore", "doctor", *arguments]
        out, err = StringIO(), StringIO()
        with (
            patch.dict(os.environ, environment | variables, clear=True),
            patch.object(sys, "argv", command),
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
    """Run `bookstore doctor` in a process of its own."""

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
    """Return the findings of one check of the database at `url`."""

    def findings(url: sa.URL, check: str, **variables: str) -> list[Finding]:
        environ = {"DATABASE_URL": conninfo(url), "BOOKSTORE_DATA_DIR": str(tmp_path), "BOOKSTORE_PORT": str(free_port)}
        examination = doctor.examine(environ | variables, {}, [])
        assert examination.starts, examination.findings
        return [finding for finding in examination.findings if finding.check == check]

    return findings


def parse(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Parse the output of doctor with --json."""
    output: dict[str, Any] = json.loads(run.stdout)
    return output
