"""Runs on disk: one folder each, with run.json and every sample, that is either complete or absent."""

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

from bookstore.config.text import undecodable
from bookstore.exceptions import ConfigurationError
from bookstore.lab.record import samples
from bookstore.lab.record.run_record import SCHEMA_VERSION, Run
from bookstore.lab.record.samples import Samples
from bookstore.lab.storage import version_1

FILE: Final = "run.json"


def folder_name(started_at: datetime, names: list[str]) -> str:
    """Return a folder name of at most 120 characters: `20260131T080000_psycopg-sync-lazy_asyncpg-json`."""
    safe = ["".join(c if c.isalnum() or c in "-_" else "-" for c in name) for name in names]
    return f"{started_at:%Y%m%dT%H%M%S}_{'_'.join(safe)}"[:120]


def read(path: Path) -> Run:
    """Read a run from its folder or its run.json, in the current or the previous schema version.

    Raises ConfigurationError if there is no readable run record.
    """
    if shown := undecodable(str(path)):
        raise ConfigurationError(f"{shown}: found bytes that are not UTF-8; rename the folder")
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
    """Return a function (profile, round number) -> samples, for either schema version.

    Raises ConfigurationError if they cannot be read.
    """
    if (folder / samples.FILE).exists():
        return lambda label, number: samples.read(folder, label, number)
    parts = version_1.samples(folder / version_1.FILE, run.workload.warm_up)
    return lambda label, number: parts.get((label, number), samples.empty())


@contextmanager
def exclusive_use(output: Path) -> Iterator[list[Path]]:
    """Lock the lab for one comparison at a time, because two would disturb each other's figures.

    Removes the folders left by killed comparisons and yields their paths. Raises ConfigurationError, before anything
    starts, if another comparison is running or `output` cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / ".probe").touch()
        (output / ".probe").unlink()
    except OSError as error:
        raise ConfigurationError(f"{output}: cannot be written: {error.strerror}; choose another --output") from None
    lock_file = Path(tempfile.gettempdir()) / f"bookstore-lab-{os.getuid()}.lock"
    lock = fasteners.InterProcessLock(lock_file)
    if not lock.acquire(blocking=False):
        lock.lockfile.close()
        raise ConfigurationError(
            f"another comparison of this user is running, process {lock_file.read_text() or 'unknown'}; "
            "wait for it or stop it"
        )
    try:
        lock.lockfile.truncate(0)  # through its own handle: closing another one would release the lock
        lock.lockfile.write(str(os.getpid()))
        lock.lockfile.flush()
        leftovers = sorted(output.glob(".*.partial"))
        for folder in leftovers:
            shutil.rmtree(folder, ignore_errors=True)
        yield leftovers
    finally:
        lock.release()


def list_runs(output: Path) -> list[Path]:
    """Return the folders of complete runs below `output`, oldest first."""
    return sorted(path.parent for path in output.glob(f"[!.]*/{FILE}")) if output.is_dir() else []
