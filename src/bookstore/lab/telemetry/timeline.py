"""A time series of one source's readings: gauges, and counter increases between two moments. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

EDGE_S: Final = 1.0
"""Maximum distance from a moment to the nearest readings for interpolating a counter at that moment, in seconds: two
of four polls may fail."""

Column = list[float | None]
"""One value per poll; None is a gap."""


class Reading(NamedTuple):
    """A source's figures and when they arrived (time.monotonic()), which is some time after the poll began."""

    at_s: float
    values: Mapping[str, float]


class Timeline:
    """One reading per poll; None if the poll failed or came too late."""

    def __init__(self, readings: Iterable[Reading | None] = ()) -> None:
        self.readings = list(readings)

    def gauge(self, name: str) -> Column:
        return [reading.values.get(name) if reading else None for reading in self.readings]

    def increases(self, name: str) -> Column:
        """Return the increase of the counter `name` since the previous poll."""
        return [change and change[0] for change in self._changes(name, 1)]

    def rate(self, name: str, polls: int = 1) -> Column:
        """Return the increase per second of the counter `name` over the last `polls` polls."""
        return [change and change[0] / change[1] for change in self._changes(name, polls)]

    def increase(self, name: str, begin_s: float, end_s: float) -> float | None:
        """Return the increase of the counter `name` from `begin_s` to `end_s`.

        None if there is no reading near either moment, or if the counter was reset. The moments are only known
        afterwards, from the load generator, and lie between two readings: the counter is interpolated linearly. Under
        steady load the error is the difference between neighbouring intervals, a small part of 5 % for 5 s of
        readings every 250 ms.
        """
        begin, end = self._at(name, begin_s), self._at(name, end_s)
        return None if begin is None or end is None or end < begin else end - begin

    def increase_between_readings(self, name: str, begin_s: float, end_s: float) -> tuple[float, float, float] | None:
        """Return the increase of the counter `name` between the first and last reading from `begin_s` to `end_s`, and
        their times.

        Use it for a figure divided by a count between the same two times. None for fewer than two readings, if none
        is near one of the moments, or if the counter was reset.
        """
        inside = [
            reading
            for reading in self.readings
            if reading and begin_s <= reading.at_s <= end_s and name in reading.values
        ]
        if len(inside) < 2 or any(now.values[name] < before.values[name] for before, now in pairwise(inside)):
            return None
        first, last = inside[0], inside[-1]
        if first.at_s - begin_s > EDGE_S or end_s - last.at_s > EDGE_S:
            return None
        return last.values[name] - first.values[name], first.at_s, last.at_s

    def within(self, name: str, begin_s: float, end_s: float) -> list[float]:
        """Return the figures between two moments, without gaps."""
        return [
            reading.values[name]
            for reading in self.readings
            if reading and begin_s <= reading.at_s <= end_s and name in reading.values
        ]

    def _changes(self, name: str, polls: int) -> list[tuple[float, float] | None]:
        """Return (increase, seconds) since `polls` polls ago; None, a gap, if the counter decreased, which means a
        reset."""
        pairs = zip([None] * polls + self.readings, self.readings, strict=False)
        changes: list[tuple[float, float] | None] = []
        for before, now in pairs:
            known = before and now and name in before.values and name in now.values
            if known and before and now and now.at_s > before.at_s and now.values[name] >= before.values[name]:
                changes.append((now.values[name] - before.values[name], now.at_s - before.at_s))
            else:
                changes.append(None)
        return changes

    def _at(self, name: str, moment_s: float) -> float | None:
        known = [reading for reading in self.readings if reading and name in reading.values]
        times = [reading.at_s for reading in known]
        after, before = bisect_left(times, moment_s), bisect_right(times, moment_s) - 1
        if before < 0 or after == len(times):
            return None
        (left_s, left), (right_s, right) = known[before], known[after]
        if moment_s - left_s > EDGE_S or right_s - moment_s > EDGE_S:
            return None
        share = (moment_s - left_s) / (right_s - left_s) if right_s > left_s else 0.0
        return left[name] * (1 - share) + right[name] * share


def summed(columns: Sequence[Column]) -> Column:
    """Return the sum poll by poll; a gap in one column is a gap in the sum."""
    return [sum(known) if (known := _complete(values)) else None for values in zip(*columns, strict=True)]


def largest(columns: Sequence[Column]) -> Column:
    """Return the maximum poll by poll, with gaps as in `summed`."""
    return [max(known) if (known := _complete(values)) else None for values in zip(*columns, strict=True)]


def total(parts: Iterable[float | None]) -> float | None:
    """Return the sum; None if there are no parts or one is None."""
    return sum(known) if (known := _complete(list(parts))) else None


def _complete(values: Sequence[float | None]) -> list[float]:
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []
