"""What one source said, look after look: its figures at a moment, and what its counters gained between two. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

EDGE_S: Final = 1.0
"""How far from a moment the looks beside it may be, for what a counter stood at then to be told: two looks of
four may have failed."""

Column = list[float | None]
"""A value a look; None is a gap."""


class Reading(NamedTuple):
    """What a source said, and when (time.monotonic()): it answers some time after the look began."""

    at_s: float
    values: Mapping[str, float]


class Timeline:
    """A reading a look; None where the look failed or came too late."""

    def __init__(self, readings: Iterable[Reading | None] = ()) -> None:
        self.readings = list(readings)

    def gauge(self, name: str) -> Column:
        return [reading.values.get(name) if reading else None for reading in self.readings]

    def increases(self, name: str) -> Column:
        """What the counter `name` gained since the look before."""
        return [change and change[0] for change in self._changes(name, 1)]

    def rate(self, name: str, looks: int = 1) -> Column:
        """What the counter `name` gained a second, over the last `looks` looks."""
        return [change and change[0] / change[1] for change in self._changes(name, looks)]

    def increase(self, name: str, begin_s: float, end_s: float) -> float | None:
        """What the counter `name` gained from `begin_s` to `end_s`. None where no look was near either, and where
        the counter began anew.

        Both moments lie between two looks, and are known only afterwards: the load generator tells them. A
        straight line between the looks is used. Under a steady load that is right but for what one interval
        differs from the next, which for 5 s of looks at every 250 ms is a small part of a twentieth.
        """
        begin, end = self._at(name, begin_s), self._at(name, end_s)
        return None if begin is None or end is None or end < begin else end - begin

    def increase_between_readings(self, name: str, begin_s: float, end_s: float) -> tuple[float, float, float] | None:
        """What the counter `name` gained between the first and the last look from `begin_s` to `end_s`, and when
        these were: for a figure that is divided by what was counted between the same two moments. None for less
        than two looks, where none was near one of the moments, and where the counter began anew."""
        inside = [it for it in self.readings if it and begin_s <= it.at_s <= end_s and name in it.values]
        if len(inside) < 2 or any(now.values[name] < before.values[name] for before, now in pairwise(inside)):
            return None
        first, last = inside[0], inside[-1]
        if first.at_s - begin_s > EDGE_S or end_s - last.at_s > EDGE_S:
            return None
        return last.values[name] - first.values[name], first.at_s, last.at_s

    def within(self, name: str, begin_s: float, end_s: float) -> list[float]:
        """The figures between two moments, gaps left out."""
        return [
            reading.values[name]
            for reading in self.readings
            if reading and begin_s <= reading.at_s <= end_s and name in reading.values
        ]

    def _changes(self, name: str, looks: int) -> list[tuple[float, float] | None]:
        """(gained, seconds) since `looks` looks ago. A counter that went down was begun anew: a gap."""
        pairs = zip([None] * looks + self.readings, self.readings, strict=False)
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
    """Look by look; a gap in one is a gap in the sum."""
    return [sum(known) if (known := _complete(values)) else None for values in zip(*columns, strict=True)]


def largest(columns: Sequence[Column]) -> Column:
    """As `summed`."""
    return [max(known) if (known := _complete(values)) else None for values in zip(*columns, strict=True)]


def total(parts: Iterable[float | None]) -> float | None:
    """The sum; None where there are none or one is not known."""
    return sum(known) if (known := _complete(list(parts))) else None


def _complete(values: Sequence[float | None]) -> list[float]:
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []
