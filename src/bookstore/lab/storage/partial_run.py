"""A run in progress: measurements are written to disk at once, in a folder that is not yet named like a run.

A run killed half-way is therefore never mistaken for a result. A sweep can be resumed from this folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.record import histograms, samples
from bookstore.lab.record.histograms import Part
from bookstore.lab.record.run_record import Measurement, Run
from bookstore.lab.record.samples import Samples
from bookstore.lab.storage.runs import FILE

Statements = dict[str, list[str]]

PARTIAL: Final = ".partial"
RESUMABLE: Final = ".unfinished"


class PartialRun:
    """A folder below `output` that becomes the folder `run_id`.

    With `resume` an unfinished folder is kept, and found again under the same `run_id`. Raises InvalidMeasurement if
    nothing can be written.
    """

    def __init__(self, output: Path, run_id: str, *, resume: bool = False) -> None:
        self.run_id = run_id
        self.folder = output / f".{run_id}{RESUMABLE if resume else PARTIAL}"
        self.done: dict[tuple[int, str], Measurement] = {}
        self.statements: dict[str, Statements] = {}
        self._output = output
        self.resumable = resume
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=resume)
        self._read()

    def add(self, number: int, measurement: Measurement, measured: Samples) -> None:
        """Store one contender's measurement of round `number`.

        The samples are written first, so that a measurement on disk always has all of them.
        """
        part = self.folder / _part(number, measurement.profile)
        with self._writing():
            part.mkdir(exist_ok=True)
            with samples.Writer(part) as writer:
                writer.add(number, measurement.profile, measured)
            _replace(part / "measurement.json", msgspec.json.encode((number, measurement)))
        self.done[number, measurement.profile] = measurement

    def add_statements(self, label: str, statements: Statements) -> None:
        """Store the statements of a contender."""
        self.statements[label] = statements
        with self._writing():
            _replace(self.folder / "statements.json", msgspec.json.encode(self.statements))

    def read(self, label: str, number: int) -> Samples:
        """Return the samples added for a contender and round."""
        return samples.read(self.folder / _part(number, label), label, number)

    def finish(self, run: Run) -> Path:
        """Join the parts, write latencies.hlog and run.json, rename the folder, and return the path of run.json.

        Incomplete rounds, which `run` does not contain, are dropped.
        """
        measurements = {
            (round_.number, measurement.profile): measurement
            for round_ in run.rounds
            for measurement in round_.measurements
        }
        with self._writing():
            with samples.Writer(self.folder) as writer:
                for number, label in measurements:
                    writer.add(number, label, self.read(label, number))
            histograms.write(self.folder, run.started_at.timestamp(), self._parts(run, measurements))
            _replace(self.folder / FILE, msgspec.json.format(msgspec.json.encode(run), indent=1))
            folder = self.folder.rename(self._output / self.run_id)
        for number, label in self.done:  # not earlier: after a full disk or a kill, a sweep resumes from its parts
            shutil.rmtree(folder / _part(number, label), ignore_errors=True)
        (folder / "statements.json").unlink(missing_ok=True)
        return folder / FILE

    def _parts(self, run: Run, measurements: dict[tuple[int, str], Measurement]) -> Iterator[Part]:
        for (number, label), measurement in measurements.items():
            began_s = (measurement.started_at - run.started_at).total_seconds() if measurement.started_at else 0.0
            yield Part(label, number, began_s, self.read(label, number))

    def __enter__(self) -> PartialRun:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if not self.resumable:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> None:
        """Read what a resumed folder already contains; measurements not written to their end are measured again."""
        for file in sorted(self.folder.glob("*/measurement.json")):
            number, measurement = msgspec.json.decode(file.read_bytes(), type=tuple[int, Measurement])
            self.done[number, measurement.profile] = measurement
        if (file := self.folder / "statements.json").exists():
            self.statements = msgspec.json.decode(file.read_bytes(), type=dict[str, Statements])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            path = self._output / self.run_id
            raise InvalidMeasurement(f"{path}: cannot be written: {reason}; the measurement is lost") from None


def _part(number: int, label: str) -> str:
    """Return a folder name for any label, which may contain characters that file names may not."""
    return f"{number:04d}-{hashlib.sha256(label.encode()).hexdigest()[:16]}"


def _replace(path: Path, content: bytes) -> None:
    """Write a file atomically: after a crash it has either the whole content or the old one (Pillai et al., OSDI
    2014)."""
    partial = path.with_suffix(".new")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
