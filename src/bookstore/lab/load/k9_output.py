"""Parses k9's JSON lines into samples. A 10-minute file can have gigabytes, so it is read once, in blocks, into
columns."""

from __future__ import annotations

from array import array
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from bookstore.lab.record.samples import Samples

_RELEVANT_ENDINGS: Final = tuple(
    f'"metric":"{metric}"}}'.encode()
    for metric in (
        "http_reqs", "http_req_duration", "iteration_duration", "iteration_duration_corrected", "dropped_iterations"
    )
)  # fmt: skip
_BLOCK_BYTES: Final = 1 << 20


class _Tags(msgspec.Struct):
    status: str = "0"
    kind: str = "0"


class _Data(msgspec.Struct):
    time: str = ""
    value: float = 0.0
    tags: _Tags = msgspec.field(default_factory=_Tags)


class _Line(msgspec.Struct):
    type: str
    metric: str
    data: _Data


class Points:
    """The requests that k9 has written to `path` so far; `read` adds what is new.

    A request's lines are consecutive: http_reqs, http_req_duration if there was an answer, then its iteration's lines,
    which include `iteration_duration_corrected`, counted from the planned moment, in the open model. `unpaired` counts
    the requests whose lines are not consecutive, `dropped` the planned requests that were never sent.
    """

    def __init__(self, path: Path, *, is_open: bool) -> None:
        self.path = path
        self.is_open = is_open
        self.dropped = 0
        self.unpaired = 0
        self._late_ms = array("d")
        self._done, self._latency, self._service = array("d"), array("d"), array("d")
        self._status, self._kind = array("i"), array("i")
        self._decode = msgspec.json.Decoder(_Line).decode
        self._offset = 0
        self._rest = b""
        self._parsed_second = ("", 0.0)
        self._request: tuple[float, float | None, int, int] | None = None
        self._iteration_ms = 0.0

    def __len__(self) -> int:
        return len(self._done)

    def read(self) -> None:
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            while block := file.read(_BLOCK_BYTES):
                self._offset += len(block)
                lines = (self._rest + block).split(b"\n")
                self._rest = lines.pop()
                for line in lines:
                    if line.endswith(_RELEVANT_ENDINGS):
                        self._process(line)

    def samples(self, zero_s: float) -> Samples:
        """Return the samples by completion time; `done_s` counts from `zero_s`, in seconds of the epoch."""
        done = np.asarray(self._done)
        order = np.argsort(done, kind="stable")
        return Samples(
            done[order] - zero_s,
            np.asarray(self._latency)[order].astype(np.float32),
            np.asarray(self._service)[order].astype(np.float32),
            np.asarray(self._status)[order].astype(np.int16),
            np.asarray(self._kind)[order].astype(np.uint8),
        )

    @property
    def began_s(self) -> float:
        """The moment the first request was planned (open) or sent (closed), in seconds of the epoch."""
        return float(np.min(np.asarray(self._done) - np.asarray(self._latency) / 1000))

    @property
    def late_ms(self) -> NDArray[np.float64]:
        """How much later than planned each request was sent, in ms (open model)."""
        return np.asarray(self._late_ms)

    def _process(self, line: bytes) -> None:
        point = self._decode(line)
        if point.type != "Point":
            return
        value = point.data.value
        match point.metric:
            case "http_reqs":
                self.unpaired += self._request is not None
                at_s = self._epoch_s(point.data.time)
                self._request = (at_s, None, int(point.data.tags.status or 0), int(point.data.tags.kind))
            case "http_req_duration" if self._request:
                self._request = (self._request[0], value, *self._request[2:])
                if not self.is_open:
                    self._add(value)
            case "iteration_duration":
                self._iteration_ms = value
                if not self.is_open:
                    self._add(value)
            case "iteration_duration_corrected":
                self._late_ms.append(max(0.0, value - self._iteration_ms))
                self._add(value)
            case "dropped_iterations":
                self.dropped += int(value)

    def _add(self, latency_ms: float) -> None:
        """Finish the current request. A request without an answer took as long as its iteration."""
        if self._request is None:
            return
        at_s, service_ms, status, kind = self._request
        self._request = None
        self._done.append(at_s)
        self._latency.append(latency_ms)
        self._service.append(self._iteration_ms if service_ms is None else service_ms)
        self._status.append(status)
        self._kind.append(kind)

    def _epoch_s(self, text: str) -> float:
        """k9's `2026-01-31T08:00:00.123456789Z` -> seconds of the epoch. Python's own parser accepts at most six
        digits."""
        whole, _, fraction = text.rstrip("Z").partition(".")
        if whole != self._parsed_second[0]:
            self._parsed_second = (whole, datetime.fromisoformat(whole + "+00:00").timestamp())
        return self._parsed_second[1] + float(f"0.{fraction or 0}")
