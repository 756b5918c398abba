"""Percentiles, and the ratio of two profiles with its confidence interval. Pure functions.

docs/concepts/judgement.md lists the methods that were tried and how often each was right.
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
"""Share of runs whose interval contains the true ratio, if rounds are added until the interval is narrow."""

QUANTILE: Final = 0.97
"""Confidence level for Student's quantile. Stopping once an interval is narrow favours rounds that are close together
by chance: at 0.95 the interval misses in 7 of 100 runs, at 0.97 in fewer than 5."""

POWER: Final = 0.80


class LogRatio(NamedTuple):
    """The logarithm of a ratio, its standard error and degrees of freedom; the latter are None and 0 for a single
    round."""

    middle: float
    error: float | None
    degrees: int

    def interval(self) -> Interval:
        if self.error is None:
            return Interval(math.exp(self.middle), None, None)
        half = t_quantile((1 + QUANTILE) / 2, self.degrees) * self.error
        return Interval(*(_exp(self.middle + side) for side in (0, -half, half)))

    def smallest_effect_ratio(self) -> float | None:
        """Return the distance of the true ratio from 1 (0.06 is 6 %) at which the interval excludes 1 in 80 of 100
        such runs.

        It is the sum of both Student quantiles in standard errors (Bloom 1995, minimum detectable effect). None for a
        single round.
        """
        if self.error is None:
            return None
        quantiles = t_quantile((1 + QUANTILE) / 2, self.degrees) + t_quantile(POWER, self.degrees)
        return _exp(quantiles * self.error) - 1


def percentile(ordered: Sequence[float] | NDArray[np.floating], share: float) -> float:
    """Return the smallest of the ascending `ordered` values that at least `share` (0 to 1) of them do not exceed.

    This is the nearest rank: a measured value, not interpolated. Raises ValueError if there are no values.
    """
    if len(ordered) == 0:
        raise ValueError("no values")
    rank = math.ceil(round(share * len(ordered), 9))  # in floating point 0.07 * 100 exceeds 7
    return float(ordered[max(0, rank - 1)])


def ratio(contender: Sequence[float], baseline: Sequence[float]) -> Interval:
    """Return the ratio of `contender` to `baseline`, positive figures paired by round, with its interval."""
    return paired_ratio(contender, baseline).interval()


def paired_ratio(contender: Sequence[float], baseline: Sequence[float]) -> LogRatio:
    """Return the mean of the rounds' log ratios with its standard error.

    Pairing cancels a slow moment of the machine that affects both profiles of a round; logarithms treat a ratio and
    its inverse alike. Raises ValueError if the figures are not paired or not positive.
    """
    logs = [math.log(numerator / denominator) for numerator, denominator in zip(contender, baseline, strict=True)]
    if len(logs) < 2:
        return LogRatio(fmean(logs), None, 0)
    return LogRatio(fmean(logs), stdev(logs) / math.sqrt(len(logs)), len(logs) - 1)


def unpaired_ratio(contender: Sequence[float], baseline: Sequence[float]) -> LogRatio:
    """Return the difference of the mean logarithms for figures of two runs, which share no round.

    The method is Welch's (1947), with Satterthwaite's degrees of freedom rounded down. Raises ValueError if there are
    no figures or some are not positive.
    """
    sides = [[math.log(value) for value in side] for side in (contender, baseline)]
    middle = fmean(sides[0]) - fmean(sides[1])
    if min(map(len, sides)) < 2:
        return LogRatio(middle, None, 0)
    shares = [variance(side) / len(side) for side in sides]
    denominator = sum(share**2 / (len(side) - 1) for share, side in zip(shares, sides, strict=True))
    fewest = min(map(len, sides)) - 1
    degrees = math.floor(sum(shares) ** 2 / denominator + 1e-9) if denominator else fewest
    return LogRatio(middle, math.sqrt(sum(shares)), max(fewest, degrees))


def t_quantile(share: float, degrees: int) -> float:
    """Return the quantile at probability `share` (0.5 to 1) of Student's t with `degrees` (1 or more) degrees of
    freedom.

    G. W. Hill, Algorithm 396, CACM 13 (1970), correct to at least four digits.
    """
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
    if y > 0.05 + a:  # near the normal distribution: expand about its quantile
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
    """Return e to the `power`, limited to the largest float, because JSON has no infinity."""
    return math.exp(min(power, 709.0))
