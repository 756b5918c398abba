"""Limits: the service gets production's share of the machine, and the record says by which means."""

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
    """A process that would use a whole CPU."""
    process = subprocess.Popen([sys.executable, "-c", _BUSY])
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def test_half_a_cpu_is_half_a_cpu(busy: psutil.Process) -> None:
    """A busy process in a control group of half a CPU gets at most that."""
    with limits.resource_limiter(Limits(cpus=0.5)) as (limiter, applied):
        if not applied.means.startswith("cgroup"):
            pytest.skip(f"no control groups for this user: {applied.told}")
        limiter.enter(busy.pid)
        assert limits.limits_in_force(busy.pid) == Limits(
            0.5, limits.limits_in_force(busy.pid).memory_bytes, applied.means
        )
        before, begin = sum(busy.cpu_times()[:2]), time.monotonic()
        time.sleep(2)
        share = (sum(busy.cpu_times()[:2]) - before) / (time.monotonic() - begin)
        assert share < 0.65  # allows for one more period of 100 ms and clock ticks
        busy.kill()
        busy.wait()
    assert not list(limits.ROOT.glob(f"**/bookstore-lab-{os.getpid()}"))


def test_memory_beyond_the_limit_ends_the_process() -> None:
    """A process in a control group of 64 MiB cannot allocate 300 MB."""
    with limits.resource_limiter(Limits(memory_bytes=64 * 2**20)) as (limiter, applied):
        if not applied.means.startswith("cgroup"):
            pytest.skip(f"no control groups for this user: {applied.told}")
        code = "import sys; sys.stdin.read(1); x = bytearray(b'1') * 300_000_000; print(len(x))"
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        limiter.enter(process.pid)
        assert limits.limits_in_force(process.pid).memory_bytes == 64 * 2**20
        out, _ = process.communicate(b"x", timeout=60)
        assert process.returncode == -9
        assert out == b""


def test_without_groups_affinity_is_used_and_says_what_it_cannot(tmp_path: Path, busy: psutil.Process) -> None:
    """Without control groups whole CPUs are assigned, and the record says what is missing."""
    nothing = tmp_path / "no-cgroup-here"
    with limits.resource_limiter(Limits(cpus=0.5, memory_bytes=2**28), nothing) as (limiter, applied):
        limiter.enter(busy.pid)
        assert len(busy.cpu_affinity()) == 1
        assert applied.means == "taskset"
        assert "1 instead of 0.5" in applied.told
        assert "memory is not limited" in applied.told


def test_what_cannot_be_limited_is_said(tmp_path: Path) -> None:
    """A memory limit requires a control group."""
    with limits.resource_limiter(Limits(memory_bytes=2**28), tmp_path / "none") as (_, applied):
        assert applied.means == "none"
        assert "no limit applied: cannot create a control group" in applied.told


def test_no_limit_is_no_limiter(tmp_path: Path) -> None:
    """Without a requested limit nothing is reported."""
    with limits.resource_limiter(Limits(), tmp_path) as (_, applied):
        assert applied == Limits()


def test_version_2_gets_its_files(tmp_path: Path) -> None:
    """Version 2 has both limits in one group, whose parent enables the controllers."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    (tmp_path / "cgroup.subtree_control").write_text("")
    folder = tmp_path / f"bookstore-lab-{os.getpid()}"
    with limits.resource_limiter(Limits(cpus=1.5, memory_bytes=2**28), tmp_path) as (limiter, applied):
        limiter.enter(os.getpid())
        assert applied.means == "cgroup2"
        assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory"
        assert (folder / "cpu.max").read_text() == "150000 100000"
        assert (folder / "memory.max").read_text() == str(2**28)
        assert (folder / "cgroup.procs").read_text() == str(os.getpid())


def test_groups_of_killed_labs_are_swept(tmp_path: Path) -> None:
    """The next run removes the group of a lab that is gone, and no others."""
    (tmp_path / "cpu").mkdir()
    gone, alive, foreign = (tmp_path / "cpu" / name for name in ("bookstore-lab-4194399", "bookstore-lab-1", "docker"))
    for folder in (gone, alive, foreign):
        folder.mkdir()
    with limits.resource_limiter(Limits(), tmp_path):
        assert not gone.exists()
        assert alive.exists()
        assert foreign.exists()


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        (Limits(cpus=0.0), "--limit-cpu: found 0"),
        (Limits(cpus=4096), "the CPUs of this machine"),
        (Limits(memory_bytes=2**20), "--limit-memory: found 1 MiB"),
        (Limits(memory_bytes=2**60), "the memory of this machine"),
    ],
)
def test_impossible_limits_are_refused(requested: Limits, message: str) -> None:
    """Limits beyond the machine are refused before anything starts."""
    with pytest.raises(ConfigurationError, match=message):
        limits.check(requested)
