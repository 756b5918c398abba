"""The container engine of this machine, and what composes: podman with podman-compose, or docker with its plugin."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from bookstore.exceptions import ConfigurationError
from bookstore.lab.testbed.deployment import DeploymentError
from bookstore.reaper import Reaper, end_group

ANSWERS_WITHIN_S: Final = 120
_MISSING: Final = (
    "--deploy compose: found neither podman nor docker; install the packages podman and podman-compose, "
    "or Docker with its compose plugin"
)


class _Requirement(NamedTuple):
    """How a program is asked for its version, where that stands in the answer, and the oldest that can do what is
    asked of it."""

    command: tuple[str, ...]
    answer: str
    least: tuple[int, ...]
    advice: str


_REQUIREMENTS: Final = {
    "podman": (
        _Requirement(("podman", "--version"), r"version (\d[\d.]*)", (4, 0), "install the package podman"),
        _Requirement(
            ("podman-compose", "--version"), r"podman-compose\w* version:?\s+(\d[\d.]*)", (1, 0, 3),
            "install the package podman-compose, or `pip install podman-compose`",
        ),
    ),
    "docker": (
        _Requirement(
            ("docker", "version", "--format", "{{.Server.Version}}"), r"^(\d[\d.]*)", (20, 10),
            "start its daemon: `systemctl start docker`",
        ),
        _Requirement(
            ("docker", "compose", "version", "--short"), r"^v?(\d[\d.]*)", (2, 0),
            "install the package docker-compose-plugin",
        ),
    ),
}  # fmt: skip


class ContainerEngine(NamedTuple):
    """`program` manages containers, `compose` makes them; `told` names both with their versions."""

    program: str
    compose: tuple[str, ...]
    told: str

    def asked(self, *arguments: str) -> str:
        """What the engine answers. Raises DeploymentError where it refuses."""
        code, said = _run((self.program, *arguments))
        if code:
            raise DeploymentError(f"{self.program} {' '.join(arguments[:2])}: {said.strip()[-500:]}")
        return said.strip()

    def log(self, container: str) -> str:
        """The end of what a container said, on either of its outputs."""
        done = subprocess.run(
            [self.program, "logs", "--tail", "15", container],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=ANSWERS_WITHIN_S,
        )
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        return _run((self.program, "image", "inspect", image))[0] == 0

    def run_compose(self, arguments: list[str], folder: Path, environment: Mapping[str, str], reaper: Reaper) -> str:
        """Runs compose in `folder`, and returns its output. What it starts there lives on; it does not outlive us."""
        process = subprocess.Popen(
            [*self.compose, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            text=True,
            start_new_session=True,  # Ctrl-C is for the lab, which then removes what is there
        )
        reaper.watch("group", process.pid)
        try:
            said, _ = process.communicate(timeout=ANSWERS_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise DeploymentError(f"{' '.join(self.compose)} did not end within {ANSWERS_WITHIN_S} s") from None
        finally:
            if process.poll() is None:
                end_group(process.pid)
                process.wait()
            reaper.forget("group", process.pid)
        if process.returncode:
            raise DeploymentError(f"{' '.join([*self.compose, *arguments[-1:]])} failed:\n{said.strip()[-1500:]}")
        return said


def find() -> ContainerEngine:
    """podman where it is installed, else docker. Raises ConfigurationError where what is needed is missing or too
    old."""
    program = next((it for it in _REQUIREMENTS if shutil.which(it)), None)
    if program is None:
        raise ConfigurationError(_MISSING)
    told = [_check_version(needed) for needed in _REQUIREMENTS[program]]
    compose = ("docker", "compose") if program == "docker" else ("podman-compose",)
    return ContainerEngine(program, compose, ", ".join(told))


def _check_version(needed: _Requirement) -> str:
    name = " ".join(it for it in needed.command if it in {"podman", "podman-compose", "docker", "compose"})
    code, said = _run(needed.command)
    found = re.search(needed.answer, said, re.MULTILINE)
    if code or not found:
        raise ConfigurationError(f"--deploy compose: {name} does not tell its version: {needed.advice}")
    if tuple(int(part) for part in found[1].split(".") if part) < needed.least:
        least = ".".join(map(str, needed.least))
        raise ConfigurationError(
            f"--deploy compose: found {name} {found[1]}; allowed is {least} or newer: {needed.advice}"
        )
    return f"{name} {found[1]}"


def _run(command: tuple[str, ...]) -> tuple[int, str]:
    """The exit code, and stdout; stderr where it failed."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=ANSWERS_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, done.stderr if done.returncode else done.stdout
