"""The image and compose.yaml under podman, as an operator runs them; skipped where that cannot be, with the reason."""

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
"""It waits for `service_completed_successfully`, and knows profiles."""

LOW_LIMITS: Final = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
"""For where nobody may raise limits: podman's own defaults are high."""
RUNC: Final = '[engine]\nruntime = "runc"\n'
"""For where crun, the default, does not run: cgroups of version 1."""


def say(text: str) -> None:
    """A line about what is done; `make container-test` shows it."""
    print(f"  {text}", flush=True)


class Podman:
    """podman and podman-compose with an environment of their own."""

    def __init__(self, environ: dict[str, str], compose: str) -> None:
        self.environ = environ
        self._compose = compose

    def __call__(self, *arguments: str) -> str:
        """What a command prints; it has to succeed."""
        done = self.attempt(*arguments)
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _run(["podman", *arguments], self.environ)

    def compose(self, project: str, *arguments: str, **environ: str) -> str:
        command = [self._compose, "--file", str(ROOT / "compose.yaml"), "--project-name", project, *arguments]
        done = _run(command, self.environ | environ)
        assert done.returncode == 0, f"podman-compose {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout

    def inspect(self, kind: str, name: str) -> Any:
        return json.loads(self(kind, "inspect", name))[0]


def _run(command: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    """Podman as it works here, with settings of the tests' own where it does not as it is."""
    if not shutil.which("podman"):
        pytest.skip("podman is not installed")
    compose = _compose()
    # The registry is none of the tests' business: what they need has to be here.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("BOOKSTORE_", "DATABASE_"))}
    environ |= {"BUILDAH_FORMAT": "docker"}
    for image in (PYTHON, POSTGRES):
        if _run(["podman", "image", "exists", image], environ).returncode:
            pytest.skip(f"the image {image} is not here: podman pull {image}")
    troubles = []
    for number, settings in enumerate(("", LOW_LIMITS, LOW_LIMITS + RUNC)):
        if settings:
            file = tmp_path_factory.mktemp("podman") / f"{number}.conf"
            file.write_text(settings)
            environ["CONTAINERS_CONF"] = str(file)
        done = _run(["podman", "run", "--rm", "--pull=never", PYTHON, "true"], environ)
        if done.returncode == 0:
            say(f"podman works {'with settings of the tests: ' + settings.replace(chr(10), ' ') if settings else ''}")
            return Podman(environ, compose)
        troubles.append(done.stderr.strip().splitlines()[-1])
    pytest.skip(f"podman runs no container here: {troubles[-1]}")


def _compose() -> str:
    found = shutil.which("podman-compose", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not found:
        pytest.skip("podman-compose is not installed")
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"podman-compose\S* version (\d+)\.(\d+)", told)
    if not version or tuple(map(int, version.groups())) < OLDEST_COMPOSE:
        least = ".".join(map(str, OLDEST_COMPOSE))
        pytest.skip(f"{found} is older than {least}, which is needed: pip install podman-compose")
    return found


@pytest.fixture(scope="session")
def tag() -> str:
    """What the tests' images, containers and networks are called, and nobody else's are."""
    return f"bookstore-test-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def image(podman: Podman, tag: str) -> Iterator[str]:
    """The image of this checkout."""
    name = f"localhost/{tag}:latest"
    say(f"building {name}")
    arguments = f"--pull=never --quiet --build-arg BASE={PYTHON} --build-arg STAGE={tag}"
    done = _run(["make", "image", f"IMAGE={name}", f"ARGS={arguments}"], podman.environ)
    assert done.returncode == 0, done.stderr
    yield name
    podman("rmi", "--force", name)
    podman("image", "prune", "--force", "--filter", f"label=stage={tag}")
    assert not podman("images", "--all", "--quiet", "--filter", f"label=stage={tag}")


@pytest.fixture(scope="session")
def postgres_image(podman: Podman, tag: str) -> Iterator[str]:
    """PostgreSQL's image; one that does not read POSTGRES_PASSWORD_FILE is taught to."""
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
    say(f"building {name}")
    podman("build", "--pull=never", "--quiet", "--build-arg", f"BASE={PYTHON}", "-t", name, "deploy/pgbouncer")
    yield name
    podman("rmi", "--force", name)
