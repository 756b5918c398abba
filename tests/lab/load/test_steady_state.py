from __future__ import annotations

import numpy as np
import pytest

from bookstore.lab.load.steady_state import has_no_trend, is_steady
from bookstore.lab.record.samples import Samples, empty


def make_samples(done_s: np.typing.NDArray[np.float64], latency_ms: np.typing.NDArray[np.float64]) -> Samples:
    count = len(done_s)
    latency = latency_ms.astype(np.float32)
    return Samples(done_s, latency, latency, np.full(count, 200, np.int16), np.zeros(count, np.uint8))


@pytest.mark.parametrize(
    ("values", "steady"),
    [
        ([100, 100, 100, 100, 100, 100], True),
        ([100, 101, 100, 102, 101, 102], True),  # 2 % altogether
        ([100, 80, 120, 90, 110, 105], True),
        ([50, 70, 80, 90, 95, 100], False),
        ([100, 95, 90, 80, 70, 50], False),
        ([7, 9, 6, 8, 10, 7], True),
        ([0, 0, 0, 0, 0, 0], True),
    ],
)
def test_trend(values: list[float], steady: bool) -> None:
    """Noise around a level or a change of a few percent is no trend; a rise or a fall is."""
    assert has_no_trend(values) is steady


def test_false_alarms() -> None:
    """About one in twenty of 2,000 noisy levels looks like a trend, as expected at 5 %."""
    rng = np.random.default_rng(1)
    alarms = sum(not has_no_trend(rng.normal(100, 20, 6).tolist()) for _ in range(2000))
    assert 60 <= alarms <= 140


def test_closed_by_throughput() -> None:
    """Closed model: rising throughput is not steady, constant throughput is."""
    even = np.arange(0, 4, 0.01)
    assert is_steady(make_samples(even, np.ones(400)), is_open=False)
    faster = np.sqrt(np.arange(0, 16, 0.04))
    assert not is_steady(make_samples(faster, np.ones(400)), is_open=False)


def test_open_by_latency() -> None:
    """Open model, where throughput is given: latency must not rise, and no window may be empty."""
    even = np.arange(0, 4, 0.01)
    assert is_steady(make_samples(even, np.ones(400)), is_open=True)
    assert not is_steady(make_samples(even, np.arange(400.0)), is_open=True)
    gap = even[(even < 2) | (even > 3)]
    assert not is_steady(make_samples(gap, np.ones(len(gap))), is_open=True)


def test_too_short_to_tell() -> None:
    """Before six windows have passed nothing is steady."""
    assert not is_steady(empty(), is_open=False)
    assert not is_steady(make_samples(np.arange(0, 2.9, 0.01), np.ones(290)), is_open=False)
