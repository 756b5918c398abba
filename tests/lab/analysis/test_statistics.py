from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bookstore.lab.analysis.statistics import QUANTILE, paired_ratio, percentile, ratio, t_quantile, unpaired_ratio

POSITIVE = st.floats(min_value=1e-3, max_value=1e6)
PAIRS = st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=20)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.integers(1, 1000))
def test_percentile_by_its_definition(values: list[float], thousandths: int) -> None:
    """It is the smallest measured value that at least that share of all values does not exceed."""
    ordered = sorted(values)
    enough = [
        value for value in ordered if sum(other <= value for other in ordered) * 1000 >= thousandths * len(ordered)
    ]
    assert percentile(ordered, thousandths / 1000) == enough[0]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 15), (0.05, 15), (0.3, 20), (0.4, 20), (0.5, 35), (0.99, 50), (1.0, 50)]
)
def test_percentile_of_known_values(share: float, expected: float) -> None:
    """The textbook example of the nearest rank."""
    assert percentile([15, 20, 35, 40, 50], share) == expected


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99, 0.999, 1.0])
@pytest.mark.parametrize("count", [1, 7, 101, 12_345])
def test_percentile_of_a_column(count: int, share: float) -> None:
    """For a column it equals scipy's quantile of the inverted distribution function."""
    column = np.sort(np.random.default_rng(count).lognormal(1, 1, count).astype(np.float32))
    assert percentile(column, share) == stats.quantile(column, np.float32(share), method="inverted_cdf")


def test_a_rank_that_is_a_whole_number_is_not_rounded_up() -> None:
    """The rank of 0.07 in 100 values is 7, although 0.07 * 100 exceeds 7 in floating point."""
    assert percentile(np.arange(1, 101, dtype=np.float64), 0.07) == 7


def test_percentile_of_nothing() -> None:
    """No values have no percentile."""
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
    with pytest.raises(ValueError, match="no values"):
        percentile(np.empty(0), 0.5)


@given(PAIRS)
def test_ratio_is_symmetric(pairs: list[tuple[float, float]]) -> None:
    """Swapping contender and baseline inverts the ratio and its interval."""
    contender, baseline = zip(*pairs, strict=True)
    forth, back = ratio(contender, baseline), ratio(baseline, contender)
    assert forth.estimate == pytest.approx(1 / back.estimate)
    if len(pairs) == 1:
        assert (forth.low, forth.high, back.low, back.high) == (None, None, None, None)
        return
    assert forth.low is not None
    assert forth.high is not None
    assert back.low is not None
    assert back.high is not None
    # Compare logarithms, from which the interval is made: it may span a hundred orders of magnitude.
    if min(forth.low, back.low) > 1e-300 and max(forth.high, back.high) < 1e300:
        assert math.log(forth.low) == pytest.approx(-math.log(back.high), abs=1e-6)
        assert math.log(forth.high) == pytest.approx(-math.log(back.low), abs=1e-6)
    assert forth.low <= forth.estimate * (1 + 1e-9)
    assert forth.estimate <= forth.high * (1 + 1e-9)
    assert math.isfinite(forth.high)


