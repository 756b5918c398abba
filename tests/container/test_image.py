from __future__ import annotations

import json
import subprocess
from importlib.metadata import version

import pytest
from tests.container.conftest import PYTHON, ROOT, Podman, say

pytestmark = pytest.mark.timeout(600)  # building takes a minute

LARGEST_BYTES = 250_000_000
"""Beyond the base image."""


def _in(podman: Podman, image: str, command: str) -> str:
    return podman("run", "--rm", "--entrypoint", "sh", image, "-c", command).strip()


def test_size(podman: Podman, image: str) -> None:
    """The image adds less than 250 MB to its base, and the package itself is a small layer over its libraries."""
    ours, base = podman.inspect("image", image), podman.inspect("image", PYTHON)
    added = ours["Size"] - base["Size"]
    layers = [one for one in json.loads(podman("history", "--format", "json", image)) if one["size"]]
    copied = [one["size"] for one in layers if "COPY" in one["CreatedBy"]]
    say(f"{added / 1e6:.0f} MB beyond the base; layers of {', '.join(f'{size / 1e6:.1f} MB' for size in copied)}")
    assert 0 < added < LARGEST_BYTES
    assert len(copied) == 2
    assert copied[0] < 20e6 < copied[1]


def test_what_it_says_of_itself(podman: Podman, image: str) -> None:
    """Version, revision and licence are labels; the port, the health check and the user are those of the service."""
    found = podman.inspect("image", image)
    labels = {name.rpartition(".")[2]: value for name, value in found["Labels"].items()}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    revision = head.stdout.strip() or "unknown"
    assert (labels["version"], labels["revision"], labels["licenses"]) == (version("bookstore"), revision, "MIT")
    assert found["Config"]["User"] == "10001:10001"
    assert found["Config"]["Entrypoint"] == ["bookstore"]
    assert found["Config"]["Cmd"] == ["serve"]
    assert list(found["Config"]["ExposedPorts"]) == ["8000/tcp"]
    assert "/health/ready" in str(found["Healthcheck"]["Test"])


def test_nothing_to_build_with(podman: Podman, image: str) -> None:
    """There is no compiler and no pip, neither as a command nor as a module, and nobody's tests."""
    commands = "pip pip3 easy_install cc gcc g++ make ld"
    assert _in(podman, image, f"for it in {commands}; do command -v $it; done; true") == ""
    modules = "import importlib.util as u; print([m for m in ('pip', 'setuptools', 'ensurepip') if u.find_spec(m)])"
    for python in ("python", "/usr/bin/env -i /opt/bookstore/bin/python", "$(readlink -f /opt/bookstore/bin/python)"):
        assert _in(podman, image, f'{python} -c "{modules}"') == "[]"
    assert _in(podman, image, "find / -xdev -name 'pip-*.whl' 2>/dev/null; true") == ""
    assert _in(podman, image, "find /opt/bookstore -name tests; ls -d /source /build 2>/dev/null; true") == ""


def test_nobody_special(podman: Podman, image: str) -> None:
    """The service is user 10001, who owns nothing and can write nowhere in it."""
    assert _in(podman, image, "id -u; id -g").split() == ["10001", "10001"]
    assert (
        _in(podman, image, "find /opt /etc /usr -xdev \\( -user 10001 -o -writable \\) -not -type l 2>/dev/null; true")
        == ""
    )


def test_mistakes_are_refused(podman: Podman, image: str) -> None:
    """Without a database, or reachable by others without a token, it ends with 2 and says what to do."""
    for environ, told in (
        (["BOOKSTORE_PROFILE=defualt"], "which is no profile; allowed is default (did you mean that?)"),
        (["DATABASE_URL=postgresql://me@127.0.0.1/books"], "bookstore tokens create NAME --scope catalog:write"),
        (["DATABASE_URL=postgresql://me@127.0.0.1:1/books", "BOOKSTORE_READ_ONLY=on"], "cannot be reached"),
    ):
        given = [word for one in environ for word in ("--env", one)]
        done = podman.attempt("run", "--rm", "--read-only", "--network=none", *given, image)
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr
