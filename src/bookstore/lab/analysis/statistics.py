"""Percentiles, and the ratio of two profiles with its interval. Pure: figures in, figures out.

docs/concepts/judgement.md says which methods were tried and how often each was right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev, variance
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bookstore.lab.record.run_record import Interval

CONFIDENCE: Final = 0.95
"""Of so many runs the interval holds the true ratio, rounds being added until it is narrow."""

QUANTILE: Final = 0.97
"""The confidence that Student's quantile is taken at. Who stops once an interval is narrow stops when the
rounds happen to lie close together, and at 0.95 is wrong in 7 of 100 runs; at 0.97 in fewer than 5."""

POWER: Final = 0.80


class LogRatio(NamedTuple):
    """A ratio's logarithm, its standard error and that one's degrees of freedom: None and 0 of one round."""

    middle: float
    error: float | None
    degrees: int

    def interval(self) -> Interval:
        if self.error is None:
            return Interval(math.exp(self.middle), None, None)
        half = t_quantile((1 + QUANTILE) / 2, self.degrees) * self.error
        return Interval(*(_exp(self.middle + side) for side in (0, -half, half)))

    def smallest_effect_ratio(self) -> float | None:
        """How far from 1 the true ratio has to be (0.06 is 6 %) for the interval to exclude 1 in 80 of 100
        such runs: both quantiles of Student's t in standard errors (Bloom 1995, minimum detectable effect).
        None where one round cannot tell."""
        if self.error is None:
            return None
        quantiles = t_quantile((1 + QUANTILE) / 2, self.degrees) + t_quantile(POWER, self.degrees)
        return _exp(quantiles * self.error) - 1


def percentile(ordered: Sequence[float] | NDArray[np.floating], share: float) -> float:
    """The value that `share` (0 to 1) of the ascending `ordered` values do not exceed, a value that was
    measured and not one between two (nearest rank). Raises ValueError for no values."""
    if len(ordered) == 0:
        raise ValueError("no values")
    rank = math.ceil(round(share * len(ordered), 9))  # 0.07 * 100 is a little more than 7
    return float(ordered[max(0, rank - 1)])


def ratio(contender: Sequence[float], baseline: Sequence[float]) -> Interval:
    """How many times `baseline` the `contender` is, of positive figures paired by round."""
    return paired_ratio(contender, baseline).interval()


def paired_ratio(contender: Sequence[float], baseline: Sequence[float]) -> LogRatio:
    """The mean of the rounds' log ratios with its standard error: what a slow moment of the machine does to
    both profiles of a round cancels out, and a ratio and its inverse are treated alike. Raises ValueError for
    figures that are not paired or not positive."""
    logs = [math.log(one / other) for one, other in zip(contender, baseline, strict=True)]
    if len(logs) < 2:
        return LogRatio(fmean(logs), None, 0)
    return LogRatio(fmean(logs), stdev(logs) / math.sqrt(len(logs)), len(logs) - 1)


def unpaired_ratio(contender: Sequence[float], baseline: Sequence[float]) -> LogRatio:
    """The same of figures of two runs, which share no moment: the difference of the mean logarithms (Welch
    1947; the degrees of freedom by Satterthwaite, rounded down). Raises ValueError for no figures, or such
    that are not positive."""
    sides = [[math.log(value) for value in side] for side in (contender, baseline)]
    middle = fmean(sides[0]) - fmean(sides[1])
    if min(map(len, sides)) < 2:
        return LogRatio(middle, None, 0)
    shares = [variance(side) / len(side) for side in sides]
    doubt = sum(share**2 / (len(side) - 1) for share, side in zip(shares, sides, strict=True))
    fewest = min(map(len, sides)) - 1
    degrees = math.floor(sum(shares) ** 2 / doubt + 1e-9) if doubt else fewest
    return LogRatio(middle, math.sqrt(sum(shares)), max(fewest, degrees))


def t_quantile(share: float, degrees: int) -> float:
    """The value that Student's t of `degrees` (1 or more) degrees of freedom stays below with the probability
    `share` (0.5 to 1): G. W. Hill, Algorithm 396, CACM 13 (1970), right to four digits or better."""
    tails = 2 * (1 - share)
    if degrees == 1:
        return 1 / math.tan(tails * math.pi / 2)
    if degrees == 2:
        return math.sqrt(2 / (tails * (2 - tails)) - 2)
    n = float(degrees)
    a = 1 / (n - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * n
    x = d * tails
    y = x ** (2 / n)
    if y > 0.05 + a:  # near the normal distribution: an expansion about its quantile
        x = NormalDist().inv_cdf(tails / 2)
        y = x**2
        if degrees < 5:
            c += 0.3 * (n - 4.5) * (x + 0.6)
        c += (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y**2)
    else:
        y = ((1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1) * (n + 1) / (
            n + 2
        ) + 1 / y
    return math.sqrt(n * y)


def _exp(power: float) -> float:
    """e to the `power`, at most the largest number there is: JSON has no infinity."""
    return math.exp(min(power, 709.0))
