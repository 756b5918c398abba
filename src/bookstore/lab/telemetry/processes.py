"""Per-process resource usage, sampled cheaply enough not to disturb what it measures.

On Linux it comes directly from the kernel. The process's CPU clock counts nanoseconds and needs no open file, where
/proc/<pid>/stat counts ticks of 10 ms. smaps_rollup is expensive, because the kernel walks over all pages: 1.2 ms for
a worker of 100 MB, 3 ms if it is busy. The caller therefore decides when to read memory. On other systems psutil is
used.
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


class Gone(Exception):  # noqa: N818 - an expected outcome
    """The process has ended, or must not be read."""


class Pace:
    """Limits an expensive operation to `share_ratio` of the time, but allows it at least every `longest_s` seconds."""

    def __init__(self, share_ratio: float, longest_s: float) -> None:
        self._share_ratio = share_ratio
        self._longest_s = longest_s
        self._due_s = -math.inf

    def is_due(self) -> bool:
        return time.monotonic() >= self._due_s

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure the CPU time of the operation, without its waits, and schedule the next one."""
        began_s = time.thread_time()
        yield
        took_s = time.thread_time() - began_s
        self._due_s = time.monotonic() + min(took_s / self._share_ratio, self._longest_s)


class Process(Protocol):
    def read(self, with_memory: bool) -> Mapping[str, float]:
        """Return rss_bytes, cpu_s, threads and descriptors, and with `with_memory` pss_bytes and uss_bytes, as far as
        the system provides them.

        PSS counts a page shared by n processes as 1/n, so it can be summed. Raises Gone, also for a zombie.
        """

    def close(self) -> None: ...


def process(pid: int) -> Process:
    return _Linux(pid) if IS_LINUX else _Portable(pid)


def cpu_s(pid: int) -> float:
    """Return the user and system CPU seconds of a process with all its threads. Raises Gone."""
    try:
        if IS_LINUX:
            return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3), which Python lacks
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
    """Keeps its /proc files open: they report that a process has ended even if its pid is reused."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._statm = _open_proc_file(pid, "statm")
        self._rollup = _open_proc_file(pid, "smaps_rollup")

    def read(self, with_memory: bool) -> Mapping[str, float]:
        if self._statm is None:
            raise Gone(str(self._pid))
        try:
            pages = int(os.pread(self._statm, 100, 0).split()[1])
            threads = os.stat(f"/proc/{self._pid}/task").st_nlink - 2  # noqa: PTH116 - a Path is ten times slower
            descriptors = _descriptors(f"/proc/{self._pid}/fd")
            memory = _memory(self._rollup) if with_memory and self._rollup is not None else {}
        except OSError as error:
            raise Gone(str(self._pid)) from error
        if not pages:  # a zombie
            raise Gone(str(self._pid))
        used = {"rss_bytes": pages * _PAGE_BYTES, "threads": threads, "cpu_s": cpu_s(self._pid)}
        return used | memory | ({"descriptors": descriptors} if descriptors is not None else {})

    def close(self) -> None:
        for descriptor in (self._statm, self._rollup):
            if descriptor is not None:
                os.close(descriptor)
        self._statm = self._rollup = None


class _Portable:
    def __init__(self, pid: int) -> None:
        self._pid = pid

    def read(self, with_memory: bool) -> Mapping[str, float]:
        try:
            process = psutil.Process(self._pid)
            values = {
                "threads": process.num_threads(),
                "rss_bytes": process.memory_info().rss,
                "cpu_s": cpu_s(self._pid),
            }
            if with_memory:
                values["uss_bytes"] = process.memory_full_info().uss
            if hasattr(process, "num_fds"):
                values["descriptors"] = process.num_fds()
        except psutil.Error as error:
            raise Gone(str(self._pid)) from error
        return values

    def close(self) -> None:
        pass


class Family:
    """A process and its changing children: PostgreSQL's postmaster and its backends."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._memory: dict[int, int | None] = {}

    def read(self, with_memory: bool) -> Mapping[str, float]:
        """Return cpu_s, including children that have ended, and with `with_memory` pss_bytes.

        Reading memory takes about 0.2 ms per backend, more if they are busy. Raises Gone if the parent has ended.
        """
        children = self._children()
        used = cpu_s(self._pid) + self._ended_children_cpu_s()
        for child in children:
            with suppress(Gone):  # it has just ended; the next reading of the parent includes its time
                used += cpu_s(child)
        values = {"cpu_s": used}
        if with_memory and IS_LINUX:
            values |= self._pss([self._pid, *children])
        return values

    def close(self) -> None:
        for descriptor in self._memory.values():
            if descriptor is not None:
                os.close(descriptor)
        self._memory.clear()

    def _children(self) -> list[int]:
        try:
            if IS_LINUX:
                return [int(pid) for pid in Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()]
            return [child.pid for child in psutil.Process(self._pid).children()]
        except (OSError, psutil.Error) as error:
            raise Gone(str(self._pid)) from error

    def _ended_children_cpu_s(self) -> float:
        """Return the CPU seconds of children that have ended and that the parent has waited for."""
        if not IS_LINUX:
            return 0.0
        try:
            fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        except OSError as error:
            raise Gone(str(self._pid)) from error
        if fields[0] in "ZX":  # a zombie
            raise Gone(str(self._pid))
        return (int(fields[13]) + int(fields[14])) / _TICKS_PER_S  # cutime, cstime: proc_pid_stat(5)

    def _pss(self, pids: list[int]) -> dict[str, float]:
        """Return the sum of PSS; empty if a process cannot be read, because a partial sum would be too small."""
        for pid in self._memory.keys() - pids:
            if (descriptor := self._memory.pop(pid)) is not None:
                os.close(descriptor)
        pss_bytes = 0.0
        for pid in pids:
            if pid not in self._memory:
                self._memory[pid] = _open_proc_file(pid, "smaps_rollup")
            descriptor = self._memory[pid]
            try:
                if descriptor is None:
                    return {}
                pss_bytes += _memory(descriptor)["pss_bytes"]
            except ProcessLookupError:
                continue  # it has just ended and uses no memory
            except OSError:
                return {}
        return {"pss_bytes": pss_bytes}


def _open_proc_file(pid: int, name: str) -> int | None:
    try:
        return os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _memory(rollup: int) -> dict[str, float]:
    """Return PSS and USS from an open smaps_rollup, whose lines are `Pss: 123 kB`."""
    lines = (line.split() for line in os.pread(rollup, 4096, 0).decode().splitlines()[1:])
    sizes = {name: int(value) * 1024 for name, value, _ in lines}
    uss = sum(value for name, value in sizes.items() if name.startswith("Private_"))
    return {"pss_bytes": sizes["Pss:"], "uss_bytes": uss}


def _descriptors(folder: str) -> int | None:
    """Return the number of open descriptors; None for another user's process. Linux 6.2+ reports it as the folder's
    size."""
    try:
        return os.stat(folder).st_size or len(os.listdir(folder))  # noqa: PTH116, PTH208 - as above
    except PermissionError:
        return None
