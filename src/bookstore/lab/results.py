"""The run record: everything a comparison measured, in a versioned file that is complete or not there."""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import fasteners
import msgspec

from bookstore.lab.invalid import Invalid
from bookstore.lab.statistics import Interval
from bookstore.lab.workload import Workload, of_version_1
from bookstore.refusal import Refused

SCHEMA_VERSION: Final = 1


class Sample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One request: when it was done (seconds since the load's start), how long it took, its status (0 where
    no response came)."""

    done_s: float
    duration_ms: float
    status: int

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300 or self.status == 304  # what a client has is as good as what it gets


class Reading(msgspec.Struct, frozen=True):
    """One look; null is a gap: that figure could not be had at that moment. PSS and CPU are summed over the
    workers."""

    at_s: float
    pss_bytes: int | None
    cpu_s: float | None
    connections: int | None
    idle_in_transaction: int | None


class Machine(msgspec.Struct, frozen=True):
    system: str
    cpu: str
    cores: int
    memory_bytes: int
    python: str
    postgresql: str
    packages: dict[str, str]


class Catalogue(msgspec.Struct, frozen=True):
    """What the database held, and where it came from."""

    source: str
    books: int


class Measurement(msgspec.Struct, frozen=True):
    """One profile in one round. Latencies are of the measured seconds' requests; each of them is in
    samples.csv.gz, the warm-up's too."""

    profile: str
    requests: int
    errors: int
    throughput_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    ceiling_per_s: float
    workers: list[int]
    readings: list[Reading]


class Round(msgspec.Struct, frozen=True):
    """One deployment of every profile, in the order they were deployed in."""

    number: int
    measurements: list[Measurement]


class Summary(msgspec.Struct, frozen=True):
    """A profile over all rounds. `throughput_ratio` is against the baseline; percentiles are of all rounds'
    requests together, never averaged; `ceiling_share` is throughput over the ceiling's."""

    profile: str
    throughput_per_s: float
    throughput_ratio: Interval
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    pss_bytes: int | None
    connections: int | None
    statements: int
    ceiling_share: float


class Step(msgspec.Struct, frozen=True):
    """Two profiles of the run that differ in one key alone, so that the ratio is that key's doing."""

    key: str
    before: str
    after: str
    baseline: str
    contender: str
    throughput_ratio: Interval


class Run(msgspec.Struct, frozen=True, kw_only=True):
    schema_version: int = SCHEMA_VERSION
    id: str
    started_at: datetime
    seed: int
    workload: Workload
    catalogue: Catalogue
    machine: Machine
    profiles: dict[str, dict[str, str]]
    statements: dict[str, list[str]]
    rounds: list[Round]
    summary: Annotated[list[Summary], msgspec.Meta(min_length=1)]
    steps: list[Step]


def folder_name(started_at: datetime, names: list[str]) -> str:
    """`20260131T080000_psycopg-sync-lazy_asyncpg-json`: a folder's name of at most 120 characters."""
    safe = ["".join(c if c.isalnum() or c in "-_" else "-" for c in name) for name in names]
    return f"{started_at:%Y%m%dT%H%M%S}_{'_'.join(safe)}"[:120]


def store(run: Run, samples: Mapping[tuple[int, str], list[Sample]], output: Path) -> Path:
    """Writes the run's folder below `output` and returns run.json's path. The folder gets its name when all
    is in it: a run that was killed half-way is never taken for a result. Raises Invalid where it cannot be
    written."""
    partial = output / f".{run.id}.partial"
    try:
        partial.mkdir(parents=True)
        _write(run, samples, partial)
        partial.rename(output / run.id)
    except OSError as error:
        raise Invalid(f"{output / run.id}: cannot be written: {error.strerror}; the measurement is lost") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return output / run.id / "run.json"


def _write(run: Run, samples: Mapping[tuple[int, str], list[Sample]], partial: Path) -> None:
    with gzip.open(partial / "samples.csv.gz", "wb") as packed, io.TextIOWrapper(packed, newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["round", "profile", "done_s", "duration_ms", "status"])
        for (number, label), rows in samples.items():
            writer.writerows((number, label, row.done_s, row.duration_ms, row.status) for row in rows)
    with (partial / "run.json").open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(run), indent=1))
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Run:
    """The run in a folder or its run.json. Raises Refused for what is not a run of a known version."""
    file = path / "run.json" if path.is_dir() else path
    try:
        raw = file.read_bytes()
        version = msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).get("schema_version")
        if version is None or bytes(version) != str(SCHEMA_VERSION).encode():
            found = bytes(version).decode() if version else "nothing"
            raise Refused(f"{file}: schema_version: found {found}; this version reads {SCHEMA_VERSION}")
        record = msgspec.json.decode(raw)
        if "path" in record["workload"]:
            record["workload"] = msgspec.to_builtins(of_version_1(record["workload"]))
        return msgspec.convert(record, type=Run)
    except OSError as error:
        raise Refused(f"{file}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"{file}: not a run record: {error}") from None


@contextmanager
def sole_user(output: Path) -> Iterator[None]:
    """Holds `output` for one comparison at a time: two would disturb each other's figures. Raises Refused
    where another one is at work, or where nothing can be written; both before anything starts."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / ".probe").touch()
        (output / ".probe").unlink()
    except OSError as error:
        raise Refused(f"{output}: cannot be written: {error.strerror}; choose another --output") from None
    lock = fasteners.InterProcessLock(Path(tempfile.gettempdir()) / f"bookstore-lab-{os.getuid()}.lock")
    if not lock.acquire(blocking=False):
        lock.lockfile.close()
        raise Refused("another comparison of this user is at work; wait for it, or stop it")
    try:
        for left in output.glob(".*.partial"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.release()


def runs(output: Path) -> list[Path]:
    """The folders of complete runs below `output`, oldest first."""
    return sorted(path.parent for path in output.glob("[!.]*/run.json")) if output.is_dir() else []


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
