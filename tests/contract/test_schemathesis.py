"""schemathesis checks the running service against its OpenAPI document."""

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
"""About 2,100 are generated; far fewer would mean that an operation or a phase is missing."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("driver", get_args(Driver))
def test_service_matches_document(start: Start, driver: Driver, tmp_path: Path) -> None:
    """Valid requests are accepted, invalid ones are rejected, and every response is documented.

    A failure shows the report of schemathesis, with the seed and a curl command for each case.
    """
    for name in ("schemathesis.toml", "hooks.py"):
        shutil.copy(HERE / name, tmp_path)  # it reads them from its working directory, and writes files there
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
