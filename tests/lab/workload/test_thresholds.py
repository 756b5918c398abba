from __future__ import annotations

import numpy as np
import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab.analysis.threshold_results import ThresholdResult, evaluate
from bookstore.lab.record.samples import Samples, empty
from bookstore.lab.workload.thresholds import validate


@pytest.fixture
def samples() -> Samples:
    """100 requests that took 1 to 100 ms; two of them failed."""
    latency = np.arange(1, 101, dtype=np.float32)
    status = np.where(latency > 98, 503, 200).astype(np.int16)
    return Samples(latency.astype(np.float64) / 100, latency, latency, status, np.zeros(100, np.uint8))


@pytest.mark.parametrize(
    ("expression", "value", "failed"),
    [
        ("p(95)<200", 95.05, False),
        ("p(95)<95", 95.05, True),
        ("p(99.9)>=99", 99.901, False),
        ("p(0)==1", 1.0, False),
        ("p(100) <= 100", 100.0, False),
        ("avg<50", 50.5, True),
        ("med<51", 50.5, False),
        ("min!=1", 1.0, True),
        ("max<=100", 100.0, False),
        ("rate<0.01", 0.02, True),
        ("rate<0.03", 0.02, False),
        ("throughput>9", 9.8, False),
        (" throughput > 10 ", 9.8, True),
    ],
)
def test_evaluate(expression: str, value: float, failed: bool, samples: Samples) -> None:
    """Latencies are in ms from the planned moment, `rate` is the share of failures, `throughput` counts successes."""
    (result,) = evaluate([expression], samples, 10)
    assert result.expression == expression
    assert result.value == pytest.approx(value, rel=1e-6)
    assert result.failed is failed


def test_nothing_measured() -> None:
    """Without a request every threshold fails, and no value is made up."""
    assert evaluate(["p(95)<200", "rate<1"], empty(), 10) == [
        ThresholdResult("p(95)<200", None, True),
        ThresholdResult("rate<1", None, True),
    ]
    assert evaluate(["throughput>0"], empty(), 10) == [ThresholdResult("throughput>0", 0.0, True)]


@pytest.mark.parametrize(
    "expression",
    ["", "p95<200", "p(101)<1", "p()<1", "p(95)", "p(95)<", "p(95)<fast", "p(95)=200", "P(95)<200", "count>5",
     "avg<1ms",
     "avg<1 or max<2", "avg<nan", "avg<-1"],
)  # fmt: skip
def test_rejected(expression: str) -> None:
    """An expression that cannot be parsed is rejected with its place and the allowed syntax."""
    with pytest.raises(
        ConfigurationError, match=r"--threshold: found '.*'; allowed is p\(95\)<200, avg, med, min or max"
    ):
        validate(["p(95)<200", expression], "--threshold")
