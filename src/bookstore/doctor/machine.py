"""The machine: ports, descriptors, the CPUs and memory this process may use, Python and the libraries."""

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
"""What a worker should have: it starts at some 100 MB (docs/decisions.md), and answers need room."""
OTHER_DESCRIPTORS: Final = 64
"""What a worker has open besides connections: files, sockets, the event loop's own."""

_AT_LEAST: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9.]+)")


def ports(found: Settings) -> Iterator[Finding]:
    """As `serve` tries them, or refuses them."""
    server.check_ports(found.host, found.port, found.metrics_host, found.metrics_port)
    metrics = f", metrics on {found.metrics_host}:{found.metrics_port}" if found.metrics_port else ""
    yield Finding("ok", "ports", f"{found.host}:{found.port} is free{metrics}")


def descriptors(profile: EngineProfile) -> Iterator[Finding]:
    """Each worker is a process, with a limit of its own."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    least = profile.connections_per_worker + OTHER_DESCRIPTORS
    most = least + profile.backpressure
    advice = f"ulimit -n {most}; LimitNOFILE={most} in a systemd unit"
    if soft == resource.RLIM_INFINITY or soft >= most:
        yield Finding("ok", "descriptors", f"{soft} a process, a worker needs at most {most}")
    elif soft < least:
        yield Finding("warning", "descriptors", f"{soft} a process, a worker needs {least} without a client", advice)
    else:
        yield Finding(
            "note",
            "descriptors",
            f"{soft} a process: enough for {soft - least} clients of a worker, its backpressure lets in "
            f"{profile.backpressure}",
            f"{advice}; or a smaller backpressure",
        )


def cpus_and_memory(profile: EngineProfile, root: Path = CGROUPS, own: Path = OWN_CGROUPS) -> Iterator[Finding]:
    """The workers against the CPUs and the memory that the control groups leave them."""
    cpus, memory = cgroup_limits(root, own)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    usable = min(cpus or cores, cores)
    if profile.workers > max(1, usable):
        yield Finding(
            "note",
            "CPUs",
            f"{profile.workers} workers on {usable:g}: they take turns, and cost memory and connections",
            "a worker for each CPU that PostgreSQL does not need",
        )
    else:
        yield Finding("ok", "CPUs", f"{usable:g} for {_workers(profile)}")
    if memory is None:
        return
    each = memory // (profile.workers + 1)
    said = f"limit {memory >> 20} MiB: {each >> 20} MiB for each of {_workers(profile)}, one of which may be replaced"
    if each < WORKER_BYTES:
        yield Finding("warning", "memory", said, f"{WORKER_BYTES >> 20} MiB for each, or fewer workers")
    else:
        yield Finding("ok", "memory", said)


def cgroup_limits(root: Path, own: Path) -> tuple[float | None, int | None]:
    """CPUs and bytes that the control groups allow (cgroups(7), version 2 or 1); None where nothing is limited."""
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
    real = [one for one in memory if one < 2**60]  # version 1 says 2^63 less a page for no limit
    return min(cpus, default=None), min(real, default=None)


def _cgroup_folders(root: Path, own: Path) -> Iterator[Path]:
    """This process's groups and all above them; in a container the root is its own."""
    lines = []
    with suppress(OSError):
        lines = own.read_text().splitlines()
    for line in lines or ["0::/"]:
        _, controllers, path = line.split(":", 2)
        for top in [root, *(root / one for one in controllers.split(",") if one)]:
            folder = top / path.lstrip("/")
            yield from (one for one in (folder, *folder.parents) if one == top or top in one.parents)


def versions() -> Iterator[Finding]:
    """Python, and the libraries against the least that this package asks for."""
    python = ".".join(map(str, sys.version_info[:3]))
    old = []
    asked = importlib.metadata.requires("bookstore") or []
    for requirement in asked:
        match = _AT_LEAST.match(requirement)
        if match is None or "extra ==" in requirement:
            continue
        try:
            have = importlib.metadata.version(match[1])
        except importlib.metadata.PackageNotFoundError:
            if ";" not in requirement:  # else it is for another system
                old.append(f"{match[1]} is missing")
            continue
        if _version_numbers(have) < _version_numbers(match[2]):
            old.append(f"{match[1]} {have} is older than {match[2]}")
    if old:
        yield Finding(
            "warning", "versions", "; ".join(old), "pip install --require-hashes -r requirements-service.lock"
        )
    else:
        yield Finding("ok", "versions", f"Python {python}, and every library is as new as it has to be")


def _version_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", re.split(r"[a-z+]", version)[0]))


def _workers(profile: EngineProfile) -> str:
    return f"{profile.workers} worker{'s' if profile.workers > 1 else ''}"
