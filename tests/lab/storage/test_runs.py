"""Runs on disk: stored runs are read back, other files are rejected."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.record import run_record, samples
from bookstore.lab.record.run_record import Run
from bookstore.lab.record.samples import Samples
from bookstore.lab.storage.partial_run import PartialRun
from bookstore.lab.storage.runs import exclusive_use, folder_name, list_runs, read, samples_reader

MakeRun = Callable[..., Run]


@pytest.fixture
def run(make_record: MakeRun) -> Run:
    return make_record({"one": [100.0, 110.0], "two": [200.0, 205.0]})


def sampled(number: int) -> Samples:
    latency = np.linspace(1, number, 5, dtype=np.float32)
    return Samples(np.linspace(0, 1, 5), latency, latency, np.full(5, 200, np.int16), np.zeros(5, np.uint8))


def store(run: Run, output: Path) -> Path:
    with PartialRun(output, run.id) as partial_run:
        for each in run.rounds:
            for measurement in each.measurements:
                partial_run.add(each.number, measurement, sampled(each.number))
        return partial_run.finish(run)


def test_round_trip(run: Run, tmp_path: Path) -> None:
    """A stored run, with all its samples, is read back unchanged by its folder or its file."""
    path = store(run, tmp_path / "runs")
    assert path == tmp_path / "runs" / run.id / "run.json"
    assert read(path) == read(path.parent) == run
    stored = samples_reader(path.parent, run)("two", 2)
    assert np.array_equal(stored.latency_ms, sampled(2).latency_ms)
    assert list_runs(tmp_path / "runs") == [path.parent]


def test_a_record_of_version_1_is_read_with_its_samples() -> None:
    """A run stored by an earlier version can still be read."""
    folder = Path(__file__).parent / "data/version_1"
    run = read(folder)
    label = run.contenders[0].label
    assert run.schema_version == 2
    assert len(samples_reader(folder, run)(label, 1)) > 0
    assert not (folder / samples.FILE).exists()


def change(run: Run, **fields: Any) -> bytes:
    return msgspec.json.encode({**msgspec.to_builtins(run), **fields})


@pytest.mark.parametrize(
    "raw", [b"", b" ", b"null", b"[]", b"5", b'"run"', b"{}", b"{", b"\xff\xfe{\x00}\x00", b"[" * 100_000]
)
def test_no_record(raw: bytes, tmp_path: Path) -> None:
    """A file that is not a run record is rejected by name."""
    path = tmp_path / "run.json"
    path.write_bytes(raw)
    with pytest.raises(ConfigurationError, match=rf"{path}: (not a run record|schema_version: found nothing)"):
        read(path)


@pytest.mark.parametrize("version", [0, 3, 999, "1", None, 1.0, True])
def test_unknown_version(version: object, run: Run, tmp_path: Path) -> None:
    """A record of another version is rejected with its version and the supported ones."""
    path = tmp_path / "run.json"
    path.write_bytes(change(run, schema_version=version))
    with pytest.raises(ConfigurationError, match=r"schema_version: found .+; this version reads 1 and 2"):
        read(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": "one"},
        {"seed": None},
        {"rounds": {}},
        {"summary": [1]},
        {"contenders": []},
        {"status": "fine"},
        {"started_at": "yesterday"},
    ],
)
def test_wrong_type(fields: dict[str, object], run: Run, tmp_path: Path) -> None:
    """A field of the wrong type is rejected."""
    path = tmp_path / "run.json"
    path.write_bytes(change(run, **fields))
    with pytest.raises(ConfigurationError, match="not a run record"):
        read(path)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_no_number(number: bytes, run: Run, tmp_path: Path) -> None:
    """A figure that is not a number is rejected."""
    path = tmp_path / "run.json"
    raw = change(run)
    assert b'"throughput_per_s":100.0' in raw
    path.write_bytes(raw.replace(b'"throughput_per_s":100.0', b'"throughput_per_s":' + number))
    with pytest.raises(ConfigurationError, match="not a run record"):
        read(path)


def test_truncated(run: Run, tmp_path: Path) -> None:
    """A record whose end is cut off anywhere is rejected."""
    path = tmp_path / "run.json"
    whole = change(run)
    for length in [*range(len(whole) - 100, len(whole)), len(whole) // 2, 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ConfigurationError):
            read(path)


def test_missing(tmp_path: Path) -> None:
    """The error for a missing file names it."""
    with pytest.raises(ConfigurationError, match=r"run\.json: cannot be read: No such file"):
        read(tmp_path / "run.json")
    with pytest.raises(ConfigurationError, match=r"run\.json: cannot be read: No such file"):
        read(tmp_path)


def test_a_failing_write(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up half-way leaves no folder, and the earlier run unchanged."""
    earlier = store(run, tmp_path)
    before = {path: path.read_bytes() for path in earlier.parent.iterdir()}

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InvalidMeasurement, match=r"later: cannot be written: No space left on device"):
        store(msgspec.structs.replace(run, id="later"), tmp_path)
    with pytest.raises(InvalidMeasurement):
        store(run, tmp_path)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [earlier.parent]
    assert {path: path.read_bytes() for path in earlier.parent.iterdir()} == before


def test_no_run_is_overwritten(run: Run, tmp_path: Path) -> None:
    """A second run of the same name does not replace the first."""
    earlier = store(run, tmp_path).read_bytes()
    with pytest.raises(InvalidMeasurement, match="cannot be written"):
        store(run, tmp_path)
    assert (tmp_path / run.id / "run.json").read_bytes() == earlier


def test_runs(run: Run, tmp_path: Path) -> None:
    """Complete runs are listed oldest first, without partial ones, empty folders and files."""
    for name in ("20260202T000000_b", "20260101T000000_a"):
        store(msgspec.structs.replace(run, id=name), tmp_path)
    partial = tmp_path / ".20260303T000000_c.partial"
    partial.mkdir()
    (partial / "run.json").write_bytes(change(run))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert [path.name for path in list_runs(tmp_path)] == ["20260101T000000_a", "20260202T000000_b"]
    assert list_runs(tmp_path / "none") == []
    resumable = tmp_path / ".20260303T000000_sweep-1.unfinished"
    resumable.mkdir()
    with exclusive_use(tmp_path) as leftovers:
        assert leftovers == [partial]
        assert not partial.exists()
        assert resumable.exists()


def test_folder_name(run: Run) -> None:
    """A run's folder name has time and contenders, only portable characters, and sorts by time."""
    name = folder_name(run.started_at, ["a@pool_size=5", "../b", "c #2"])
    assert name == "20260131T080000_a-pool_size-5_---b_c--2"
    assert len(folder_name(run.started_at, ["long" * 50] * 5)) == 120


HOLD = """
import sys
from pathlib import Path
from bookstore.lab.storage.runs import exclusive_use
with exclusive_use(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_exclusive_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one process compares, others are rejected even with another output; after a kill the lock is free."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "runs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(
            ConfigurationError, match=f"another comparison of this user is running, process {holder.pid}; wait for it"
        ):
            exclusive_use(tmp_path / "other").__enter__()
        holder.kill()
    with exclusive_use(tmp_path / "runs"):
        assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_unwritable_output(place: str, tmp_path: Path) -> None:
    """An output that cannot be written is rejected before anything starts."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot be written: .+; choose another --output"):
        exclusive_use(tmp_path / place).__enter__()


def test_now() -> None:
    """The time has a zone and no fraction, because it becomes part of a name."""
    assert run_record.now().utcoffset() is not None
    assert run_record.now().microsecond == 0
