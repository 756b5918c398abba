"""Thresholds evaluated against the samples of a measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bookstore.lab.record.samples import Samples
from bookstore.lab.workload.thresholds import Threshold, parse

_LATENCY_STATISTICS: Final[dict[str, Callable[[NDArray[np.float64]], float]]] = {
    "avg": lambda it: float(np.mean(it)),
    "med": lambda it: float(np.median(it)),
    "min": lambda it: float(np.min(it)),
    "max": lambda it: float(np.max(it)),
}


class ThresholdResult(NamedTuple):
    """`value` is None where there was no request to judge by; that crosses a threshold as well."""

    expression: str
    value: float | None
    failed: bool


def evaluate(expressions: Sequence[str], samples: Samples, seconds: float) -> list[ThresholdResult]:
    """Each expression with the value found in `samples`, all of those measured in `seconds`."""
    outcomes = []
    for expression in expressions:
        threshold = parse(expression)
        found = _measured_value(threshold, samples, seconds)
        outcomes.append(ThresholdResult(expression, found, found is None or not threshold.holds(found)))
    return outcomes


def _measured_value(threshold: Threshold, samples: Samples, seconds: float) -> float | None:
    """Percentiles are linear between the nearest two ranks, as in k6."""
    if threshold.word == "throughput":
        return float(np.count_nonzero(samples.ok)) / seconds
    if not len(samples):
        return None
    latency = samples.latency_ms.astype(np.float64)
    if threshold.word == "rate":
        return 1 - float(np.mean(samples.ok))
    if threshold.word == "p":
        return float(np.percentile(latency, threshold.percent))
    return _LATENCY_STATISTICS[threshold.word](latency)
