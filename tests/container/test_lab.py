"""A comparison in containers: measured within compose.yaml's limits, and nothing is left of it."""

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
# Each version of control groups has files of its own; a container sees those of its group.
_GROUP: Final = "cat /sys/fs/cgroup/{cpu.max,memory.max,cpu/cpu.cfs_quota_us,memory/memory.limit_in_bytes} 2>/dev/null"


@pytest.fixture
def environ(podman: Podman, image: str, postgres_image: str, tmp_path: Path) -> dict[str, str]:
    """What a comparison with the tests' images is started with."""
    (tmp_path / "temporary").mkdir()
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"BOOKSTORE_IMAGE": image, "POSTGRES_IMAGE": postgres_image, "TMPDIR": str(tmp_path / "temporary")}
    return podman.environ | own | {"PATH": here}


@contextmanager
def comparing(environ: dict[str, str], output: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A short comparison of two profiles in containers, as a user starts it; its end is waited for."""
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


def until(holds: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < end, what
        time.sleep(0.1)
    return found


def left(podman: Podman, pid: int) -> list[str]:
    """The containers, networks and volumes of that lab's projects."""
    listings = (
        ("ps", "-a", "--format", "{{.Names}}"),
        ("network", "ls", "--format", "{{.Name}}"),
        ("volume", "ls", "-q"),
    )
    return [
        it
        for listing in listings
        for it in podman(*listing).split()
        if it.startswith(f"{compose_project.PREFIX}{pid}-")
    ]


def test_a_comparison_within_limits(podman: Podman, environ: dict[str, str], tmp_path: Path) -> None:
    """Two profiles are measured in containers, which the kernel holds to the limits that were asked for, and which the
    record has with the engine and the image; nothing is left."""
    limits = ("--limit-cpu", "0.5", "--limit-memory", "300MB", "--json")
    with comparing(environ, tmp_path / "runs", *limits) as process:

        def group() -> str:
            ours = (it for it in left(podman, process.pid) if it.endswith("-api"))
            return next((podman.attempt("exec", it, "bash", "-c", _GROUP).stdout for it in ours), "")

        held = until(group, "no container of the service").split()
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert left(podman, process.pid) == []
    assert held in (["50000", "100000", "299999232"], ["50000", "299999232"]), held  # whole pages
    record = json.loads(out)
    assert record["protocol"]["deploy"] == "compose"
    assert record["protocol"]["limits"]["cpus"] == 0.5
    assert record["protocol"]["limits"]["memory_bytes"] == 299999232
    assert record["machine"]["engine"].startswith("podman ")
    assert record["machine"]["image"] == podman.inspect("image", environ["BOOKSTORE_IMAGE"])["Id"]
    assert record["machine"]["packages"]["litestar"]
    for one in record["rounds"][0]["measurements"]:
        assert one["problems"] == []
        assert one["pss_bytes"]
        assert one["cpu_ms_per_request"]
        assert one["connections"]
    assert all(one["split"] for one in record["inspections"]), "the metrics of a worker were not found"
    assert [it.name for it in (tmp_path / "temporary").iterdir() if it.suffix != ".lock"] == []


@pytest.mark.parametrize("how", ["interrupted", "killed", "killed with its reaper"])
def test_nothing_is_left(how: str, podman: Podman, environ: dict[str, str], tmp_path: Path) -> None:
    """A comparison that is stopped while a container runs leaves none, nor a network or volume; where its reaper was
    killed too the next one removes them at its start."""
    with comparing(environ, tmp_path / "runs") as process:
        until(lambda: any(it.endswith("-api") for it in left(podman, process.pid)), "no container of the service")
        if how == "interrupted":
            process.send_signal(signal.SIGINT)
            _, err = process.communicate()
            assert process.returncode == 130, err
            assert left(podman, process.pid) == []
            return
        if how == "killed with its reaper":
            reapers = [it for it in psutil.Process(process.pid).children() if "bookstore.reaper" in it.cmdline()]
            assert len(reapers) == 1
            reapers[0].kill()
        process.kill()
        process.wait()
        if how == "killed with its reaper":
            assert left(podman, process.pid)
            code = "from bookstore.lab.testbed import compose_project as project; project.sweep('podman')"
            subprocess.run([sys.executable, "-c", code], env=environ, cwd=ROOT, check=True)
        until(lambda: not left(podman, process.pid), "something is left")
