"""Lines and bars from samples and telemetry, with no more points than a plot can show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from bookstore.lab.record.run_record import Histogram, Kind, Measurement, Split
from bookstore.lab.record.samples import Samples

MOST_POINTS: Final = 300
"""Of a line over time; a plot is about 350 to 1,000 pixels wide."""

PERCENTILES: Final = 60


class Line(msgspec.Struct, frozen=True):
    name: str
    values: list[float | None]


class Lines(msgspec.Struct, frozen=True):
    """Values at the times `at_s`, in seconds since the measurement began; null is a gap."""

    at_s: list[float] = []
    lines: list[Line] = []


def percentiles(latency_ms: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Return (share, ms) at shares that are evenly spaced if 1 / (1 - share) is on a log scale, and at 50, 90, 99 … %.
    The last is the largest latency. Each value was measured, none is interpolated."""
    count = len(latency_ms)
    if not count:
        return []
    named = [nines for nines in (2, *(10.0**power for power in range(1, 10))) if nines < count]
    last = 2 * count  # half a request from the end: the largest
    shares = 1 - 1 / np.union1d(np.geomspace(1, last, PERCENTILES), named)
    values = np.quantile(latency_ms, shares, method="inverted_cdf")
    return [(round(float(share), 9), _short(value)) for share, value in zip(shares, values, strict=True)]


def by_second(requests: Samples) -> Lines:
    """p50 and p99 of each second, or of longer steps if there are too many; one without responses is a gap."""
    if not len(requests):
        return Lines()
    first, last = np.floor(requests.done_s[[requests.done_s.argmin(), requests.done_s.argmax()]])
    step = max(1, int(np.ceil((last - first + 1) / MOST_POINTS)))
    second = ((requests.done_s - first) // step).astype(int)
    order = np.argsort(second, kind="stable")
    at = np.arange(second.max() + 1)
    parts = np.split(requests.latency_ms[order], np.searchsorted(second[order], at[1:]))
    lines = [
        Line(name, [_short(np.quantile(part, share, method="inverted_cdf")) if len(part) else None for part in parts])
        for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99))
    ]
    return Lines([float(first + step * (each + 0.5)) for each in at], lines)


def by_kind(requests: Samples, names: Sequence[str]) -> list[Kind]:
    """Figures of each kind of request over all its requests; empty if there is only one kind."""
    kinds = []
    for kind, name in enumerate(names if len(names) > 1 else []):
        own = requests.where(requests.kind == kind)
        if len(own):
            figures = np.quantile(own.latency_ms, [0.5, 0.95, 0.99, 1], method="inverted_cdf")
            kinds.append(Kind(name, len(own), int((~own.ok).sum()), *(float(figure) for figure in figures)))
    return kinds


def thin(at_s: Sequence[float], lines: Sequence[Line]) -> Lines:
    """Thin `lines` to MOST_POINTS times: each group of neighbours keeps the time at which the sum of all lines is
    largest, so that peaks survive and stacked lines stay consistent."""
    if not lines or not at_s:
        return Lines()
    table = np.array([line.values for line in lines], dtype=float)
    total = np.where(np.isnan(table).all(axis=0), -np.inf, np.nansum(table, axis=0))
    groups = np.array_split(np.arange(len(at_s)), min(MOST_POINTS, len(at_s)))
    kept = [int(group[total[group].argmax()]) for group in groups]
    return Lines(
        [round(at_s[each], 2) for each in kept],
        [
            Line(line.name, [None if (value := line.values[each]) is None else _short(value) for each in kept])
            for line in lines
        ],
    )


def drop_unsampled(at_s: Sequence[float], lines: Sequence[Line]) -> tuple[list[float], list[Line]]:
    """Drop the times at which no line has a value. PSS is too expensive to read at every sample, and a reading that
    was skipped on purpose is not a gap."""
    kept = [index for index in range(len(at_s)) if any(line.values[index] is not None for line in lines)]
    return [at_s[index] for index in kept], [Line(line.name, [line.values[index] for index in kept]) for line in lines]


def mean_split(measured: Sequence[Measurement]) -> Split | None:
    """The mean of the rounds' splits, weighted by requests; None if no round has one."""
    known = [(one.requests, one.split) for one in measured if one.split and one.requests]
    weight = sum(requests for requests, _ in known)
    parts = [sum(requests * getattr(it, name) for requests, it in known) for name in Split.__struct_fields__]
    return Split(*(part / weight for part in parts)) if known else None


def sum_histograms(histograms: Sequence[Histogram]) -> Histogram | None:
    """The sum of histograms. Those whose bounds differ from the first one's are left out."""
    alike = [one for one in histograms if one.bounds_s == histograms[0].bounds_s]
    if not alike:
        return None
    counts = [sum(column) for column in zip(*(one.counts for one in alike), strict=True)]
    return Histogram(alike[0].bounds_s, counts, sum(one.sum_s for one in alike))


def _short(value: float | np.floating) -> float:
    """Four digits, more than a plot shows, keep the page small."""
    return float(f"{value:.4g}")
