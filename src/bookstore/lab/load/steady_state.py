"""Detects the end of the warm-up: the load no longer shows a trend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from bookstore.lab.record.samples import Samples

WINDOWS: Final = 6
WINDOW_S: Final = 0.5
SMALL_RATIO: Final = 0.03
"""A smaller change over all windows is not a trend, however significant."""

_T_CRITICAL: Final = 2.776
"""Student's t, two-sided 5 %, for WINDOWS - 2 degrees of freedom."""


def is_steady(samples: Samples, *, is_open: bool) -> bool:
    """Return whether the last WINDOWS windows of WINDOW_S seconds show no trend.

    The closed model looks at throughput; the open model at mean latency, because its throughput is given.
    """
    if not len(samples) or samples.done_s[-1] - samples.done_s[0] < WINDOWS * WINDOW_S:
        return False
    edges = samples.done_s[-1] - WINDOW_S * np.arange(WINDOWS, -1, -1)
    counts, _ = np.histogram(samples.done_s, edges)
    if not is_open:
        return has_no_trend(counts.tolist())
    sums, _ = np.histogram(samples.done_s, edges, weights=samples.latency_ms)
    return bool(counts.all()) and has_no_trend((sums / counts).tolist())


def has_no_trend(values: Sequence[float]) -> bool:
    """Return whether a least-squares line through WINDOWS values has no significant slope.

    True if the slope is not significant at 5 % (t-test), or if it changes less than SMALL_RATIO of the mean from first
    to last value.
    """
    x = np.arange(WINDOWS) - (WINDOWS - 1) / 2
    y = np.asarray(values, np.float64)
    slope = float(x @ y / (x @ x))
    if abs(slope) * (WINDOWS - 1) <= SMALL_RATIO * abs(float(y.mean())):
        return True
    residuals = y - y.mean() - slope * x
    error = float(np.sqrt(residuals @ residuals / (WINDOWS - 2) / (x @ x)))
    return abs(slope) <= _T_CRITICAL * error
