from __future__ import annotations

import numpy as np
import pytest

from bookstore.lab.load.steady_state import has_no_trend, is_steady
from bookstore.lab.record.samples import Samples, empty


def samples(done_s: np.typing.NDArray[np.float64], latency_ms: np.typing.NDArray[np.float64]) -> Samples:
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
    """Noise around a level is no trend, nor is one of a few percent; a rise or a fall is one."""
    assert has_no_trend(values) is steady


def test_false_alarms() -> None:
    """Of 2,000 levels with noise about one in twenty looks like a trend, as the test's 5 % promise."""
    chance = np.random.default_rng(1)
    alarms = sum(not has_no_trend(chance.normal(100, 20, 6).tolist()) for _ in range(2000))
    assert 60 <= alarms <= 140


def test_closed_by_throughput() -> None:
    """In the closed model more and more requests are no steady load; as many in each window are."""
    even = np.arange(0, 4, 0.01)
    assert is_steady(samples(even, np.ones(400)), is_open=False)
    faster = np.sqrt(np.arange(0, 16, 0.04))
    assert not is_steady(samples(faster, np.ones(400)), is_open=False)


def test_open_by_latency() -> None:
    """In the open model, where throughput is given, latency must not grow, and no window be empty."""
    even = np.arange(0, 4, 0.01)
    assert is_steady(samples(even, np.ones(400)), is_open=True)
    assert not is_steady(samples(even, np.arange(400.0)), is_open=True)
    gap = even[(even < 2) | (even > 3)]
    assert not is_steady(samples(gap, np.ones(len(gap))), is_open=True)


def test_too_short_to_tell() -> None:
    """Before six windows are over nothing is steady."""
    assert not is_steady(empty(), is_open=False)
    assert not is_steady(samples(np.arange(0, 2.9, 0.01), np.ones(290)), is_open=False)
