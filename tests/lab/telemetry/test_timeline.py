from __future__ import annotations

import pytest

from bookstore.lab.telemetry.timeline import EDGE_S, Reading, Timeline, largest, summed, total

READINGS = Timeline(
    [Reading(0.0, {"n": 0, "level": 3}), Reading(0.5, {"n": 10, "level": 5}), None, Reading(1.5, {"n": 40})]
)


def test_gauge() -> None:
    """A failed poll and a missing figure are gaps, never 0 and never the previous value."""
    assert READINGS.gauge("level") == [3, 5, None, None]


def test_increases_and_rate() -> None:
    """A counter's increase and rate need both readings; rates use the actual time between them."""
    assert READINGS.increases("n") == [None, 10, None, None]
    assert READINGS.rate("n") == [None, 20, None, None]
    assert READINGS.rate("n", 2) == [None, None, None, 30]


def test_reset() -> None:
    """A counter that decreases was reset: its increase is unknown."""
    timeline = Timeline([Reading(0.0, {"n": 9}), Reading(1.0, {"n": 2}), Reading(2.0, {"n": 3})])
    assert timeline.increases("n") == [None, None, 1]
    assert timeline.increase("n", 0, 1) is None


def test_increase() -> None:
    """Between two moments the counter is interpolated linearly from the nearest readings."""
    assert READINGS.increase("n", 0.0, 0.5) == 10
    assert READINGS.increase("n", 0.25, 1.0) == pytest.approx(25 - 5)
    assert READINGS.increase("n", 0.25, 1.6) is None  # no reading after it
    assert READINGS.increase("n", -0.1, 1.0) is None
    assert READINGS.increase("other", 0.0, 1.0) is None


def test_increase_across_a_long_gap() -> None:
    """A moment too far from both readings is not interpolated."""
    far = 3 * EDGE_S
    timeline = Timeline([Reading(0.0, {"n": 0}), None, Reading(far, {"n": 30}), Reading(far + 1, {"n": 40})])
    assert timeline.increase("n", far / 2, far + 1) is None
    assert timeline.increase("n", 0.0, far + 1) == 40


def test_within() -> None:
    """The figures of the readings between two moments, both included."""
    assert READINGS.within("level", 0.5, 1.5) == [5]


def test_summed() -> None:
    """A gap in one column is a gap in the sum and in the maximum; an empty list has no sum."""
    assert summed([[1, None, 3], [10, 20, 30]]) == [11, None, 33]
    assert largest([[1, None, 3], [10, 20, 2]]) == [10, None, 3]
    assert summed([]) == []
    assert total([]) is None
    assert total([0.0, 0.0]) == 0
    assert total([1, None]) is None
