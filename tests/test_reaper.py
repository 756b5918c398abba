from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bookstore.lab.testbed.process import wait_until
from bookstore.reaper import Reaper, end_group, end_process, is_alive

TIMEOUT_S = 30

OWNER = """
import signal, sys
from pathlib import Path
from bookstore.reaper import Reaper
if "--deaf" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
reaper = Reaper()
for kind, target, *forget in (line.split() for line in sys.argv[1].splitlines()):
    reaper.watch(kind, target)
    if forget:
        reaper.forget(kind, target)
print(reaper.pid, flush=True)
sys.stdin.read()
"""


def start_owner(watched: str, *options: str) -> tuple[subprocess.Popen[str], int]:
    """Start an owner that watches the given targets, one per line; return it with its reaper's pid."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, watched, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert owner.stdout
    return owner, int(owner.stdout.readline())


def close(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    assert owner.stdin
    assert owner.stdout
    owner.stdin.close()
    owner.stdout.close()
    owner.wait()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_killed_owner(sleeper: subprocess.Popen[bytes], other: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """When the owner is killed, watched targets are ended, and forgotten and unrelated ones are kept."""
    kept, removed = tmp_path / "kept", tmp_path / "removed"
    for folder in (kept, removed):
        (folder / "deep").mkdir(parents=True)
    owner, reaper = start_owner(
        f"group {sleeper.pid}\ngroup {other.pid} forget\nfolder {removed}\nfolder {kept} forget\nfolder {tmp_path}/none"
    )
    assert sleeper.poll() is None
    close(owner)
    assert wait_until(lambda: not is_alive(reaper), TIMEOUT_S)
    assert wait_until(lambda: sleeper.poll() == -signal.SIGTERM, TIMEOUT_S)
    assert not removed.exists()
    assert (kept / "deep").exists()
    assert other.poll() is None


def test_ctrl_c(sleeper: subprocess.Popen[bytes]) -> None:
    """Ctrl-C, which signals the terminal's whole process group, does not end the reaper."""
    owner, reaper = start_owner(f"group {sleeper.pid}", "--deaf")
    os.killpg(owner.pid, signal.SIGINT)
    assert os.getpgid(reaper) != os.getpgid(owner.pid)
    assert is_alive(reaper)
    close(owner)
    assert wait_until(lambda: sleeper.poll() is not None, TIMEOUT_S)


def test_close(sleeper: subprocess.Popen[bytes]) -> None:
    """Closing the reaper ends everything that it still watches and the reaper itself."""
    with Reaper() as reaper:
        reaper.watch("group", sleeper.pid)
        assert is_alive(reaper.pid)
    assert not is_alive(reaper.pid)
    assert wait_until(lambda: sleeper.poll() is not None, TIMEOUT_S)


def test_killed_reaper(tmp_path: Path) -> None:
    """If the reaper has ended, watching fails and forgetting still works."""
    reaper = Reaper()
    os.kill(reaper.pid, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(reaper.pid), TIMEOUT_S)
    with pytest.raises(RuntimeError, match="the reaper ended"):
        reaper.watch("folder", tmp_path)
    reaper.forget("folder", tmp_path)
    reaper.close()


def test_incomplete_cluster() -> None:
    """A program that creates or starts a cluster is ended too; one that only reads its files is not."""
    with tempfile.TemporaryDirectory() as folder:
        # `sh -c` with this name and these arguments imitates a slow initdb
        making = subprocess.Popen(["sh", "-c", "read line", "initdb", "-D", f"{folder}/data"], stdin=subprocess.PIPE)
        reading = subprocess.Popen(["sh", "-c", "read line", "tail", f"{folder}/data/log"], stdin=subprocess.PIPE)
        other = ["sh", "-c", "read line", "initdb", "-D", f"{folder}2/data"]
        elsewhere = subprocess.Popen(other, stdin=subprocess.PIPE)
        try:
            with Reaper() as reaper:
                reaper.watch("cluster", folder)
            assert wait_until(lambda: making.poll() is not None, TIMEOUT_S)
            assert reading.poll() is None
            assert elsewhere.poll() is None
        finally:
            for process in (making, reading, elsewhere):
                process.kill()
                process.communicate()


STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


def test_group_that_ignores_sigterm() -> None:
    """A process that ignores SIGTERM is killed after the grace period."""
    deaf = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    assert deaf.stdout
    deaf.stdout.readline()
    end_group(deaf.pid, grace_s=0.2)
    assert deaf.wait(TIMEOUT_S) == -signal.SIGKILL
    deaf.stdout.close()


def test_end_process_ends_children() -> None:
    """A child that outlives its parent is ended with the parent's process group."""
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]).wait()"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert parent.stdout
    parent.stdout.readline()
    (child,) = psutil.Process(parent.pid).children()
    end_process(parent, grace_s=5)
    assert parent.returncode == -signal.SIGTERM
    assert wait_until(lambda: not is_alive(child.pid), TIMEOUT_S)
    parent.stdout.close()
