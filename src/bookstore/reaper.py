"""A small process that outlives its owner and then ends what the owner left: servers, clusters, containers, folders.

The owner holds the other end of the reaper's stdin. However the owner ends, `kill -9` included, the
kernel closes that pipe and the reaper does what it was told. It works on every POSIX system and, unlike
PR_SET_PDEATHSIG, survives a change of user and does not depend on which thread started the child.
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

# How a container engine lists what a compose project has, and how that goes: (list, remove first, remove).
_OF_PROJECT: Final = (
    (("ps", "-a", "-q"), ("kill",), ("rm", "-f", "-v")),
    (("network", "ls", "-q"), (), ("network", "rm")),
    (("volume", "ls", "-q"), (), ("volume", "rm", "-f")),
)
_ENGINE_WITHIN_S: Final = 60


class Reaper:
    """Told what to end when this process is gone; `forget` what was ended in good order."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bookstore.reaper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at the terminal is for the owner
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, kind: Kind, target: str | int | Path) -> None:
        """`group`: a process group's id; `cluster`: the folder of one; `project`: `podman NAME`, a compose project
        under its engine; `folder`: one to remove."""
        self._tell("watch", kind, target)

    def forget(self, kind: Kind, target: str | int | Path) -> None:
        self._tell("forget", kind, target)

    def close(self) -> None:
        """Ends the reaper, and with it whatever it still watches."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Reaper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self, verb: str, kind: Kind, target: str | int | Path) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps([verb, kind, str(target)]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # which the command line would take for a reader that has seen enough
            if verb == "watch":
                raise RuntimeError("the reaper ended: nothing would end what is started") from None


def end(kind: Kind, target: str) -> None:
    """Ends what `watch` was told of; does nothing where it is gone."""
    if kind == "group":
        end_group(int(target))
    elif kind == "cluster":
        end_cluster(Path(target))
    elif kind == "project":
        end_project(*target.split(" "))
    else:
        remove_folder(Path(target))


def end_process(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Stops a child that leads a process group, and then what is left of its group."""
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    end_group(process.pid, grace_s=1)  # its own children, where it was killed


def end_group(group: int, grace_s: float = GRACE_S) -> None:
    """SIGTERM to a process group, SIGKILL to what is left of it after `grace_s` seconds."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGTERM)
        end = time.monotonic() + grace_s
        while time.monotonic() < end:
            if not _members(group):
                return
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether the process still does something: a zombie only waits for its parent to look."""
    import psutil  # noqa: PLC0415 - of the extra `lab`, as all that a reaper watches

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _members(group: int) -> list[int]:
    import psutil  # noqa: PLC0415 - as above

    found = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) == group and is_alive(pid):
                found.append(pid)
    return found


def end_cluster(folder: Path) -> None:
    """An immediate stop of the PostgreSQL server with its data below `folder`, which is thrown away next.

    It also ends what is just making or starting the server, when there is no postmaster.pid yet. Nothing
    has to be found twice: a program may be between its fork and its name.
    """
    end = time.monotonic() + GRACE_S
    empty_looks = 0
    while empty_looks < 2:
        left = list(_programs(folder))
        empty_looks = 0 if left else empty_looks + 1
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGQUIT if time.monotonic() < end else signal.SIGKILL)
        time.sleep(0.05)


def _programs(folder: Path) -> Iterator[int]:
    """PostgreSQL's programs that were called with `-D <folder>/…`; a shell that is about to run one, too."""
    import psutil  # noqa: PLC0415 - as above

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f" -D {folder}/" in " ".join(process.cmdline()).replace('"', ""):
                yield process.pid


def end_project(engine: str, project: str) -> None:
    """Removes the containers, networks and volumes of a compose project, and the data in them.

    Nothing has to be found twice: compose may have been about to make one.
    """
    label = f"label=com.docker.compose.project={project}"
    end = time.monotonic() + _ENGINE_WITHIN_S
    empty_looks = 0
    while empty_looks < 2 and time.monotonic() < end:
        empty_looks += 1
        for listing, first, removal in _OF_PROJECT:
            if found := _asked(engine, *listing, "--filter", label):
                empty_looks = 0
                if first:
                    _asked(engine, *first, *found)
                _asked(engine, *removal, *found)


def _asked(*command: str) -> list[str]:
    """The words that the engine answers; none where it is not there or does not answer."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_ENGINE_WITHIN_S
        ).stdout.split()
    return []


def remove_folder(folder: Path) -> None:
    """Removes `folder`, again where somebody on the way out still writes to it."""
    end = time.monotonic() + GRACE_S
    while folder.exists() and time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.02)


def main() -> None:
    """Reads `[verb, kind, target]` lines until the owner is gone, then ends what is still watched."""
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
