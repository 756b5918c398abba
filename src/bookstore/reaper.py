"""A small process that outlives its owner and cleans up after it: servers, clusters, containers, folders.

The owner holds the other end of the reaper's stdin. However the owner ends, including `kill -9`, the kernel closes
that pipe and the reaper cleans up. This works on every POSIX system and, unlike PR_SET_PDEATHSIG, survives a change
of user and does not depend on which thread started the child.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

GRACE_S = 10.0

Kind = Literal["group", "cluster", "project", "folder"]

# How a container engine lists and removes the resources of a compose project: (list, before removal, remove).
_PROJECT_RESOURCES: Final = (
    (("ps", "-a", "-q"), ("kill",), ("rm", "-f", "-v")),
    (("network", "ls", "-q"), (), ("network", "rm")),
    (("volume", "ls", "-q"), (), ("volume", "rm", "-f")),
)
_ENGINE_TIMEOUT_S: Final = 60


class Reaper:
    """Ends what it watches when this process ends; `forget` what was ended regularly."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bookstore.reaper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at the terminal must reach only the owner
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, kind: Kind, target: str | int | Path) -> None:
        """Watch a target: `group`, a process group id; `cluster`, the folder of a PostgreSQL cluster; `project`,
        `podman NAME`, a container engine and its compose project; `folder`, a folder to remove.

        Raises RuntimeError if the reaper has ended."""
        self._send("watch", kind, target)

    def forget(self, kind: Kind, target: str | int | Path) -> None:
        self._send("forget", kind, target)

    def close(self) -> None:
        """End the reaper and everything it still watches."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Reaper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, verb: str, kind: Kind, target: str | int | Path) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps([verb, kind, str(target)]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # the command line would take it for a closed stdout
            if verb == "watch":
                raise RuntimeError("the reaper ended: nothing would clean up after this process") from None


def end(kind: Kind, target: str) -> None:
    """End a target of `Reaper.watch`; do nothing if it is gone."""
    if kind == "group":
        end_group(int(target))
    elif kind == "cluster":
        end_cluster(Path(target))
    elif kind == "project":
        end_project(*target.split(" "))
    else:
        remove_folder(Path(target))


def end_process(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Stop a child that leads a process group, and then the rest of its group; SIGKILL after `grace_s` seconds."""
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    end_group(process.pid, grace_s=1)  # its children, if it was killed


def end_group(group: int, grace_s: float = GRACE_S) -> None:
    """Send SIGTERM to a process group, and SIGKILL to its remaining processes after `grace_s` seconds."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            if not _members(group):
                return
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    import psutil  # noqa: PLC0415 - in the extra `lab`, like everything that starts a reaper

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _members(group: int) -> list[int]:
    import psutil  # noqa: PLC0415 - as above

    members = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) == group and is_alive(pid):
                members.append(pid)
    return members


def end_cluster(folder: Path) -> None:
    """Stop the PostgreSQL server whose data is below `folder` immediately; its data is deleted next.

    This also ends programs that are creating or starting the cluster, before there is a postmaster.pid. Two checks in
    a row have to find nothing, because a program may be between its fork and its exec.
    """
    deadline = time.monotonic() + GRACE_S
    empty_checks = 0
    while empty_checks < 2:
        pids = list(_programs(folder))
        empty_checks = 0 if pids else empty_checks + 1
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGQUIT if time.monotonic() < deadline else signal.SIGKILL)
        time.sleep(0.05)


def _programs(folder: Path) -> Iterator[int]:
    """Yield the pids of PostgreSQL's programs, and of shells about to run one, called with `-D <folder>/…`."""
    import psutil  # noqa: PLC0415 - as above

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f" -D {folder}/" in " ".join(process.cmdline()).replace('"', ""):
                yield process.pid


def end_project(engine: str, project: str) -> None:
    """Remove the containers, networks and volumes of a compose project, with their data.

    Two checks in a row have to find nothing, because compose may be about to create a resource.
    """
    label = f"label=com.docker.compose.project={project}"
    deadline = time.monotonic() + _ENGINE_TIMEOUT_S
    empty_checks = 0
    while empty_checks < 2 and time.monotonic() < deadline:
        empty_checks += 1
        for listing, first, removal in _PROJECT_RESOURCES:
            if ids := _run_engine(engine, *listing, "--filter", label):
                empty_checks = 0
                if first:
                    _run_engine(engine, *first, *ids)
                _run_engine(engine, *removal, *ids)


def _run_engine(*command: str) -> list[str]:
    """Run a container engine's command and return the words it prints; none if it is missing or does not answer."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_ENGINE_TIMEOUT_S
        ).stdout.split()
    return []


def remove_folder(folder: Path) -> None:
    """Remove `folder`; retry while an ending process still writes to it."""
    deadline = time.monotonic() + GRACE_S
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.02)


def main() -> None:
    """Read `[verb, kind, target]` lines until the owner is gone, then end what is still watched."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: list[tuple[Kind, str]] = []
    for line in sys.stdin:
        verb, kind, target = json.loads(line)
        if verb == "watch":
            watched.append((kind, target))
        elif (kind, target) in watched:
            watched.remove((kind, target))
    for kind, target in reversed(watched):
        end(kind, target)


if __name__ == "__main__":
    main()
