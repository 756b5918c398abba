"""A run that is being measured: what is measured is on disk at once, in a folder that has no run's name yet.

One that was killed half-way is never taken for a result; and one that is meant to be, a sweep, goes on where it
was killed.
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
    """A folder below `output` that becomes the folder `run_id`. With `resume` what it held before is kept when it is
    not finished, and found again under the same `run_id`. Raises InvalidMeasurement where nothing can be written."""

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
        """Keeps one contender's measurement of round `number`: the samples first, so that a measurement that is
        there has all of them."""
        part = self.folder / _part(number, measurement.profile)
        with self._writing():
            part.mkdir(exist_ok=True)
            with samples.Writer(part) as writer:
                writer.add(number, measurement.profile, measured)
            _replace(part / "measurement.json", msgspec.json.encode((number, measurement)))
        self.done[number, measurement.profile] = measurement

    def add_statements(self, label: str, statements: Statements) -> None:
        """Keeps the statements of a contender."""
        self.statements[label] = statements
        with self._writing():
            _replace(self.folder / "statements.json", msgspec.json.encode(self.statements))

    def read(self, label: str, number: int) -> Samples:
        """The samples that were added."""
        return samples.read(self.folder / _part(number, label), label, number)

    def finish(self, run: Run) -> Path:
        """Joins the parts, writes latencies.hlog and run.json, gives the folder its name, and returns run.json's
        path. Of a round that `run` does not have, because it did not become whole, nothing is kept."""
        whole = {(each.number, one.profile): one for each in run.rounds for one in each.measurements}
        with self._writing():
            with samples.Writer(self.folder) as writer:
                for number, label in whole:
                    writer.add(number, label, self.read(label, number))
            histograms.write(self.folder, run.started_at.timestamp(), self._parts(run, whole))
            _replace(self.folder / FILE, msgspec.json.format(msgspec.json.encode(run), indent=1))
            folder = self.folder.rename(self._output / self.run_id)
        for number, label in self.done:  # not before: on a full disk, or killed, a sweep goes on from its parts
            shutil.rmtree(folder / _part(number, label), ignore_errors=True)
        (folder / "statements.json").unlink(missing_ok=True)
        return folder / FILE

    def _parts(self, run: Run, whole: dict[tuple[int, str], Measurement]) -> Iterator[Part]:
        for (number, label), one in whole.items():
            began_s = (one.started_at - run.started_at).total_seconds() if one.started_at else 0.0
            yield Part(label, number, began_s, self.read(label, number))

    def __enter__(self) -> PartialRun:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if not self.resumable:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> None:
        """What a resumed one holds already; what was not written to its end is measured again."""
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
            where = self._output / self.run_id
            raise InvalidMeasurement(f"{where}: cannot be written: {reason}; the measurement is lost") from None


def _part(number: int, label: str) -> str:
    """A folder's name for any label: it may hold what a file name may not."""
    return f"{number:04d}-{hashlib.sha256(label.encode()).hexdigest()[:16]}"


def _replace(path: Path, content: bytes) -> None:
    """The whole content or none of it, whatever happens meanwhile (Pillai et al., OSDI 2014)."""
    partial = path.with_suffix(".new")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
