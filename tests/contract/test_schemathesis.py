"""The OpenAPI document and the running service, held against each other by schemathesis."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, get_args

import pytest

from bookstore.profile.engine_profile import Driver

from .conftest import TOKEN, Start

HERE: Final = Path(__file__).parent
LEAST_CASES: Final = 1500
"""Some 2,100 are made; far less would say that an operation or a phase was left out."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("driver", get_args(Driver))
def test_the_document_holds(start: Start, driver: Driver, tmp_path: Path) -> None:
    """What the document allows is accepted, what it forbids is refused, and every answer is one that it has.

    A failure shows schemathesis' own report, with the seed and a curl command for each case.
    """
    for name in ("schemathesis.toml", "hooks.py"):
        shutil.copy(HERE / name, tmp_path)  # it reads them in its folder, and leaves notes there
    with start(f"default@driver={driver}") as service:
        run = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", f"{service.base}/schema/openapi.json"],
            cwd=tmp_path,
            env=os.environ | {"BOOKSTORE_TOKEN": TOKEN},
            capture_output=True,
            text=True,
            check=False,
        )
        log = service.log.read_text()
    assert run.returncode == 0, run.stdout + run.stderr
    assert " ERROR " not in log, log
    generated = re.search(r"(\d+) generated", run.stdout)
    assert generated, run.stdout
    assert int(generated[1]) >= LEAST_CASES, run.stdout
    assert "skipped" not in run.stdout.partition("Test Phases:")[2].partition("Test cases:")[0], run.stdout
