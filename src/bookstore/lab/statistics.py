"""Percentiles, and the ratio of two profiles with its interval. Pure: figures in, figures out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev
from typing import Final

import msgspec

CONFIDENCE: Final = 0.95

# Student's t at 97.5 % for 1 to 30 degrees of freedom: Fisher and Yates, Statistical Tables, table III.
_T_975: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


class Interval(msgspec.Struct, frozen=True):
    """An estimate and the interval that holds the true value in 95 of 100 experiments. `low` and `high` are
    None where one round alone cannot tell them."""

    estimate: float
    low: float | None
    high: float | None


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the ascending `ordered` values do not exceed, a value that was
    measured and not one between two (nearest rank). Raises ValueError for no values."""
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratio(contender: Sequence[float], baseline: Sequence[float]) -> Interval:
    """How many times `baseline` the `contender` is, of positive figures paired by round.

    The geometric mean of the rounds' ratios, with Student's interval on their logarithms: what a slow
    moment of the machine does to both profiles of a round cancels out, and a ratio and its inverse are
    treated alike. Raises ValueError for figures that are not paired or not positive.
    """
    logs = [math.log(one / other) for one, other in zip(contender, baseline, strict=True)]
    middle = fmean(logs)
    if len(logs) < 2:
        return Interval(math.exp(middle), None, None)
    half = t_975(len(logs) - 1) * stdev(logs) / math.sqrt(len(logs))
    return Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def t_975(degrees: int) -> float:
    """Student's t at 97.5 % for `degrees` (1 or more) degrees of freedom; beyond 30 by the Cornish-Fisher
    expansion (Abramowitz and Stegun 26.7.5), right to three decimals."""
    if degrees <= len(_T_975):
        return _T_975[degrees - 1]
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
