"""This machine's container engine and compose program: podman with podman-compose, or docker with its plugin."""

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
    """A program's version command, the pattern of the version in its output, the oldest usable version, and advice."""

    command: tuple[str, ...]
    pattern: str
    minimum: tuple[int, ...]
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
    """`program` manages containers, `compose` creates them; `versions` names both with their versions."""

    program: str
    compose: tuple[str, ...]
    versions: str

    def run(self, *arguments: str) -> str:
        """Run a command of the engine and return its output. Raises DeploymentError if it fails."""
        exit_code, output = _run((self.program, *arguments))
        if exit_code:
            raise DeploymentError(f"{self.program} {' '.join(arguments[:2])}: {output.strip()[-500:]}")
        return output.strip()

    def log(self, container: str) -> str:
        """Return the end of a container's output, stdout and stderr."""
        result = subprocess.run(
            [self.program, "logs", "--tail", "15", container],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=ANSWERS_WITHIN_S,
        )
        return result.stdout.strip()

    def has_image(self, image: str) -> bool:
        return _run((self.program, "image", "inspect", image))[0] == 0

    def run_compose(self, arguments: list[str], folder: Path, environment: Mapping[str, str], reaper: Reaper) -> str:
        """Run compose in `folder` and return its output. The containers stay, but the compose process never outlives
        the lab."""
        process = subprocess.Popen(
            [*self.compose, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            text=True,
            start_new_session=True,  # Ctrl-C must reach only the lab, which then removes everything
        )
        reaper.watch("group", process.pid)
        try:
            output, _ = process.communicate(timeout=ANSWERS_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise DeploymentError(f"{' '.join(self.compose)} did not end within {ANSWERS_WITHIN_S} s") from None
        finally:
            if process.poll() is None:
                end_group(process.pid)
                process.wait()
            reaper.forget("group", process.pid)
        if process.returncode:
            raise DeploymentError(f"{' '.join([*self.compose, *arguments[-1:]])} failed:\n{output.strip()[-1500:]}")
        return output


def find() -> ContainerEngine:
    """Return podman if installed, else docker. Raises ConfigurationError if a program is missing or too old."""
    program = next((name for name in _REQUIREMENTS if shutil.which(name)), None)
    if program is None:
        raise ConfigurationError(_MISSING)
    versions = [_check_version(requirement) for requirement in _REQUIREMENTS[program]]
    compose = ("docker", "compose") if program == "docker" else ("podman-compose",)
    return ContainerEngine(program, compose, ", ".join(versions))


def _check_version(requirement: _Requirement) -> str:
    name = " ".join(word for word in requirement.command if word in {"podman", "podman-compose", "docker", "compose"})
    exit_code, output = _run(requirement.command)
    match = re.search(requirement.pattern, output, re.MULTILINE)
    if exit_code or not match:
        raise ConfigurationError(f"--deploy compose: {name} does not report its version: {requirement.advice}")
    if tuple(int(part) for part in match[1].split(".") if part) < requirement.minimum:
        minimum = ".".join(map(str, requirement.minimum))
        raise ConfigurationError(
            f"--deploy compose: found {name} {match[1]}; allowed is {minimum} or newer: {requirement.advice}"
        )
    return f"{name} {match[1]}"


def _run(command: tuple[str, ...]) -> tuple[int, str]:
    """Return the exit code and stdout, or stderr if the command failed."""
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=ANSWERS_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return result.returncode, result.stderr if result.returncode else result.stdout
