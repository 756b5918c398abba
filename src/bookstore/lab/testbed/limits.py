"""Production's share of the machine: a limit of CPUs and memory for the service, and for nothing else.

By the kernel's control groups, version 2 or 1, where they may be made; else by CPU affinity, which knows whole
CPUs only and no memory. What was used, and why not more, is part of the record.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from bookstore.exceptions import ConfigurationError
from bookstore.lab.record.run_record import Limits

ROOT: Final = Path("/sys/fs/cgroup")
PERIOD_US: Final = 100_000
"""The span over which the kernel counts CPU time; its own default."""
MIN_MEMORY_BYTES: Final = 64 * 2**20
"""A worker of the service needs more than this to start at all."""

_PREFIX: Final = "bookstore-lab-"


class ResourceLimiter:
    """What holds the service to its share: every process that is entered, and all that those start. This one
    holds nothing."""

    means = "none"

    def __init__(self, told: str = "") -> None:
        self.told = told

    def enter(self, pid: int) -> None:
        """From now on `pid` is held."""

    def close(self) -> None:
        """Takes the limiter away. The processes in it have ended."""


class _ControlGroups(ResourceLimiter):
    """Control groups, one or, in version 1, one for each controller. Raises OSError where none can be made."""

    def __init__(self, folders: dict[Path, dict[str, str]], means: str) -> None:
        super().__init__()
        self.means = means
        self._made: list[Path] = []
        try:
            for folder, settings in folders.items():
                folder.mkdir()
                self._made.append(folder)
                for name, value in settings.items():
                    (folder / name).write_text(value)
        except OSError:
            self.close()
            raise

    def enter(self, pid: int) -> None:
        for folder in self._made:
            (folder / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        for folder in self._made:
            with suppress(
                OSError
            ):  # a process that has just ended may hold it for a moment; the next start looks again
                folder.rmdir()


class _Affinity(ResourceLimiter):
    """The first CPUs of those that this process may use."""

    means = "taskset"

    def __init__(self, cpus: float, told: str) -> None:
        allowed = sorted(os.sched_getaffinity(0))
        super().__init__(told)
        self._cpus = set(allowed[: max(1, round(cpus))])

    def enter(self, pid: int) -> None:
        os.sched_setaffinity(pid, self._cpus)


def check(limits: Limits) -> None:
    """Raises ConfigurationError for a limit that this machine cannot give."""
    cores, memory = len(os.sched_getaffinity(0)), psutil.virtual_memory().total
    if limits.cpus is not None and not 0.05 <= limits.cpus <= cores:
        raise ConfigurationError(
            f"--limit-cpu: found {limits.cpus:g}; allowed is 0.05 to {cores}, the CPUs of this machine"
        )
    if limits.memory_bytes is not None and not MIN_MEMORY_BYTES <= limits.memory_bytes <= memory:
        raise ConfigurationError(
            f"--limit-memory: found {limits.memory_bytes / 2**20:.0f} MiB; allowed is "
            f"{MIN_MEMORY_BYTES >> 20} MiB to {memory >> 20} MiB, the memory of this machine"
        )


def limits_in_force(pid: int, root: Path = ROOT) -> Limits:
    """What the kernel holds `pid` to, by its control group and those above it; by the means `none` where to nothing."""
    groups = {
        controller: path
        for _, controllers, path in (
            line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
        )
        for controller in controllers.split(",")
    }
    if (root / "cgroup.controllers").exists():
        means, own = "cgroup2", root / groups[""].lstrip("/")
        cpus = _lowest(own, root, "cpu.max", lambda text: _parse_cpu_share(*text.split()))
        memory = _lowest(own, root, "memory.max", _parse_bytes)
    else:
        means = "cgroup1"
        cpu, own = root / "cpu", root / "memory" / groups.get("memory", "/").lstrip("/")
        cpus = _lowest(cpu / groups.get("cpu", "/").lstrip("/"), cpu, "cpu.cfs_quota_us", _parse_cpu_share)
        memory = _lowest(own, root / "memory", "memory.limit_in_bytes", _parse_bytes)
    return Limits(cpus, None if memory is None else int(memory), means if cpus or memory else "none")


def _lowest(own: Path, top: Path, name: str, amount: Callable[[str], float | None]) -> float | None:
    """The least of what the group and those above it, below `top`, have in the file `name`."""
    found = []
    while own != top and top in own.parents:
        with suppress(OSError):
            found.append(amount((own / name).read_text(encoding="utf-8").strip()))
        own = own.parent
    return min((it for it in found if it is not None), default=None)


def _parse_cpu_share(quota: str, period: str = str(PERIOD_US)) -> float | None:
    return None if quota in {"max", "-1"} else int(quota) / int(period)


def _parse_bytes(text: str) -> float | None:
    return None if text == "max" or int(text) >= 2**62 else int(text)  # version 1 says no limit as a huge one


@contextmanager
def resource_limiter(asked: Limits, root: Path = ROOT) -> Iterator[tuple[ResourceLimiter, Limits]]:
    """A limiter of the `asked` size, and the Limits as they hold: with the means used, and what it cannot do."""
    _remove_stale_groups(root)
    made = _create_limiter(asked, root)
    try:
        yield made, Limits(asked.cpus, asked.memory_bytes, made.means, made.told)
    finally:
        made.close()


def _create_limiter(asked: Limits, root: Path) -> ResourceLimiter:
    if asked.cpus is None and asked.memory_bytes is None:
        return ResourceLimiter()
    name = f"{_PREFIX}{os.getpid()}"
    try:
        if (root / "cgroup.controllers").exists():
            return _ControlGroups({_parent_group_v2(root, asked) / name: _settings_v2(asked)}, "cgroup2")
        return _ControlGroups(
            {root / controller / name: it for controller, it in _settings_v1(asked).items()}, "cgroup1"
        )
    except OSError as error:
        reason = f"no control group could be made ({error.strerror})"
    if not hasattr(os, "sched_setaffinity") or asked.cpus is None:
        return ResourceLimiter(f"nothing is limited: {reason}")
    told = reason
    if asked.cpus != round(asked.cpus) or asked.cpus < 1:
        told += f"; affinity knows whole CPUs only: {max(1, round(asked.cpus))} instead of {asked.cpus:g}"
    if asked.memory_bytes is not None:
        told += "; memory is not limited"
    return _Affinity(asked.cpus, told)


def _parent_group_v2(root: Path, asked: Limits) -> Path:
    """A group whose children get the controllers: this process's own or one above it, down to the root. A group
    with processes of its own gives its children none, but for the root (cgroups(7), no internal processes)."""
    own = next(
        (line.partition("::")[2] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"),
        "/",
    )
    wanted = {name for name, value in (("cpu", asked.cpus), ("memory", asked.memory_bytes)) if value is not None}
    folder = root / own.lstrip("/")
    while True:
        with suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(wanted)))
        if wanted <= set((folder / "cgroup.subtree_control").read_text().split()) or folder == root:
            return folder
        folder = folder.parent


def _settings_v2(asked: Limits) -> dict[str, str]:
    settings = {}
    if asked.cpus is not None:
        settings["cpu.max"] = f"{asked.cpus * PERIOD_US:.0f} {PERIOD_US}"
    if asked.memory_bytes is not None:
        settings["memory.max"] = str(asked.memory_bytes)
    return settings


def _settings_v1(asked: Limits) -> dict[str, dict[str, str]]:
    settings = {}
    if asked.cpus is not None:
        settings["cpu"] = {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": f"{asked.cpus * PERIOD_US:.0f}"}
    if asked.memory_bytes is not None:
        settings["memory"] = {"memory.limit_in_bytes": str(asked.memory_bytes)}
    return settings


def _remove_stale_groups(root: Path) -> None:
    """Removes the empty groups of labs that were killed."""
    for folder in [*root.glob(f"{_PREFIX}*"), *root.glob(f"*/{_PREFIX}*")]:
        owner = folder.name.removeprefix(_PREFIX)
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            with suppress(OSError):
                folder.rmdir()
