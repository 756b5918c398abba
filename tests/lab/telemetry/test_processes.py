from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bookstore.lab.telemetry import processes
from bookstore.lab.telemetry.processes import Family, Gone, Pace
from bookstore.lab.testbed.process import wait_until

WITHIN_S = 30
BYTES = 40_000_000

# Executes commands from stdin and confirms each: allocates memory, opens files, starts threads, runs a busy child.
CHILD_SCRIPT = f"""
import os, subprocess, sys, threading
kept = []
for line in sys.stdin:
    match line.strip():
        case "memory": kept.append(b"x" * {BYTES})
        case "files": kept.extend(open(os.devnull) for _ in range(7))
        case "threads":
            for _ in range(3): threading.Thread(target=threading.Event().wait, daemon=True).start()
        case "burn":
            for _ in range(3_000_000): pass
        case "child": subprocess.run([sys.executable, "-c", "for _ in range(5_000_000): pass"])
    print("done", flush=True)
"""


class ControlledChild:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def do(self, command: str) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


@contextmanager
def controlled_child() -> Iterator[ControlledChild]:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD_SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        child = ControlledChild(process)
        child.do("nothing")
        yield child
        process.kill()


def test_figures_follow() -> None:
    """Memory, files, threads and CPU of a process show up as soon as it uses them."""
    with controlled_child() as child:
        watched = processes.process(child.pid)
        before = watched.read(with_memory=True)
        for command in ("memory", "files", "threads", "burn"):
            child.do(command)
        after = watched.read(with_memory=True)
        watched.close()
    assert after["threads"] - before["threads"] == 3
    assert after["descriptors"] - before["descriptors"] == 7
    assert after["cpu_s"] > before["cpu_s"] > 0
    assert after["rss_bytes"] - before["rss_bytes"] >= BYTES
    assert after["uss_bytes"] - before["uss_bytes"] >= BYTES
    if processes.IS_LINUX:
        assert after["uss_bytes"] <= after["pss_bytes"] <= after["rss_bytes"]


def test_without_memory() -> None:
    """Memory, which is expensive to read, is read only on request."""
    watched = processes.process(os.getpid())
    assert {"pss_bytes", "uss_bytes"}.isdisjoint(watched.read(with_memory=False))
    assert watched.read(with_memory=False)["rss_bytes"] > 0
    watched.close()


@pytest.mark.parametrize("waited_for", [False, True])
def test_gone(waited_for: bool) -> None:
    """A process that has ended has no figures, whether or not its parent has waited for it."""
    with controlled_child() as child:
        watched = processes.process(child.pid)
        child.process.kill()
        if waited_for:
            child.process.wait()
        else:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        for with_memory in (False, True):
            with pytest.raises(Gone):
                watched.read(with_memory)
        watched.close()


def test_never_there() -> None:
    """A process that ended before it was watched raises Gone too."""
    with controlled_child() as child:
        child.process.kill()
        child.process.wait()
        watched = processes.process(child.pid)
        with pytest.raises(Gone):
            watched.read(with_memory=True)
        with pytest.raises(Gone):
            processes.cpu_s(child.pid)


@pytest.mark.skipif(not processes.IS_LINUX, reason="only Linux reports the CPU of children that have ended")
def test_family() -> None:
    """A family's CPU includes children that have ended; its memory is that of all living processes."""
    with controlled_child() as child:
        family = Family(child.pid)
        alone = family.read(with_memory=True)
        child.do("child")
        after = family.read(with_memory=True)
        own = processes.process(child.pid)
        used = own.read(with_memory=False)["cpu_s"]
        assert after["cpu_s"] > used  # plus the ended child's
        assert after["cpu_s"] > alone["cpu_s"]
        own_family = Family(os.getpid()).read(with_memory=True)
        assert own_family["pss_bytes"] > alone["pss_bytes"]
        child.process.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(Gone):
            family.read(with_memory=True)
        child.process.wait()
        with pytest.raises(Gone):
            family.read(with_memory=True)
        family.close()
        own.close()


def test_parent() -> None:
    """parent() returns the pid of a process's parent, and None once the process has ended."""
    with controlled_child() as child:
        assert processes.parent(child.pid) == os.getpid()
        child.process.kill()
        child.process.wait()
        assert processes.parent(child.pid) is None


def test_pace() -> None:
    """The smaller its share, the later an operation is due again, but within the longest wait."""
    never, soon = Pace(1e-9, longest_s=1000), Pace(1e-9, longest_s=0)
    for pace in (never, soon):
        assert pace.is_due()
        with pace.timed():
            end = time.thread_time() + 0.001
            while time.thread_time() < end:
                pass
    assert not never.is_due()
    assert wait_until(soon.is_due, WITHIN_S)