@given(st.lists(POSITIVE, min_size=2, max_size=20))
def test_ratio_of_equal_figures(values: list[float]) -> None:
    """Equal figures have the ratio 1 and an interval of no width."""
    interval = ratio(values, values)
    assert (interval.estimate, interval.low, interval.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("rounds", [2, 3, 6, 15, 40])
def test_ratio_is_student_s(rounds: int) -> None:
    """The interval equals scipy's for Student's t on the rounds' log ratios."""
    random = np.random.default_rng(rounds)
    contender, baseline = random.lognormal(5, 0.1, (2, rounds))
    interval = ratio(list(contender), list(baseline))
    logs = np.log(contender / baseline)
    expected = stats.t.interval(QUANTILE, rounds - 1, logs.mean(), stats.sem(logs))
    assert (interval.low, interval.high) == pytest.approx(tuple(np.exp(expected)), rel=1e-5)


def test_ratio_pairs_by_round() -> None:
    """A slowdown of a whole round does not affect the ratio."""
    interval = ratio([200, 100, 50], [100, 50, 25])
    assert interval.low == pytest.approx(2)
    assert interval.high == pytest.approx(2)


@pytest.mark.parametrize(("contender", "baseline"), [([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([-1.0], [1.0])])
def test_ratio_of_unfit_figures(contender: list[float], baseline: list[float]) -> None:
    """Figures that are not paired or not positive are rejected."""
    with pytest.raises(ValueError, match=r".+"):
        ratio(contender, baseline)


@pytest.mark.parametrize(("many", "few"), [(12, 5), (6, 6), (3, 15)])
def test_unpaired_is_welch_s(many: int, few: int) -> None:
    """Error and degrees of freedom equal those of scipy's Welch test, the degrees rounded down."""
    random = np.random.default_rng(many)
    contender, baseline = random.lognormal(5, 0.1, many), random.lognormal(5.1, 0.02, few)
    log_ratio = unpaired_ratio(list(contender), list(baseline))
    expected = stats.ttest_ind(np.log(contender), np.log(baseline), equal_var=False)
    assert log_ratio.error is not None
    assert log_ratio.middle / log_ratio.error == pytest.approx(expected.statistic)
    assert log_ratio.degrees == math.floor(expected.df)


def test_unpaired_does_not_pair() -> None:
    """The order of the rounds does not matter, and a single round gives no interval."""
    assert unpaired_ratio([1, 2, 3], [2, 3, 4]) == pytest.approx(unpaired_ratio([3, 1, 2], [4, 2, 3]))
    assert unpaired_ratio([1, 2, 3], [2]).interval().low is None
    assert unpaired_ratio([2, 2], [1, 1]).interval().low == pytest.approx(2)


@pytest.mark.parametrize("share", [0.6, 0.8, 0.9, 0.975, 0.985, 0.995])
def test_t_quantile(share: float) -> None:
    """It equals scipy's for any number of rounds in a run."""
    for degrees in range(1, 200):
        assert t_quantile(share, degrees) == pytest.approx(stats.t.ppf(share, degrees), rel=1e-5)


@pytest.mark.parametrize(("rounds", "spread"), [(6, 0.05), (15, 0.08)])
def test_the_smallest_effect_is_detected_4_times_of_5(rounds: int, spread: float) -> None:
    """By the noncentral t distribution, an effect of that size excludes 1 in 76 to 84 of 100 runs."""
    base = np.exp(spread * np.array([-1.0, 1.0] * rounds)[:rounds])
    log_ratio = paired_ratio(list(base), [1.0] * rounds)
    effect = log_ratio.smallest_effect_ratio()
    assert effect is not None
    assert log_ratio.error is not None
    noncentral = math.log(1 + effect) / log_ratio.error
    power = stats.nct.sf(t_quantile((1 + QUANTILE) / 2, rounds - 1), rounds - 1, noncentral)
    assert 0.76 <= power <= 0.84


def test_one_round_detects_no_effect() -> None:
    """A single round has no smallest effect."""
    assert paired_ratio([2.0], [1.0]).smallest_effect_ratio() is None


@pytest.mark.parametrize("rounds", [3, 6, 15])
@pytest.mark.parametrize("heavy", [False, True])
def test_interval_coverage(rounds: int, heavy: bool) -> None:
    """Of 2,000 comparisons of a profile with itself, the share of intervals that contain 1 matches the quantile,
    within the binomial bounds at 1 in 1,000; heavy tails do not lower it."""
    random = np.random.default_rng(20260131)
    draw = random.standard_t(4, (2000, rounds)) if heavy else random.standard_normal((2000, rounds))
    intervals = [ratio(list(row), [1.0] * rounds) for row in np.exp(0.05 * draw)]
    holding = sum(i.low is not None and i.high is not None and i.low <= 1 <= i.high for i in intervals)
    fewest, most = stats.binom.interval(0.999, 2000, QUANTILE)
    assert fewest <= holding <= (2000 if heavy else most)
