"""Latencies in HdrHistogram's interval log format: one histogram per second, tagged `profile/round`, in microseconds
with three significant digits.

HdrHistogram's AbstractHistogramLogWriter describes the format; hdrhistogram, the author's own Python port, writes and
reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from bookstore.lab.record.samples import Samples

FILE: Final = "latencies.hlog"

_LONGEST_US: Final = 3_600_000_000
_DIGITS: Final = 3
_BITS: Final = 11
"""Buckets for three significant digits: HdrHistogram does not distinguish values whose first 11 bits are equal."""

_READABLE: Final = "@=:#"  # common in contenders' labels; a comma or a space would end the tag


class Part(NamedTuple):
    """A profile's samples in one round. `began_s` is the start of the measured time, in seconds since the run
    started."""

    profile: str
    number: int
    began_s: float
    samples: Samples


class Second(NamedTuple):
    """One line of the log. `histogram` is a hdrh.histogram.HdrHistogram of microseconds."""

    profile: str
    number: int
    began_s: float
    histogram: Any


def write(folder: Path, started_at_s: float, parts: Iterable[Part]) -> Path:
    """Write `folder`/latencies.hlog and return its path. `started_at_s` is the start of the run, in seconds since the
    epoch.

    The warm-up and seconds without a request are left out.
    """
    from hdrh.histogram import HdrHistogram  # noqa: PLC0415 - keeps other commands fast
    from hdrh.log import HistogramLogWriter  # noqa: PLC0415 - as above

    path = folder / FILE
    with path.open("w", encoding="ascii") as file:
        log = HistogramLogWriter(file)
        log.output_log_format_version()
        log.output_comment("[Latencies in microseconds; Tag=profile/round, percent-encoded]")
        log.output_comment(f"[StartTime: {started_at_s:f} (seconds since epoch)]")
        log.output_comment(f"[BaseTime: {started_at_s:f} (seconds since epoch)]")
        log.output_legend()
        for part in parts:
            for second, latencies_us in _by_second(part.samples):
                histogram = HdrHistogram(1, _LONGEST_US, _DIGITS)
                for value, count in zip(*np.unique(_bucket_floors(latencies_us), return_counts=True), strict=True):
                    histogram.record_value(int(value), int(count))
                histogram.set_start_time_stamp((part.began_s + second) * 1000)
                histogram.set_end_time_stamp((part.began_s + second + 1) * 1000)
                file.write(f"Tag={tag(part.profile, part.number)},")  # the library's writer does not support tags
                log.output_interval_histogram(histogram, max_value_unit_ratio=1000.0)
    return path


def read(path: Path) -> Iterator[Second]:
    """Yield the lines of a log written by `write`."""
    from hdrh.histogram import HdrHistogram  # noqa: PLC0415 - as above
    from hdrh.log import HistogramLogReader  # noqa: PLC0415 - as above

    reader = HistogramLogReader(str(path), HdrHistogram(1, _LONGEST_US, _DIGITS))
    try:
        while (histogram := reader.get_next_interval_histogram()) is not None:
            profile, _, number = histogram.get_tag().rpartition("/")
            began_s = histogram.get_start_time_stamp() / 1000 - reader.get_start_time_sec()
            yield Second(unquote(profile), int(number), began_s, histogram)
    finally:
        reader.close()


def tag(profile: str, number: int) -> str:
    """Return `asyncpg-json/3`, percent-encoded so that it contains no comma, space or line break."""
    return f"{quote(profile, safe=_READABLE)}/{number}"


def _bucket_floors(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Replace each value by the lowest of its bucket: a few hundred distinct values a second instead of thousands."""
    spare = np.maximum(np.frexp(values.astype(np.float64))[1] - _BITS, 0)
    least: NDArray[np.int64] = values >> spare << spare
    return least


def _by_second(samples: Samples) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each second of the measured time with its latencies in whole microseconds."""
    measured = samples.where(samples.done_s >= 0)
    latencies_us = np.clip(np.rint(measured.latency_ms.astype(np.float64) * 1000), 0, _LONGEST_US).astype(np.int64)
    seconds = np.floor(measured.done_s).astype(np.int64)
    order = np.argsort(seconds, kind="stable")
    distinct, begins = np.unique(seconds[order], return_index=True)
    ends = np.append(begins, len(order))[1:]
    for second, begin, end in zip(distinct, begins, ends, strict=True):
        yield int(second), latencies_us[order[begin:end]]
