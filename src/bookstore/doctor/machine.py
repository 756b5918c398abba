"""Checks of the machine: ports, file descriptors, CPUs and memory for this process, Python and the libraries."""

from __future__ import annotations

import importlib.metadata
import os
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from bookstore.config.settings import Settings
from bookstore.doctor.finding import Finding
from bookstore.http import server
from bookstore.profile.engine_profile import EngineProfile

CGROUPS: Final = Path("/sys/fs/cgroup")
OWN_CGROUPS: Final = Path("/proc/self/cgroup")
WORKER_BYTES: Final = 128 * 2**20
"""The memory that a worker should have: it starts at some 100 MB, and responses need room."""
OTHER_DESCRIPTORS: Final = 64
"""Descriptors that a worker needs besides connections: files, sockets, those of the event loop."""

_AT_LEAST: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9.]+)")


def ports(settings: Settings) -> Iterator[Finding]:
    """Check the ports as `serve` does."""
    host, port, metrics_host, metrics_port = settings.host, settings.port, settings.metrics_host, settings.metrics_port
    server.check_ports(host, port, metrics_host, metrics_port)
    metrics = f", metrics on {metrics_host}:{metrics_port}" if metrics_port else ""
    yield Finding("ok", "ports", f"{host}:{port} is free{metrics}")


def descriptors(profile: EngineProfile) -> Iterator[Finding]:
    """Check the limit of open files, which holds for each worker, because a worker is a process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    least = profile.connections_per_worker + OTHER_DESCRIPTORS
    most = least + profile.backpressure
    advice = f"ulimit -n {most}, or LimitNOFILE={most} in a systemd unit"
    if soft == resource.RLIM_INFINITY or soft >= most:
        yield Finding("ok", "descriptors", f"{soft} per process; a worker needs at most {most}")
    elif soft < least:
        text = f"{soft} per process; a worker needs {least} even without clients"
        yield Finding("warning", "descriptors", text, advice)
    else:
        yield Finding(
            "note",
            "descriptors",
            f"{soft} per process, enough for {soft - least} clients of a worker; its backpressure allows "
            f"{profile.backpressure}",
            f"{advice}, or a smaller backpressure",
        )


def cpus_and_memory(profile: EngineProfile, root: Path = CGROUPS, own: Path = OWN_CGROUPS) -> Iterator[Finding]:
    """Check that the CPUs and the memory that the control groups allow are enough for the workers."""
    cpus, memory = cgroup_limits(root, own)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    usable = min(cpus or cores, cores)
    if profile.workers > max(1, usable):
        yield Finding(
            "note",
            "CPUs",
            f"{profile.workers} workers share {usable:g}; extra workers cost memory and connections",
            "use one worker for each CPU that PostgreSQL does not need",
        )
    else:
        yield Finding("ok", "CPUs", f"{usable:g} for {_workers(profile)}")
    if memory is None:
        return
    each = memory // (profile.workers + 1)
    text = f"limit {memory >> 20} MiB: {each >> 20} MiB for each of {_workers(profile)} plus 1 while one is replaced"
    if each < WORKER_BYTES:
        yield Finding("warning", "memory", text, f"allow {WORKER_BYTES >> 20} MiB for each, or use fewer workers")
    else:
        yield Finding("ok", "memory", text)


def cgroup_limits(root: Path, own: Path) -> tuple[float | None, int | None]:
    """Return the CPUs and the bytes that the control groups allow (cgroups(7), version 2 or 1), None for no limit."""
    cpus: list[float] = []
    memory: list[int] = []
    for folder in _cgroup_folders(root, own):
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            cpus.append(int(quota) / int(period))
        with suppress(OSError, ValueError):
            quota = (folder / "cpu.cfs_quota_us").read_text()
            if int(quota) > 0:
                cpus.append(int(quota) / int((folder / "cpu.cfs_period_us").read_text()))
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                memory.append(int((folder / name).read_text()))
    limited = [size for size in memory if size < 2**60]  # version 1 reports 2^63 minus a page for no limit
    return min(cpus, default=None), min(limited, default=None)


def _cgroup_folders(root: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of this process's groups and of all their parents. In a container the root is its own group."""
    lines = []
    with suppress(OSError):
        lines = own.read_text().splitlines()
    for line in lines or ["0::/"]:
        _, controllers, path = line.split(":", 2)
        for top in [root, *(root / controller for controller in controllers.split(",") if controller)]:
            own_folder = top / path.lstrip("/")
            yield from (folder for folder in (own_folder, *own_folder.parents) if top in (folder, *folder.parents))


def versions() -> Iterator[Finding]:
    """Check that the installed libraries are as new as this package requires, and report Python's version."""
    python = ".".join(map(str, sys.version_info[:3]))
    outdated = []
    for requirement in importlib.metadata.requires("bookstore") or []:
        match = _AT_LEAST.match(requirement)
        if match is None or "extra ==" in requirement:
            continue
        try:
            installed = importlib.metadata.version(match[1])
        except importlib.metadata.PackageNotFoundError:
            if ";" not in requirement:  # otherwise it is for another platform
                outdated.append(f"{match[1]} is missing")
            continue
        if _version_numbers(installed) < _version_numbers(match[2]):
            outdated.append(f"{match[1]} {installed} is older than {match[2]}")
    if outdated:
        yield Finding(
            "warning", "versions", "; ".join(outdated), "pip install --require-hashes -r requirements-service.lock"
        )
    else:
        yield Finding("ok", "versions", f"Python {python}; all libraries are new enough")


def _version_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", re.split(r"[a-z+]", version)[0]))


def _workers(profile: EngineProfile) -> str:
    return f"{profile.workers} worker{'s' if profile.workers > 1 else ''}"
