"""What a process uses, read as cheaply as the system allows: a look must not cost what it looks at.

On Linux the kernel is asked directly: the process's CPU clock, to the nanosecond and without opening a file, where
/proc/<pid>/stat counts ticks of 10 ms; and smaps_rollup, which is dear: the kernel walks over all pages, 1.2 ms for
a worker of 100 MB, 3 ms where the worker is busy. So who looks says when it is to be read. Elsewhere psutil is asked.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import psutil

IS_LINUX: Final = Path("/proc/self/smaps_rollup").exists()

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Gone(Exception):  # noqa: N818 - it is an answer, not an accident
    """The process has ended, or may not be read."""


class Pace:
    """When something dear may be done again: so that it takes no more than `share_ratio` of the time, but at least
    every `longest_s`."""

    def __init__(self, share_ratio: float, longest_s: float) -> None:
        self._share_ratio = share_ratio
        self._longest_s = longest_s
        self._due_s = -math.inf

    def is_due(self) -> bool:
        return time.monotonic() >= self._due_s

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around what is dear; its own CPU counts, not its waits."""
        began_s = time.thread_time()
        yield
        took_s = time.thread_time() - began_s
        self._due_s = time.monotonic() + min(took_s / self._share_ratio, self._longest_s)


class Process(Protocol):
    def read(self, with_memory: bool) -> Mapping[str, float]:
        """rss_bytes, cpu_s, threads and descriptors, and with `with_memory` pss_bytes and uss_bytes, as far as
        the system tells them. PSS counts a page shared by n processes as its n-th part, so it may be summed.
        Raises Gone, for a process that has ended and was not waited for too."""

    def close(self) -> None: ...


def process(pid: int) -> Process:
    return _Linux(pid) if IS_LINUX else _Portable(pid)


def cpu_s(pid: int) -> float:
    """CPU seconds, user's and system's, of a process with all its threads. Raises Gone."""
    try:
        if IS_LINUX:
            return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3), which Python does not have
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system
    except (OSError, psutil.Error) as error:
        raise Gone(str(pid)) from error


def parent(pid: int) -> int | None:
    try:
        return psutil.Process(pid).ppid() or None
    except psutil.Error:
        return None


class _Linux:
    """Keeps its files open: those of a process that is gone say so, even where its number was given anew."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._statm = _open_proc_file(pid, "statm")
        self._rollup = _open_proc_file(pid, "smaps_rollup")

    def read(self, with_memory: bool) -> Mapping[str, float]:
        if self._statm is None:
            raise Gone(str(self._pid))
        try:
            pages = int(os.pread(self._statm, 100, 0).split()[1])
            threads = os.stat(f"/proc/{self._pid}/task").st_nlink - 2  # noqa: PTH116 - a Path takes ten times as long
            descriptors = _descriptors(f"/proc/{self._pid}/fd")
            memory = _memory(self._rollup) if with_memory and self._rollup is not None else {}
        except OSError as error:
            raise Gone(str(self._pid)) from error
        if not pages:  # ended, and nobody has waited for it
            raise Gone(str(self._pid))
        used = {"rss_bytes": pages * _PAGE_BYTES, "threads": threads, "cpu_s": cpu_s(self._pid)}
        return used | memory | ({"descriptors": descriptors} if descriptors is not None else {})

    def close(self) -> None:
        for opened in (self._statm, self._rollup):
            if opened is not None:
                os.close(opened)
        self._statm = self._rollup = None


class _Portable:
    def __init__(self, pid: int) -> None:
        self._pid = pid

    def read(self, with_memory: bool) -> Mapping[str, float]:
        try:
            one = psutil.Process(self._pid)
            values = {"threads": one.num_threads(), "rss_bytes": one.memory_info().rss, "cpu_s": cpu_s(self._pid)}
            if with_memory:
                values["uss_bytes"] = one.memory_full_info().uss
            if hasattr(one, "num_fds"):
                values["descriptors"] = one.num_fds()
        except psutil.Error as error:
            raise Gone(str(self._pid)) from error
        return values

    def close(self) -> None:
        pass


class Family:
    """A process and its children, who come and go: PostgreSQL's postmaster and its backends."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._memory: dict[int, int | None] = {}

    def read(self, with_memory: bool) -> Mapping[str, float]:
        """cpu_s, of children that have ended too; with `with_memory` pss_bytes, which takes some 0.2 ms a
        backend, more where they are busy. Raises Gone where the parent has ended."""
        children = self._children()
        used = cpu_s(self._pid) + self._ended_children_cpu_s()
        for child in children:
            with suppress(Gone):  # it ended between the two reads; its time is the parent's at the next look
                used += cpu_s(child)
        values = {"cpu_s": used}
        if with_memory and IS_LINUX:
            values |= self._pss([self._pid, *children])
        return values

    def close(self) -> None:
        for opened in self._memory.values():
            if opened is not None:
                os.close(opened)
        self._memory.clear()

    def _children(self) -> list[int]:
        try:
            if IS_LINUX:
                return [int(pid) for pid in Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()]
            return [child.pid for child in psutil.Process(self._pid).children()]
        except (OSError, psutil.Error) as error:
            raise Gone(str(self._pid)) from error

    def _ended_children_cpu_s(self) -> float:
        """CPU seconds of the children that have ended, which the parent waited for."""
        if not IS_LINUX:
            return 0.0
        try:
            fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        except OSError as error:
            raise Gone(str(self._pid)) from error
        if fields[0] in "ZX":  # ended, and nobody has waited for it
            raise Gone(str(self._pid))
        return (int(fields[13]) + int(fields[14])) / _TICKS_PER_S  # cutime, cstime: proc_pid_stat(5)

    def _pss(self, pids: list[int]) -> dict[str, float]:
        """Nothing where one of them may not be read: a sum of some would be too small."""
        for pid in self._memory.keys() - pids:
            if (opened := self._memory.pop(pid)) is not None:
                os.close(opened)
        pss_bytes = 0.0
        for pid in pids:
            if pid not in self._memory:
                self._memory[pid] = _open_proc_file(pid, "smaps_rollup")
            opened = self._memory[pid]
            try:
                if opened is None:
                    return {}
                pss_bytes += _memory(opened)["pss_bytes"]
            except ProcessLookupError:
                continue  # it has just ended, and uses no memory
            except OSError:
                return {}
        return {"pss_bytes": pss_bytes}


def _open_proc_file(pid: int, name: str) -> int | None:
    try:
        return os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _memory(rollup: int) -> dict[str, float]:
    """PSS and USS of an opened smaps_rollup, whose lines are `Pss:  123 kB`."""
    lines = (line.split() for line in os.pread(rollup, 4096, 0).decode().splitlines()[1:])
    found = {name: int(value) * 1024 for name, value, _ in lines}
    uss = sum(value for name, value in found.items() if name.startswith("Private_"))
    return {"pss_bytes": found["Pss:"], "uss_bytes": uss}


def _descriptors(folder: str) -> int | None:
    """Linux tells their number as the folder's size since 6.2. None where the process is another user's."""
    try:
        return os.stat(folder).st_size or len(os.listdir(folder))  # noqa: PTH116, PTH208 - as above
    except PermissionError:
        return None
