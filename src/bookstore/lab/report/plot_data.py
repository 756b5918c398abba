"""Samples and telemetry -> lines and bars: percentiles, seconds, and no more points than a plot can show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from bookstore.lab.record.run_record import Histogram, Kind, Measurement, Split
from bookstore.lab.record.samples import Samples

MOST_POINTS: Final = 300
"""Of a line over time: a plot is some 350 to 1,000 pixels wide."""

PERCENTILES: Final = 60


class Line(msgspec.Struct, frozen=True):
    name: str
    values: list[float | None]


class Lines(msgspec.Struct, frozen=True):
    """Values beside the moments `at_s`, in seconds of the measurement; null is a gap."""

    at_s: list[float] = []
    lines: list[Line] = []


def percentiles(latency_ms: NDArray[np.float32]) -> list[tuple[float, float]]:
    """(share, ms) at shares that are evenly apart where 1 / (1 - share) is on a log scale, and at 50, 90, 99 … %;
    up to the last that so many requests can tell, which is the largest. Each is a value that was measured."""
    count = len(latency_ms)
    if not count:
        return []
    named = [nines for nines in (2, *(10.0**power for power in range(1, 10))) if nines < count]
    last = 2 * count  # half a request from the end: the largest
    shares = 1 - 1 / np.union1d(np.geomspace(1, last, PERCENTILES), named)
    values = np.quantile(latency_ms, shares, method="inverted_cdf")
    return [(round(float(share), 9), _short(value)) for share, value in zip(shares, values, strict=True)]


def by_second(requests: Samples) -> Lines:
    """p50 and p99 of each second, or of so many that MOST_POINTS are enough; a second without an answer is a gap."""
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
    """Each of several kinds of request by itself, its percentiles of all its requests."""
    found = []
    for kind, name in enumerate(names if len(names) > 1 else []):
        own = requests.where(requests.kind == kind)
        if len(own):
            figures = np.quantile(own.latency_ms, [0.5, 0.95, 0.99, 1], method="inverted_cdf")
            found.append(Kind(name, len(own), int((~own.ok).sum()), *(float(figure) for figure in figures)))
    return found


def thinned(at_s: Sequence[float], lines: Sequence[Line]) -> Lines:
    """At most MOST_POINTS moments: of those that fall together the one where the lines' sum is largest, so that no
    peak is lost and stacked lines belong together."""
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


def seen(at_s: Sequence[float], lines: Sequence[Line]) -> tuple[list[float], list[Line]]:
    """The moments at which something was looked at: PSS costs too much to be looked at each time, and what is left
    out on purpose is no gap."""
    kept = [index for index in range(len(at_s)) if any(line.values[index] is not None for line in lines)]
    return [at_s[index] for index in kept], [Line(it.name, [it.values[index] for index in kept]) for it in lines]


def mean_split(measured: Sequence[Measurement]) -> Split | None:
    """The rounds' splits as one, each with the weight of its requests."""
    known = [(one.requests, one.split) for one in measured if one.split and one.requests]
    weight = sum(requests for requests, _ in known)
    parts = [sum(requests * getattr(it, name) for requests, it in known) for name in Split.__struct_fields__]
    return Split(*(part / weight for part in parts)) if known else None


def summed(histograms: Sequence[Histogram]) -> Histogram | None:
    """The rounds' histograms as one; those of other bounds than the first one's are left out."""
    alike = [one for one in histograms if one.bounds_s == histograms[0].bounds_s]
    if not alike:
        return None
    counts = [sum(column) for column in zip(*(one.counts for one in alike), strict=True)]
    return Histogram(alike[0].bounds_s, counts, sum(one.sum_s for one in alike))


def _short(value: float | np.floating) -> float:
    """Four digits are more than a plot shows."""
    return float(f"{value:.4g}")
