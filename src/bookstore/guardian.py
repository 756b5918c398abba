"""A small process that outlives its owner and then ends what the owner left: servers, clusters, folders.

The owner holds the other end of the guardian's stdin. However the owner ends, `kill -9` included, the
kernel closes that pipe and the guardian does what it was told. It works on every POSIX system and, unlike
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
from pathlib import Path
from typing import Literal

GRACE_S = 10.0

Kind = Literal["group", "cluster", "folder"]


class Guardian:
    """Told what to end when this process is gone; `forget` what was ended in good order."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bookstore.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at the terminal is for the owner
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, kind: Kind, target: str | int | Path) -> None:
        """`group`: a process group's id; `cluster`: a PostgreSQL data folder; `folder`: one to remove."""
        self._tell("watch", kind, target)

    def forget(self, kind: Kind, target: str | int | Path) -> None:
        self._tell("forget", kind, target)

    def close(self) -> None:
        """Ends the guardian, and with it whatever it still watches."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Guardian:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self, verb: str, kind: Kind, target: str | int | Path) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps([verb, kind, str(target)]) + "\n")
        self._process.stdin.flush()


def end_group(group: int, grace_s: float = GRACE_S) -> None:
    """SIGTERM to a process group, SIGKILL to what is left of it after `grace_s` seconds."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGTERM)
        end = time.monotonic() + grace_s
        while time.monotonic() < end:
            os.killpg(group, 0)
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)


def end_cluster(data: Path) -> None:
    """An immediate stop of the PostgreSQL server in `data`: what it held is thrown away next."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, signal.SIGQUIT)
        end = time.monotonic() + GRACE_S
        while time.monotonic() < end:
            os.kill(pid, 0)
            time.sleep(0.02)
    except (OSError, ValueError):
        return  # not running, or gone


def main() -> None:
    """Reads `[verb, kind, target]` lines until the owner is gone, then ends what is still watched."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: list[tuple[str, str]] = []
    for line in sys.stdin:
        verb, kind, target = json.loads(line)
        if verb == "watch":
            watched.append((kind, target))
        elif (kind, target) in watched:
            watched.remove((kind, target))
    for kind, target in reversed(watched):
        if kind == "group":
            end_group(int(target))
        elif kind == "cluster":
            end_cluster(Path(target))
        else:
            shutil.rmtree(target, ignore_errors=True)


if __name__ == "__main__":
    main()
