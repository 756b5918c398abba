from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookstore.lab.statistics import percentile, ratio, t_975

POSITIVE = st.floats(min_value=1e-3, max_value=1e6)
PAIRS = st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=20)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.integers(1, 1000))
def test_percentile_by_its_definition(values: list[float], thousandths: int) -> None:
    """It is the least measured value that at least that share of all values does not exceed."""
    ordered = sorted(values)
    enough = [one for one in ordered if sum(other <= one for other in ordered) * 1000 >= thousandths * len(ordered)]
    assert percentile(ordered, thousandths / 1000) == enough[0]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 15), (0.05, 15), (0.3, 20), (0.4, 20), (0.5, 35), (0.99, 50), (1.0, 50)]
)
def test_percentile_of_known_values(share: float, expected: float) -> None:
    """The textbook's example of the nearest rank."""
    assert percentile([15, 20, 35, 40, 50], share) == expected


def test_percentile_of_nothing() -> None:
    """No values have no percentile."""
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@given(PAIRS)
def test_ratio_is_symmetric(pairs: list[tuple[float, float]]) -> None:
    """Contender over baseline is one over baseline over contender, and so is its interval."""
    one, other = zip(*pairs, strict=True)
    forth, back = ratio(one, other), ratio(other, one)
    assert forth.estimate == pytest.approx(1 / back.estimate)
    if len(pairs) == 1:
        assert (forth.low, forth.high, back.low, back.high) == (None, None, None, None)
        return
    assert forth.low is not None
    assert forth.high is not None
    assert back.low is not None
    assert back.high is not None
    # compared as logarithms, in which the interval is made: itself it may span a hundred orders of magnitude
    if forth.low > 1e-300 and back.low > 1e-300:
        assert math.log(forth.low) == pytest.approx(-math.log(back.high), abs=1e-6)
        assert math.log(forth.high) == pytest.approx(-math.log(back.low), abs=1e-6)
    assert forth.low <= forth.estimate * (1 + 1e-9)
    assert forth.estimate <= forth.high * (1 + 1e-9)


@given(st.lists(POSITIVE, min_size=2, max_size=20))
def test_ratio_of_equal_figures(values: list[float]) -> None:
    """Equal figures have the ratio 1 and no doubt about it."""
    found = ratio(values, values)
    assert (found.estimate, found.low, found.high) == (1.0, 1.0, 1.0)


def test_ratio_of_known_values() -> None:
    """By hand: ratios 2 and 8 have the mean 4; the logarithms' standard error is ln 2, t of one degree 12.706."""
    found = ratio([2, 8], [1, 1])
    assert found.estimate == pytest.approx(4)
    assert found.low == pytest.approx(4 / 2**12.706)
    assert found.high == pytest.approx(4 * 2**12.706)


def test_ratio_pairs_by_round() -> None:
    """What slows a whole round down tells nothing about the profiles."""
    found = ratio([200, 100, 50], [100, 50, 25])
    assert found.low == pytest.approx(2)
    assert found.high == pytest.approx(2)


@pytest.mark.parametrize(("one", "other"), [([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([-1.0], [1.0])])
def test_ratio_of_unfit_figures(one: list[float], other: list[float]) -> None:
    """Figures that are not paired or not positive have no ratio."""
    with pytest.raises(ValueError, match=r".+"):
        ratio(one, other)


@pytest.mark.parametrize("rounds", [3, 5])
def test_interval_holds_the_truth_as_often_as_it_says(rounds: int) -> None:
    """Of 400 comparisons of a profile with itself, 92 to 98 of 100 intervals hold 1."""
    chance = random.Random(20260131)  # noqa: S311 - figures, not secrets

    def figures() -> list[float]:
        return [100 * chance.lognormvariate(0, 0.1) for _ in range(rounds)]

    intervals = [ratio(figures(), figures()) for _ in range(400)]
    holding = sum(it.low is not None and it.high is not None and it.low <= 1 <= it.high for it in intervals)
    assert 0.92 <= holding / len(intervals) <= 0.98


@pytest.mark.parametrize("degrees", [*range(1, 41), 60, 100, 150, 200])
def test_t_975(degrees: int) -> None:
    """The density of Student's t, integrated numerically up to the value, is 0.975."""
    constant = math.gamma((degrees + 1) / 2) / (math.sqrt(degrees * math.pi) * math.gamma(degrees / 2))
    end, steps = t_975(degrees), 2000
    width = end / steps
    density = [constant * (1 + (n * width) ** 2 / degrees) ** (-(degrees + 1) / 2) for n in range(steps + 1)]
    simpson = density[0] + density[-1] + 4 * sum(density[1:-1:2]) + 2 * sum(density[2:-1:2])
    assert 0.5 + simpson * width / 3 == pytest.approx(0.975, abs=1e-4)


def test_t_975_falls() -> None:
    """More rounds never make the interval wider, not at the seam of table and formula either."""
    values = [t_975(degrees) for degrees in range(1, 201)]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 1.96
