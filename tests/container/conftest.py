"""The image and compose.yaml under podman, as operators run them. Without podman the tests are skipped."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = "docker.io/library/python:3.11-slim-bookworm"
POSTGRES: Final = "docker.io/library/postgres:18"
OLDEST_COMPOSE: Final = (1, 3)
"""The first version with profiles and the condition `service_completed_successfully`."""

LOW_LIMITS: Final = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
"""For machines where limits cannot be raised: podman's defaults are high."""
RUNC: Final = '[engine]\nruntime = "runc"\n'
"""For machines where crun, the default, does not run: version 1 of cgroups."""


def log(text: str) -> None:
    """Print a progress line; `make container-test` shows it."""
    print(f"  {text}", flush=True)


class Podman:
    """podman and podman-compose with a separate environment."""

    def __init__(self, environ: dict[str, str], compose: str) -> None:
        self.environ = environ
        self._compose = compose

    def __call__(self, *arguments: str) -> str:
        """Run a command that must succeed, and return its stdout."""
        result = self.attempt(*arguments)
        assert result.returncode == 0, f"podman {' '.join(arguments)}: {result.stderr}{result.stdout}"
        return result.stdout

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _run(["podman", *arguments], self.environ)

    def compose(self, project: str, *arguments: str, **environ: str) -> str:
        command = [self._compose, "--file", str(ROOT / "compose.yaml"), "--project-name", project, *arguments]
        result = _run(command, self.environ | environ)
        assert result.returncode == 0, f"podman-compose {' '.join(arguments)}: {result.stderr}{result.stdout}"
        return result.stdout

    def inspect(self, kind: str, name: str) -> Any:
        return json.loads(self(kind, "inspect", name))[0]


def _run(command: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    """podman, with the tests' own settings if it does not work with its defaults."""
    if not shutil.which("podman"):
        pytest.skip("podman is not installed")
    compose = _compose()
    # Tests do not pull from a registry; the images must be present.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("BOOKSTORE_", "DATABASE_"))}
    environ |= {"BUILDAH_FORMAT": "docker"}
    for image in (PYTHON, POSTGRES):
        if _run(["podman", "image", "exists", image], environ).returncode:
            pytest.skip(f"the image {image} is missing; run podman pull {image}")
    errors = []
    for number, settings in enumerate(("", LOW_LIMITS, LOW_LIMITS + RUNC)):
        if settings:
            file = tmp_path_factory.mktemp("podman") / f"{number}.conf"
            file.write_text(settings)
            environ["CONTAINERS_CONF"] = str(file)
        result = _run(["podman", "run", "--rm", "--pull=never", PYTHON, "true"], environ)
        if result.returncode == 0:
            log(f"podman works {'with the settings ' + settings.replace(chr(10), ' ') if settings else ''}")
            return Podman(environ, compose)
        errors.append(result.stderr.strip().splitlines()[-1])
    pytest.skip(f"podman cannot run a container: {errors[-1]}")


def _compose() -> str:
    command = shutil.which("podman-compose", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not command:
        pytest.skip("podman-compose is not installed")
    text = subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"podman-compose\S* version (\d+)\.(\d+)", text)
    if not version or tuple(map(int, version.groups())) < OLDEST_COMPOSE:
        oldest = ".".join(map(str, OLDEST_COMPOSE))
        pytest.skip(f"{command} is older than {oldest}; run pip install podman-compose")
    return command


@pytest.fixture(scope="session")
def tag() -> str:
    """A unique name for the tests' images, containers and networks."""
    return f"bookstore-test-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def image(podman: Podman, tag: str) -> Iterator[str]:
    """The image of this checkout."""
    name = f"localhost/{tag}:latest"
    log(f"building {name}")
    arguments = f"--pull=never --quiet --build-arg BASE={PYTHON} --build-arg STAGE={tag}"
    result = _run(["make", "image", f"IMAGE={name}", f"ARGS={arguments}"], podman.environ)
    assert result.returncode == 0, result.stderr
    yield name
    podman("rmi", "--force", name)
    podman("image", "prune", "--force", "--filter", f"label=stage={tag}")
    assert not podman("images", "--all", "--quiet", "--filter", f"label=stage={tag}")


@pytest.fixture(scope="session")
def postgres_image(podman: Podman, tag: str) -> Iterator[str]:
    """PostgreSQL's image, with support for POSTGRES_PASSWORD_FILE added if it is missing."""
    entry = podman("run", "--rm", "--entrypoint", "sh", POSTGRES, "-c", 'cat "$(command -v docker-entrypoint.sh)"')
    if "POSTGRES_PASSWORD_FILE" in entry or "file_env" in entry:
        yield POSTGRES
        return
    name = f"localhost/{tag}-postgres:latest"
    folder = ROOT / "tests/container"
    file = str(folder / "postgres.Containerfile")
    podman("build", "--pull=never", "--quiet", "--build-arg", f"BASE={POSTGRES}", "-f", file, "-t", name, str(folder))
    yield name
    podman("rmi", "--force", name)


@pytest.fixture(scope="session")
def pgbouncer_image(podman: Podman, tag: str) -> Iterator[str]:
    """The image of deploy/pgbouncer."""
    name = f"localhost/{tag}-pgbouncer:latest"
    log(f"building {name}")
    podman("build", "--pull=never", "--quiet", "--build-arg", f"BASE={PYTHON}", "-t", name, "deploy/pgbouncer")
    yield name
    podman("rmi", "--force", name)
