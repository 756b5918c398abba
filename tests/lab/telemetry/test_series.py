from __future__ import annotations

import numpy as np
import pytest

from bookstore.lab.record.samples import Samples
from bookstore.lab.telemetry.series import from_samples, from_timelines
from bookstore.lab.telemetry.timeline import Reading, Timeline
from bookstore.lab.telemetry.usage import Timelines

TIMES_S = [0.0, 0.25, 0.5]


def timeline(*readings: dict[str, float] | None) -> Timeline:
    pairs = zip(TIMES_S, readings, strict=True)
    return Timeline([None if values is None else Reading(at, values) for at, values in pairs])


def test_workers_together() -> None:
    """Two workers' figures are summed poll by poll, their lag is the maximum; a gap of one is a gap of both."""
    processes = {
        1: timeline({"rss_bytes": 10, "cpu_s": 0.0}, {"rss_bytes": 11, "cpu_s": 0.1}, None),
        2: timeline({"rss_bytes": 20, "cpu_s": 0.0}, {"rss_bytes": 22, "cpu_s": 0.05}, {"rss_bytes": 23, "cpu_s": 0.1}),
    }
    lag = {
        pid: timeline(*({"event_loop_lag_max_seconds": pid / 1000 * poll} for poll in range(3))) for pid in processes
    }
    nothing = Timeline([None, None, None])
    series = {(line.of, line.name): line.values for line in from_timelines(Timelines(processes, lag, *[nothing] * 4))}
    assert series["worker 2", "rss_bytes"] == [20, 22, 23]
    assert series["workers", "rss_bytes"] == [30, 33, None]
    assert series["workers", "cpu_ratio"] == [None, pytest.approx(0.6), None]
    assert series["workers", "loop_lag_ms"] == [0, 2, 4]


def test_shares_of_the_machine() -> None:
    """Others' share is never below 0, although between two polls the kernel's ticks may suggest it."""
    machine = timeline(
        {"busy_s": 0, "ours_s": 0, "all_s": 0, "steal_s": 0},
        {"busy_s": 0.3, "ours_s": 0.1, "all_s": 0.5, "steal_s": 0.05},
        {"busy_s": 0.4, "ours_s": 0.3, "all_s": 1.0, "steal_s": 0.05},
    )
    nothing = Timeline([None, None, None])
    values = {
        line.name: line.values
        for line in from_timelines(Timelines({}, {}, nothing, nothing, nothing, machine))
        if line.of == "machine"
    }
    assert values["others_ratio"] == [None, pytest.approx(0.4), 0]
    assert values["steal_ratio"] == [None, pytest.approx(0.1), 0]
    assert values["load1"] == [None, None, None]


def test_from_samples() -> None:
    """Requests sent since the previous moment, and requests in flight: sent and not completed."""
    done_s = np.array([0.1, 0.6, 0.9, 2.0])
    service_ms = np.array([200, 300, 300, 1600], np.float32)  # sent at -0.1, 0.3, 0.6 and 0.4
    samples = Samples(done_s, service_ms, service_ms, np.full(4, 200, np.int16), np.zeros(4, np.uint8))
    sent, in_flight = from_samples(samples, [-0.5, 0.0, 0.5, 1.0, 3.0])
    assert (sent.of, sent.name, in_flight.of, in_flight.name) == ("load", "sent_per_s", "load", "in_flight")
    assert sent.values == pytest.approx([None, 2, 4, 2, 0])
    assert in_flight.values == [0, 1, 2, 1, 0]
    assert [series.values for series in from_samples(samples, [])] == [[], []]
