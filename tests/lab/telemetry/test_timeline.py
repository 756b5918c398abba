from __future__ import annotations

import pytest

from bookstore.lab.telemetry.timeline import EDGE_S, Reading, Timeline, largest, summed, total

LOOKS = Timeline(
    [Reading(0.0, {"n": 0, "level": 3}), Reading(0.5, {"n": 10, "level": 5}), None, Reading(1.5, {"n": 40})]
)


def test_gauge() -> None:
    """A failed look and a figure that was not told are gaps, never 0 and never the last value."""
    assert LOOKS.gauge("level") == [3, 5, None, None]


def test_changes() -> None:
    """A counter's gain and rate need both looks; rates use the seconds that really passed."""
    assert LOOKS.increases("n") == [None, 10, None, None]
    assert LOOKS.rate("n") == [None, 20, None, None]
    assert LOOKS.rate("n", 2) == [None, None, None, 30]


def test_begun_anew() -> None:
    """A counter that goes down was begun anew: what it gained is not known."""
    timeline = Timeline([Reading(0.0, {"n": 9}), Reading(1.0, {"n": 2}), Reading(2.0, {"n": 3})])
    assert timeline.increases("n") == [None, None, 1]
    assert timeline.increase("n", 0, 1) is None


def test_gained() -> None:
    """Between two moments a counter gained what a line through the looks beside them says."""
    assert LOOKS.increase("n", 0.0, 0.5) == 10
    assert LOOKS.increase("n", 0.25, 1.0) == pytest.approx(25 - 5)
    assert LOOKS.increase("n", 0.25, 1.6) is None  # no look after it
    assert LOOKS.increase("n", -0.1, 1.0) is None
    assert LOOKS.increase("other", 0.0, 1.0) is None


def test_gained_across_a_long_gap() -> None:
    """What is too far from both looks is not guessed."""
    far = 3 * EDGE_S
    timeline = Timeline([Reading(0.0, {"n": 0}), None, Reading(far, {"n": 30}), Reading(far + 1, {"n": 40})])
    assert timeline.increase("n", far / 2, far + 1) is None
    assert timeline.increase("n", 0.0, far + 1) == 40


def test_within() -> None:
    """The figures of the looks between two moments, both included."""
    assert LOOKS.within("level", 0.5, 1.5) == [5]


def test_summed() -> None:
    """A gap in one is a gap in the sum and in the largest; no parts have no sum."""
    assert summed([[1, None, 3], [10, 20, 30]]) == [11, None, 33]
    assert largest([[1, None, 3], [10, 20, 2]]) == [10, None, 3]
    assert summed([]) == []
    assert total([]) is None
    assert total([0.0, 0.0]) == 0
    assert total([1, None]) is None
