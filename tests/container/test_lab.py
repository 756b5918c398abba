"""A comparison in containers runs within the limits of compose.yaml and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from tests.container.conftest import ROOT, Podman

from bookstore.lab.testbed import compose_project

pytestmark = pytest.mark.timeout(600)  # building takes a minute

PATIENCE_S: Final = 90.0
# The files differ between the versions of cgroups; a container sees the files of its own group.
_GROUP: Final = "cat /sys/fs/cgroup/{cpu.max,memory.max,cpu/cpu.cfs_quota_us,memory/memory.limit_in_bytes} 2>/dev/null"


@pytest.fixture
def environ(podman: Podman, image: str, postgres_image: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a comparison with the tests' images."""
    (tmp_path / "temporary").mkdir()
    search_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"BOOKSTORE_IMAGE": image, "POSTGRES_IMAGE": postgres_image, "TMPDIR": str(tmp_path / "temporary")}
    return podman.environ | own | {"PATH": search_path}


@contextmanager
def comparing(environ: dict[str, str], output: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a short comparison of two profiles in containers, as a user would; kill it at the end of the block."""
    options = ["--rounds", "1", "--duration", "1s", "--warm-up", "1s", "--books", "100", "--allow-busy"]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "bookstore", "compare", "--deploy", "compose", "--output", str(output)),
            *("asyncpg-json", "psycopg-sync-joined@pool_size=3", *options, *arguments),
        ],
        env=environ,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(poll: Callable[[], Any], failure: str) -> Any:
    """Return the first true result of `poll`; fail with the message `failure` after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not (result := poll()):
        assert time.monotonic() < end, failure
        time.sleep(0.1)
    return result


def leftovers(podman: Podman, pid: int) -> list[str]:
    """Return the containers, networks and volumes of the projects of the lab with this process ID."""
    listings = (
        ("ps", "-a", "--format", "{{.Names}}"),
        ("network", "ls", "--format", "{{.Name}}"),
        ("volume", "ls", "-q"),
    )
    return [
        name
        for listing in listings
        for name in podman(*listing).split()
        if name.startswith(f"{compose_project.PREFIX}{pid}-")
    ]


def test_a_comparison_within_limits(podman: Podman, environ: dict[str, str], tmp_path: Path) -> None:
    """Two profiles are measured in containers. The kernel applies the requested limits, the record has limits,
    container engine and image, and nothing is left behind."""
    limits = ("--limit-cpu", "0.5", "--limit-memory", "300MB", "--json")
    with comparing(environ, tmp_path / "runs", *limits) as process:

        def read_limits() -> str:
            names = (name for name in leftovers(podman, process.pid) if name.endswith("-api"))
            return next((podman.attempt("exec", name, "bash", "-c", _GROUP).stdout for name in names), "")

        applied = wait_for(read_limits, "no container of the service").split()
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert leftovers(podman, process.pid) == []
    assert applied in (["50000", "100000", "299999232"], ["50000", "299999232"]), applied  # whole pages
    record = json.loads(out)
    assert record["protocol"]["deploy"] == "compose"
    assert record["protocol"]["limits"]["cpus"] == 0.5
    assert record["protocol"]["limits"]["memory_bytes"] == 299999232
    assert record["machine"]["engine"].startswith("podman ")
    assert record["machine"]["image"] == podman.inspect("image", environ["BOOKSTORE_IMAGE"])["Id"]
    assert record["machine"]["packages"]["litestar"]
    for measurement in record["rounds"][0]["measurements"]:
        assert measurement["problems"] == []
        assert measurement["pss_bytes"]
        assert measurement["cpu_ms_per_request"]
        assert measurement["connections"]
    assert all(inspection["split"] for inspection in record["inspections"]), "the metrics of a worker are missing"
    assert [path.name for path in (tmp_path / "temporary").iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize("how", ["interrupted", "killed", "killed with its reaper"])
def test_nothing_is_left_behind(how: str, podman: Podman, environ: dict[str, str], tmp_path: Path) -> None:
    """A comparison that is stopped while a container runs leaves no container, network or volume. If its reaper was
    killed too, the next comparison removes them at startup."""
    with comparing(environ, tmp_path / "runs") as process:
        wait_for(
            lambda: any(name.endswith("-api") for name in leftovers(podman, process.pid)), "no container of the service"
        )
        if how == "interrupted":
            process.send_signal(signal.SIGINT)
            _, err = process.communicate()
            assert process.returncode == 130, err
            assert leftovers(podman, process.pid) == []
            return
        if how == "killed with its reaper":
            children = psutil.Process(process.pid).children()
            reapers = [child for child in children if "bookstore.reaper" in child.cmdline()]
            assert len(reapers) == 1
            reapers[0].kill()
        process.kill()
        process.wait()
        if how == "killed with its reaper":
            assert leftovers(podman, process.pid)
            code = "from bookstore.lab.testbed import compose_project as c; c.remove_stale_projects('podman')"
            subprocess.run([sys.executable, "-c", code], env=environ, cwd=ROOT, check=True)
        wait_for(lambda: not leftovers(podman, process.pid), "something is left")
