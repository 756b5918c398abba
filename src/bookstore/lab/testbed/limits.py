"""Resource limits: CPU and memory limits, as in production, for the service alone.

They use the kernel's control groups (version 2 or 1) where possible, otherwise CPU affinity, which supports whole CPUs
only and no memory limit. The record says which means was used and why.
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
"""The period in which the kernel counts CPU time; its default."""
MIN_MEMORY_BYTES: Final = 64 * 2**20
"""A worker of the service needs more than this to start."""

_PREFIX: Final = "bookstore-lab-"


class ResourceLimiter:
    """Limits the processes that enter it, and their children. This base class limits nothing."""

    means = "none"

    def __init__(self, reason: str = "") -> None:
        self.reason = reason

    def enter(self, pid: int) -> None:
        """Apply the limits to `pid` from now on."""

    def close(self) -> None:
        """Remove the limiter. The processes in it must have ended."""


class _ControlGroups(ResourceLimiter):
    """Control groups: one, or one per controller in version 1. Raises OSError if they cannot be created."""

    def __init__(self, groups: dict[Path, dict[str, str]], means: str) -> None:
        super().__init__()
        self.means = means
        self._folders: list[Path] = []
        try:
            for folder, settings in groups.items():
                folder.mkdir()
                self._folders.append(folder)
                for name, value in settings.items():
                    (folder / name).write_text(value)
        except OSError:
            self.close()
            raise

    def enter(self, pid: int) -> None:
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        for folder in self._folders:
            with suppress(OSError):  # a process that just ended may still be in it; the next run removes it
                folder.rmdir()


class _Affinity(ResourceLimiter):
    """Restricts processes to the first of the CPUs that this process may use."""

    means = "taskset"

    def __init__(self, cpus: float, reason: str) -> None:
        allowed = sorted(os.sched_getaffinity(0))
        super().__init__(reason)
        self._cpus = set(allowed[: max(1, round(cpus))])

    def enter(self, pid: int) -> None:
        os.sched_setaffinity(pid, self._cpus)


def check(limits: Limits) -> None:
    """Raise ConfigurationError for limits that this machine cannot provide."""
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
    """Return the limits the kernel enforces on `pid`, by its control group and those above; `none` without any."""
    paths = {
        controller: path
        for _, controllers, path in (
            line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
        )
        for controller in controllers.split(",")
    }
    if (root / "cgroup.controllers").exists():
        means, group = "cgroup2", root / paths[""].lstrip("/")
        cpus = _lowest(group, root, "cpu.max", lambda text: _parse_cpu_share(*text.split()))
        memory = _lowest(group, root, "memory.max", _parse_bytes)
    else:
        means = "cgroup1"
        cpu, group = root / "cpu", root / "memory" / paths.get("memory", "/").lstrip("/")
        cpus = _lowest(cpu / paths.get("cpu", "/").lstrip("/"), cpu, "cpu.cfs_quota_us", _parse_cpu_share)
        memory = _lowest(group, root / "memory", "memory.limit_in_bytes", _parse_bytes)
    return Limits(cpus, None if memory is None else int(memory), means if cpus or memory else "none")


def _lowest(group: Path, top: Path, name: str, parse: Callable[[str], float | None]) -> float | None:
    """Return the lowest value in the file `name` of the group and those above it, below `top`."""
    values = []
    while group != top and top in group.parents:
        with suppress(OSError):
            values.append(parse((group / name).read_text(encoding="utf-8").strip()))
        group = group.parent
    return min((value for value in values if value is not None), default=None)


def _parse_cpu_share(quota: str, period: str = str(PERIOD_US)) -> float | None:
    return None if quota in {"max", "-1"} else int(quota) / int(period)


def _parse_bytes(text: str) -> float | None:
    return None if text == "max" or int(text) >= 2**62 else int(text)  # version 1 expresses no limit as a huge number


@contextmanager
def resource_limiter(requested: Limits, root: Path = ROOT) -> Iterator[tuple[ResourceLimiter, Limits]]:
    """A limiter of the `requested` limits, and the limits as applied, with the means and what it cannot limit."""
    _remove_stale_groups(root)
    limiter = _create_limiter(requested, root)
    try:
        yield limiter, Limits(requested.cpus, requested.memory_bytes, limiter.means, limiter.reason)
    finally:
        limiter.close()


def _create_limiter(requested: Limits, root: Path) -> ResourceLimiter:
    if requested.cpus is None and requested.memory_bytes is None:
        return ResourceLimiter()
    name = f"{_PREFIX}{os.getpid()}"
    try:
        if (root / "cgroup.controllers").exists():
            return _ControlGroups({_parent_group_v2(root, requested) / name: _settings_v2(requested)}, "cgroup2")
        return _ControlGroups(
            {root / controller / name: settings for controller, settings in _settings_v1(requested).items()}, "cgroup1"
        )
    except OSError as error:
        reason = f"cannot create a control group ({error.strerror})"
    if not hasattr(os, "sched_setaffinity") or requested.cpus is None:
        return ResourceLimiter(f"no limit applied: {reason}")
    reasons = reason
    if requested.cpus != round(requested.cpus) or requested.cpus < 1:
        reasons += f"; affinity supports whole CPUs only: {max(1, round(requested.cpus))} instead of {requested.cpus:g}"
    if requested.memory_bytes is not None:
        reasons += "; memory is not limited"
    return _Affinity(requested.cpus, reasons)


def _parent_group_v2(root: Path, requested: Limits) -> Path:
    """Return a group whose children get the controllers: this process's own or one above it, up to the root.

    Only the root may have both processes and controllers for its children (cgroups(7), no internal processes).
    """
    own_group = next(
        (line.partition("::")[2] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"),
        "/",
    )
    controllers = {
        name for name, value in (("cpu", requested.cpus), ("memory", requested.memory_bytes)) if value is not None
    }
    folder = root / own_group.lstrip("/")
    while True:
        with suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(controllers)))
        if controllers <= set((folder / "cgroup.subtree_control").read_text().split()) or folder == root:
            return folder
        folder = folder.parent


def _settings_v2(requested: Limits) -> dict[str, str]:
    settings = {}
    if requested.cpus is not None:
        settings["cpu.max"] = f"{requested.cpus * PERIOD_US:.0f} {PERIOD_US}"
    if requested.memory_bytes is not None:
        settings["memory.max"] = str(requested.memory_bytes)
    return settings


def _settings_v1(requested: Limits) -> dict[str, dict[str, str]]:
    settings = {}
    if requested.cpus is not None:
        settings["cpu"] = {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": f"{requested.cpus * PERIOD_US:.0f}"}
    if requested.memory_bytes is not None:
        settings["memory"] = {"memory.limit_in_bytes": str(requested.memory_bytes)}
    return settings


def _remove_stale_groups(root: Path) -> None:
    """Remove the empty groups of labs that were killed."""
    for folder in [*root.glob(f"{_PREFIX}*"), *root.glob(f"*/{_PREFIX}*")]:
        owner = folder.name.removeprefix(_PREFIX)
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            with suppress(OSError):
                folder.rmdir()
