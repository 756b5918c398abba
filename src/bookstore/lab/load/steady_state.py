"""Is the warm-up over? It is when the load shows no trend any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from bookstore.lab.record.samples import Samples

WINDOWS: Final = 6
WINDOW_S: Final = 0.5
SMALL_RATIO: Final = 0.03
"""A trend of so little over all windows is none, however certain it is."""

_T_CRITICAL: Final = 2.776
"""Student's t, two-sided 5 %, for WINDOWS - 2 degrees of freedom."""


def is_steady(samples: Samples, *, is_open: bool) -> bool:
    """Whether the last WINDOWS of WINDOW_S show no trend: of throughput in the closed model, of the mean latency
    in the open one, where the throughput is given."""
    if not len(samples) or samples.done_s[-1] - samples.done_s[0] < WINDOWS * WINDOW_S:
        return False
    edges = samples.done_s[-1] - WINDOW_S * np.arange(WINDOWS, -1, -1)
    counts, _ = np.histogram(samples.done_s, edges)
    if not is_open:
        return has_no_trend(counts.tolist())
    sums, _ = np.histogram(samples.done_s, edges, weights=samples.latency_ms)
    return bool(counts.all()) and has_no_trend((sums / counts).tolist())


def has_no_trend(values: Sequence[float]) -> bool:
    """Least squares over WINDOWS values: the slope is not significant at 5 % (t-test), or changes less than
    SMALL_RATIO of the mean from the first to the last."""
    x = np.arange(WINDOWS) - (WINDOWS - 1) / 2
    y = np.asarray(values, np.float64)
    slope = float(x @ y / (x @ x))
    if abs(slope) * (WINDOWS - 1) <= SMALL_RATIO * abs(float(y.mean())):
        return True
    residuals = y - y.mean() - slope * x
    error = float(np.sqrt(residuals @ residuals / (WINDOWS - 2) / (x @ x)))
    return abs(slope) <= _T_CRITICAL * error
