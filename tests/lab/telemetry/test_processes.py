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

# Does what it is told, and says so: it takes memory, opens files, starts threads, has a child that burns its CPU.
OBEDIENT = f"""
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


class Obedient:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def do(self, what: str) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


@contextmanager
def obedient() -> Iterator[Obedient]:
    with subprocess.Popen(
        [sys.executable, "-c", OBEDIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        child = Obedient(process)
        child.do("nothing")
        yield child
        process.kill()


def test_figures_follow() -> None:
    """Memory, files, threads and CPU of a process are there as soon as it has them."""
    with obedient() as child:
        watched = processes.process(child.pid)
        before = watched.read(with_memory=True)
        for what in ("memory", "files", "threads", "burn"):
            child.do(what)
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
    """What is dear to read is read where it is asked for only."""
    watched = processes.process(os.getpid())
    assert {"pss_bytes", "uss_bytes"}.isdisjoint(watched.read(with_memory=False))
    assert watched.read(with_memory=False)["rss_bytes"] > 0
    watched.close()


@pytest.mark.parametrize("waited_for", [False, True])
def test_gone(waited_for: bool) -> None:
    """Of a process that has ended there are no figures, waited for or not."""
    with obedient() as child:
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
    """A process that ended before it was watched is gone too."""
    with obedient() as child:
        child.process.kill()
        child.process.wait()
        watched = processes.process(child.pid)
        with pytest.raises(Gone):
            watched.read(with_memory=True)
        with pytest.raises(Gone):
            processes.cpu_s(child.pid)


@pytest.mark.skipif(not processes.IS_LINUX, reason="only Linux tells the CPU of children that have ended")
def test_family() -> None:
    """A family's CPU holds that of children who came and went; its memory that of all who live."""
    with obedient() as child:
        family = Family(child.pid)
        alone = family.read(with_memory=True)
        child.do("child")
        after = family.read(with_memory=True)
        own = processes.process(child.pid)
        used = own.read(with_memory=False)["cpu_s"]
        assert after["cpu_s"] > used  # the ended child's
        assert after["cpu_s"] > alone["cpu_s"]
        us = Family(os.getpid()).read(with_memory=True)
        assert us["pss_bytes"] > alone["pss_bytes"]
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
    """A process knows whose child it is; one that has ended is nobody's."""
    with obedient() as child:
        assert processes.parent(child.pid) == os.getpid()
        child.process.kill()
        child.process.wait()
        assert processes.parent(child.pid) is None


def test_pace() -> None:
    """What takes time is due later the smaller its share, but within the longest wait."""
    never, soon = Pace(1e-9, longest_s=1000), Pace(1e-9, longest_s=0)
    for pace in (never, soon):
        assert pace.is_due()
        with pace.timed():
            end = time.thread_time() + 0.001
            while time.thread_time() < end:
                pass
    assert not never.is_due()
    assert wait_until(soon.is_due, WITHIN_S)
