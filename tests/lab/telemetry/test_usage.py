from __future__ import annotations

import msgspec
import pytest

from bookstore.lab.telemetry.timeline import Reading, Timeline
from bookstore.lab.telemetry.usage import Timelines, Usage, split, usage


def hundred(_from_s: float, _to_s: float) -> int:
    return 100


def timeline(**increases: float) -> Timeline:
    """Three readings, a second apart, over which each counter increases steadily by the given value."""
    return Timeline(
        [Reading(at, {name: value * at / 2 for name, value in increases.items()}) for at in (0.0, 1.0, 2.0)]
    )


def timelines(
    processes: dict[int, Timeline] | None = None, services: dict[int, Timeline] | None = None, **others: Timeline
) -> Timelines:
    empty = {name: Timeline([None, None, None]) for name in ("sessions", "postgres", "load", "machine")}
    return Timelines(processes or {}, services or {}, **(empty | others))


SERVICE = {
    "request_seconds_sum": 1.0,
    "request_seconds_count": 100,
    "pool_wait_seconds_sum": 0.1,
    "statement_seconds_total": 0.4,
    "encode_seconds_total": 0.2,
    "pool_requests_errors_total": 3,
    "pool_wait_seconds_bucket 0.001": 60,
    "pool_wait_seconds_bucket 0.01": 90,
    "pool_wait_seconds_bucket +Inf": 100,
}


def test_per_request() -> None:
    """Counter increases over requests, for all workers together; peaks of sums; both ends between readings."""
    result = usage(
        timelines(
            {1: timeline(cpu_s=2, pss_bytes=200), 2: timeline(cpu_s=4, pss_bytes=400)},
            postgres=timeline(cpu_s=1),
            sessions=timeline(statements_ms=300, statements=900, rows=5000, connections=8),
        ),
        0,
        2,
        hundred,
        mean_ms=None,
    )
    assert msgspec.structs.astuple(result) == pytest.approx((60, 10, 3, 9, 50, 600, 8, None, None, None))


def test_a_cost_is_between_two_readings() -> None:
    """The increase between two readings is divided by the requests answered between the same two."""
    spans = []

    def answered(from_s: float, to_s: float) -> int:
        spans.append((from_s, to_s))
        return 10

    uneven = Timeline([Reading(at, {"cpu_s": used}) for at, used in ((0.0, 0.0), (0.6, 1.0), (1.1, 3.0), (2.0, 99.0))])
    assert usage(timelines({1: uneven}), 0.5, 1.5, answered, None).cpu_ms_per_request == pytest.approx(200)
    assert spans == [(0.6, 1.1)]


def test_no_sources() -> None:
    """Without sources, and without requests, everything is None and nothing is 0."""
    assert usage(timelines(), 0, 2, hundred, 10.0) == Usage()
    assert usage(timelines({1: timeline(cpu_s=2)}), 0, 2, lambda *_: 0, 10.0).cpu_ms_per_request is None


def test_a_worker_that_died() -> None:
    """Usage of one of two workers until its death is not reported as usage of both."""
    dead = Timeline([Reading(0.0, {"cpu_s": 1, "pss_bytes": 7}), None, None])
    result = usage(timelines({1: timeline(cpu_s=2, pss_bytes=10), 2: dead}), 0, 2, hundred, 10.0)
    assert (result.cpu_ms_per_request, result.pss_bytes) == (None, 7)


def test_memory_read_less_often() -> None:
    """A peak is taken from polls that read the memory of all workers."""
    rare = Timeline([Reading(0.0, {}), Reading(1.0, {"pss_bytes": 5}), Reading(2.0, {})])
    assert usage(timelines({1: rare, 2: timeline(pss_bytes=10)}), 0, 2, hundred, None).pss_bytes == 10


def test_pool() -> None:
    """Waits of all workers in one histogram with non-cumulative buckets, and the number of pool timeouts."""
    result = usage(timelines(services={1: timeline(**SERVICE), 2: timeline(**SERVICE)}), 0, 2, hundred, None)
    assert result.pool_wait
    assert (result.pool_wait.bounds_s, result.pool_wait.counts) == ([0.001, 0.01], [120, 60, 20])
    assert result.pool_wait.sum_s == pytest.approx(0.2)
    assert result.pool_timeouts == 6


def test_split() -> None:
    """The parts add up to the latency seen by the load generator; time that the service did not see is outside."""
    parts_ms = split([timeline(**SERVICE), timeline(**SERVICE)], 0, 2, 12.0)
    assert parts_ms
    assert (parts_ms.pool_wait_ms, parts_ms.database_ms, parts_ms.serialisation_ms) == pytest.approx((1, 4, 2))
    assert (parts_ms.python_ms, parts_ms.outside_ms) == pytest.approx((3, 2))
    parts = (
        parts_ms.pool_wait_ms
        + parts_ms.database_ms
        + parts_ms.serialisation_ms
        + parts_ms.python_ms
        + parts_ms.outside_ms
    )
    assert parts == pytest.approx(parts_ms.total_ms)


def test_split_of_other_requests() -> None:
    """If the service's parts exceed the total, there is no split."""
    assert split([timeline(**SERVICE)], 0, 2, 6.0) is None
    assert split([timeline(request_seconds_count=3)], 0, 2, 6.0) is None
    assert split([], 0, 2, 6.0) is None
