from __future__ import annotations

import json
import subprocess
from importlib.metadata import version

import pytest
from tests.container.conftest import PYTHON, ROOT, Podman, log

pytestmark = pytest.mark.timeout(600)  # building takes a minute

LARGEST_BYTES = 250_000_000
"""Size that the image may add to its base image."""


def _run_in(podman: Podman, image: str, command: str) -> str:
    return podman("run", "--rm", "--entrypoint", "sh", image, "-c", command).strip()


def test_size(podman: Podman, image: str) -> None:
    """The image adds less than 250 MB to its base; the package is a small layer on top of its libraries."""
    built, base = podman.inspect("image", image), podman.inspect("image", PYTHON)
    added = built["Size"] - base["Size"]
    layers = [layer for layer in json.loads(podman("history", "--format", "json", image)) if layer["size"]]
    copied = [layer["size"] for layer in layers if "COPY" in layer["CreatedBy"]]
    log(f"{added / 1e6:.0f} MB beyond the base; layers of {', '.join(f'{size / 1e6:.1f} MB' for size in copied)}")
    assert 0 < added < LARGEST_BYTES
    assert len(copied) == 2
    assert copied[0] < 20e6 < copied[1]


def test_metadata(podman: Podman, image: str) -> None:
    """The image has labels for version, revision and licence, and the service's port, health check and user."""
    config = podman.inspect("image", image)
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    revision = head.stdout.strip() or "unknown"
    assert (labels["version"], labels["revision"], labels["licenses"]) == (version("bookstore"), revision, "MIT")
    assert config["Config"]["User"] == "10001:10001"
    assert config["Config"]["Entrypoint"] == ["bookstore"]
    assert config["Config"]["Cmd"] == ["serve"]
    assert list(config["Config"]["ExposedPorts"]) == ["8000/tcp"]
    assert "/health/ready" in str(config["Healthcheck"]["Test"])


def test_no_build_tools(podman: Podman, image: str) -> None:
    """There is no compiler, no pip, neither as a command nor as a module, and there are no tests."""
    commands = "pip pip3 easy_install cc gcc g++ make ld"
    assert _run_in(podman, image, f"for name in {commands}; do command -v $name; done; true") == ""
    modules = "import importlib.util as u; print([m for m in ('pip', 'setuptools', 'ensurepip') if u.find_spec(m)])"
    for python in ("python", "/usr/bin/env -i /opt/bookstore/bin/python", "$(readlink -f /opt/bookstore/bin/python)"):
        assert _run_in(podman, image, f'{python} -c "{modules}"') == "[]"
    assert _run_in(podman, image, "find / -xdev -name 'pip-*.whl' 2>/dev/null; true") == ""
    assert _run_in(podman, image, "find /opt/bookstore -name tests; ls -d /source /build 2>/dev/null; true") == ""


def test_unprivileged_user(podman: Podman, image: str) -> None:
    """The service runs as user 10001, which owns nothing and can write nowhere in the image."""
    assert _run_in(podman, image, "id -u; id -g").split() == ["10001", "10001"]
    assert (
        _run_in(
            podman, image, "find /opt /etc /usr -xdev \\( -user 10001 -o -writable \\) -not -type l 2>/dev/null; true"
        )
        == ""
    )


def test_invalid_configuration(podman: Podman, image: str) -> None:
    """An unknown profile, a missing token or an unreachable database ends with exit code 2 and a clear message."""
    for environ, message in (
        (["BOOKSTORE_PROFILE=defualt"], "which is not a profile; allowed is default (did you mean that?)"),
        (["DATABASE_URL=postgresql://me@127.0.0.1/books"], "bookstore tokens create NAME --scope catalog:write"),
        (["DATABASE_URL=postgresql://me@127.0.0.1:1/books", "BOOKSTORE_READ_ONLY=on"], "cannot be reached"),
    ):
        options = [word for variable in environ for word in ("--env", variable)]
        result = podman.attempt("run", "--rm", "--read-only", "--network=none", *options, image)
        assert result.returncode == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr
