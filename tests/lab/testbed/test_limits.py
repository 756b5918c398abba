"""Limits: the service gets production's share of the machine, and the record says by what means."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab.record.run_record import Limits
from bookstore.lab.testbed import limits

_BUSY = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"


@pytest.fixture
def busy() -> Iterator[psutil.Process]:
    """A process that would take a whole CPU."""
    process = subprocess.Popen([sys.executable, "-c", _BUSY])
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def test_half_a_cpu_is_half_a_cpu(busy: psutil.Process) -> None:
    """A control group of half a CPU lets a busy process have no more than that."""
    with limits.resource_limiter(Limits(cpus=0.5)) as (limiter, got):
        if not got.means.startswith("cgroup"):
            pytest.skip(f"no control groups for this user: {got.told}")
        limiter.enter(busy.pid)
        assert limits.limits_in_force(busy.pid) == Limits(0.5, limits.limits_in_force(busy.pid).memory_bytes, got.means)
        before, begin = sum(busy.cpu_times()[:2]), time.monotonic()
        time.sleep(2)
        share = (sum(busy.cpu_times()[:2]) - before) / (time.monotonic() - begin)
        assert share < 0.65  # one period of 100 ms more, and the clock's own ticks
        busy.kill()
        busy.wait()
    assert not list(limits.ROOT.glob(f"**/bookstore-lab-{os.getpid()}"))


def test_memory_beyond_the_limit_ends_the_process() -> None:
    """A control group of 64 MiB does not let a process have 300 MB."""
    with limits.resource_limiter(Limits(memory_bytes=64 * 2**20)) as (limiter, got):
        if not got.means.startswith("cgroup"):
            pytest.skip(f"no control groups for this user: {got.told}")
        code = "import sys; sys.stdin.read(1); x = bytearray(b'1') * 300_000_000; print(len(x))"
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        limiter.enter(process.pid)
        assert limits.limits_in_force(process.pid).memory_bytes == 64 * 2**20
        out, _ = process.communicate(b"x", timeout=60)
        assert process.returncode == -9
        assert out == b""


def test_without_groups_affinity_is_used_and_says_what_it_cannot(tmp_path: Path, busy: psutil.Process) -> None:
    """Where no group can be made whole CPUs are given, and the record tells what is missing."""
    nothing = tmp_path / "no-cgroup-here"
    with limits.resource_limiter(Limits(cpus=0.5, memory_bytes=2**28), nothing) as (limiter, got):
        limiter.enter(busy.pid)
        assert len(busy.cpu_affinity()) == 1
        assert got.means == "taskset"
        assert "1 instead of 0.5" in got.told
        assert "memory is not limited" in got.told


def test_what_cannot_be_limited_is_said(tmp_path: Path) -> None:
    """A memory limit alone has no other means than a group."""
    with limits.resource_limiter(Limits(memory_bytes=2**28), tmp_path / "none") as (_, got):
        assert got.means == "none"
        assert "nothing is limited: no control group" in got.told


def test_no_limit_is_no_fence(tmp_path: Path) -> None:
    """Nothing asked for, nothing told."""
    with limits.resource_limiter(Limits(), tmp_path) as (_, got):
        assert got == Limits()


def test_version_2_gets_its_files(tmp_path: Path) -> None:
    """In version 2 both limits stand in one group, whose parent hands the controllers on."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    (tmp_path / "cgroup.subtree_control").write_text("")
    folder = tmp_path / f"bookstore-lab-{os.getpid()}"
    with limits.resource_limiter(Limits(cpus=1.5, memory_bytes=2**28), tmp_path) as (limiter, got):
        limiter.enter(os.getpid())
        assert got.means == "cgroup2"
        assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory"
        assert (folder / "cpu.max").read_text() == "150000 100000"
        assert (folder / "memory.max").read_text() == str(2**28)
        assert (folder / "cgroup.procs").read_text() == str(os.getpid())


def test_groups_of_killed_labs_are_swept(tmp_path: Path) -> None:
    """The next start removes the group of a lab that is gone, and nobody else's."""
    (tmp_path / "cpu").mkdir()
    gone, alive, foreign = (tmp_path / "cpu" / name for name in ("bookstore-lab-4194399", "bookstore-lab-1", "docker"))
    for folder in (gone, alive, foreign):
        folder.mkdir()
    with limits.resource_limiter(Limits(), tmp_path):
        assert not gone.exists()
        assert alive.exists()
        assert foreign.exists()


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (Limits(cpus=0.0), "--limit-cpu: found 0"),
        (Limits(cpus=4096), "the CPUs of this machine"),
        (Limits(memory_bytes=2**20), "--limit-memory: found 1 MiB"),
        (Limits(memory_bytes=2**60), "the memory of this machine"),
    ],
)
def test_impossible_limits_are_refused(asked: Limits, named: str) -> None:
    """What the machine does not have is refused before anything starts."""
    with pytest.raises(ConfigurationError, match=named):
        limits.check(asked)
