"""Clients that generators make from the OpenAPI document: they type-check, and create, change and delete a book."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from .conftest import TOKEN, Start

CLIENTS: Final = Path(__file__).parent / "clients"
CACHE: Final = Path(__file__).parents[2] / ".generators"
"""The installed generators, one folder for each version of a lock file. Git ignores it."""
WITHIN_S: Final = 300

pytestmark = pytest.mark.timeout(3 * WITHIN_S)


def run(folder: Path, *command: str | Path) -> None:
    """Run a command in `folder`. Fails with its output."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def install(lock: Path, *commands: tuple[str | Path, ...]) -> Path:
    """Return the folder in which `commands` installed what `lock` pins. Skips the test without the registry."""
    folder = CACHE / f"{lock.name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in CLIENTS.iterdir():
            shutil.copy(file, folder)
        for command in commands:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=WITHIN_S, check=False)
            if done.returncode:
                pytest.skip(f"cannot install {lock.name}: {done.stderr[-300:]}")
        (folder / "complete").touch()
    return folder


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    with path.open("w") as file:
        subprocess.run([sys.executable, "-m", "bookstore", "openapi"], stdout=file, check=True)
    return path


def test_openapi_python_client(document: Path, start: Start) -> None:
    """openapi-python-client generates a client without warnings that passes mypy --strict and does the round trip."""
    pip = ("bin/python", "-m", "pip", "install", "-q", "--require-hashes", "-r", "requirements.lock")
    programs = install(CLIENTS / "requirements.lock", (sys.executable, "-m", "venv", "."), pip) / "bin"
    folder = document.parent
    options = ("--path", document, "--meta", "none", "--output-path", "bookstore_client", "--config", "config.yaml")
    (folder / "config.yaml").write_text("post_hooks: []\n")  # ruff is for looks only
    run(folder, programs / "openapi-python-client", "generate", *options, "--fail-on-warning")
    shutil.copy(CLIENTS / "round_trip.py", folder)
    run(folder, programs / "mypy", "--strict", "--python-executable", programs / "python", ".")
    with start("default@pool_size=2") as service:
        run(folder, programs / "python", "round_trip.py", service.base, TOKEN)


def test_openapi_typescript(document: Path, start: Start) -> None:
    """openapi-typescript generates types with which a strict client compiles and does the round trip."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    programs = install(CLIENTS / "package-lock.json", ("npm", "ci", "--silent")) / "node_modules"
    folder = document.parent
    (folder / "node_modules").symlink_to(programs)
    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copy(CLIENTS / "round_trip.ts", folder)
    run(folder, programs / ".bin" / "openapi-typescript", document, "-o", "api.ts")
    options = ("--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", "--lib", "es2022,dom")
    run(folder, programs / ".bin" / "tsc", *options, "round_trip.ts")
    with start("default@pool_size=2") as service:
        run(folder, "node", "round_trip.js", service.base, TOKEN)
