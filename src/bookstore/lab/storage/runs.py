"""Runs on disk: a folder each, with run.json and every sample, that is complete or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import fasteners
import msgspec

from bookstore.exceptions import ConfigurationError
from bookstore.lab.record import samples
from bookstore.lab.record.run_record import SCHEMA_VERSION, Run
from bookstore.lab.record.samples import Samples
from bookstore.lab.storage import version_1

FILE: Final = "run.json"


def folder_name(started_at: datetime, names: list[str]) -> str:
    """`20260131T080000_psycopg-sync-lazy_asyncpg-json`: a folder's name of at most 120 characters."""
    safe = ["".join(c if c.isalnum() or c in "-_" else "-" for c in name) for name in names]
    return f"{started_at:%Y%m%dT%H%M%S}_{'_'.join(safe)}"[:120]


def read(path: Path) -> Run:
    """The run in a folder or its run.json, of this version or the one before. Raises ConfigurationError for what is
    none."""
    file = path / FILE if path.is_dir() else path
    try:
        raw = file.read_bytes()
        version = msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).get("schema_version")
        if version is not None and bytes(version) == b"1":
            return version_1.convert(msgspec.json.decode(raw), file.parent)
        if version is None or bytes(version) != str(SCHEMA_VERSION).encode():
            found = bytes(version).decode() if version else "nothing"
            raise ConfigurationError(
                f"{file}: schema_version: found {found}; this version reads 1 and {SCHEMA_VERSION}"
            )
        return msgspec.json.decode(raw, type=Run)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError) as error:
        raise ConfigurationError(f"{file}: not a run record: {error}") from None


def samples_reader(folder: Path, run: Run) -> Callable[[str, int], Samples]:
    """(profile, number of the round) -> its samples, of this version or the one before. Raises ConfigurationError where
    they cannot be read."""
    if (folder / samples.FILE).exists():
        return lambda label, number: samples.read(folder, label, number)
    parts = version_1.samples(folder / version_1.FILE, run.workload.warm_up)
    return lambda label, number: parts.get((label, number), samples.empty())


@contextmanager
def exclusive_use(output: Path) -> Iterator[list[Path]]:
    """Holds the lab for one comparison at a time: two would disturb each other's figures. Gives the folders that
    comparisons left which were killed; they are removed. Raises ConfigurationError where another one is at work, or
    where nothing can be written; both before anything starts."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / ".probe").touch()
        (output / ".probe").unlink()
    except OSError as error:
        raise ConfigurationError(f"{output}: cannot be written: {error.strerror}; choose another --output") from None
    held = Path(tempfile.gettempdir()) / f"bookstore-lab-{os.getuid()}.lock"
    lock = fasteners.InterProcessLock(held)
    if not lock.acquire(blocking=False):
        lock.lockfile.close()
        raise ConfigurationError(
            f"another comparison of this user is at work, process {held.read_text() or 'unknown'}; "
            f"wait for it, or stop it"
        )
    try:
        lock.lockfile.truncate(0)  # through its own handle: closing another one would give the lock away
        lock.lockfile.write(str(os.getpid()))
        lock.lockfile.flush()
        left = sorted(output.glob(".*.partial"))
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        yield left
    finally:
        lock.release()


def runs(output: Path) -> list[Path]:
    """The folders of complete runs below `output`, oldest first."""
    return sorted(path.parent for path in output.glob(f"[!.]*/{FILE}")) if output.is_dir() else []
