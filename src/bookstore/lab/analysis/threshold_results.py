"""Evaluates thresholds against the samples of a measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bookstore.lab.record.samples import Samples
from bookstore.lab.workload.thresholds import Threshold, parse

_LATENCY_STATISTICS: Final[dict[str, Callable[[NDArray[np.float64]], float]]] = {
    "avg": lambda latency: float(np.mean(latency)),
    "med": lambda latency: float(np.median(latency)),
    "min": lambda latency: float(np.min(latency)),
    "max": lambda latency: float(np.max(latency)),
}


class ThresholdResult(NamedTuple):
    """The result of one expression. `value` is None if there was no request, which fails a threshold as well."""

    expression: str
    value: float | None
    failed: bool


def evaluate(expressions: Sequence[str], samples: Samples, seconds: float) -> list[ThresholdResult]:
    """Evaluate each expression against `samples`, all of which were measured in `seconds`."""
    results = []
    for expression in expressions:
        threshold = parse(expression)
        value = _measured_value(threshold, samples, seconds)
        results.append(ThresholdResult(expression, value, value is None or not threshold.holds(value)))
    return results


def _measured_value(threshold: Threshold, samples: Samples, seconds: float) -> float | None:
    """Return the threshold's value in `samples`; percentiles are interpolated linearly between ranks, as in k6."""
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
