from __future__ import annotations

import msgspec
import pytest

from bookstore.lab.telemetry.timeline import Reading, Timeline
from bookstore.lab.telemetry.usage import Timelines, Usage, split, usage


def hundred(_from_s: float, _to_s: float) -> int:
    return 100


def timeline(**gained: float) -> Timeline:
    """Three looks, a second apart, in which each counter gained so much, the same in each."""
    return Timeline([Reading(at, {name: value * at / 2 for name, value in gained.items()}) for at in (0.0, 1.0, 2.0)])


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
    """Counters' gains over requests, all workers' together; peaks of sums; both edges between looks."""
    seen = usage(
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
    assert msgspec.structs.astuple(seen) == pytest.approx((60, 10, 3, 9, 50, 600, 8, None, None, None))


def test_a_cost_is_between_two_looks() -> None:
    """What was counted between two looks is divided by what was answered between the same two."""
    asked = []

    def answered(from_s: float, to_s: float) -> int:
        asked.append((from_s, to_s))
        return 10

    uneven = Timeline([Reading(at, {"cpu_s": used}) for at, used in ((0.0, 0.0), (0.6, 1.0), (1.1, 3.0), (2.0, 99.0))])
    assert usage(timelines({1: uneven}), 0.5, 1.5, answered, None).cpu_ms_per_request == pytest.approx(200)
    assert asked == [(0.6, 1.1)]


def test_nobody_told() -> None:
    """Without a word of anybody, and without requests, all is unknown; nothing is 0."""
    assert usage(timelines(), 0, 2, hundred, 10.0) == Usage()
    assert usage(timelines({1: timeline(cpu_s=2)}), 0, 2, lambda *_: 0, 10.0).cpu_ms_per_request is None


def test_a_worker_that_died() -> None:
    """What one of two workers used until it died is no figure of both."""
    dead = Timeline([Reading(0.0, {"cpu_s": 1, "pss_bytes": 7}), None, None])
    seen = usage(timelines({1: timeline(cpu_s=2, pss_bytes=10), 2: dead}), 0, 2, hundred, 10.0)
    assert (seen.cpu_ms_per_request, seen.pss_bytes) == (None, 7)


def test_memory_read_less_often() -> None:
    """A peak is of the looks that read the memory of all workers."""
    rare = Timeline([Reading(0.0, {}), Reading(1.0, {"pss_bytes": 5}), Reading(2.0, {})])
    assert usage(timelines({1: rare, 2: timeline(pss_bytes=10)}), 0, 2, hundred, None).pss_bytes == 10


def test_pool() -> None:
    """Waits of all workers in one histogram, each bucket for itself, and the requests that got no connection."""
    seen = usage(timelines(services={1: timeline(**SERVICE), 2: timeline(**SERVICE)}), 0, 2, hundred, None)
    assert seen.pool_wait
    assert (seen.pool_wait.bounds_s, seen.pool_wait.counts) == ([0.001, 0.01], [120, 60, 20])
    assert seen.pool_wait.sum_s == pytest.approx(0.2)
    assert seen.pool_timeouts == 6


def test_split() -> None:
    """The parts add up to the latency that the load generator saw; what the service did not see was outside."""
    found = split([timeline(**SERVICE), timeline(**SERVICE)], 0, 2, 12.0)
    assert found
    assert (found.pool_wait_ms, found.database_ms, found.serialisation_ms) == pytest.approx((1, 4, 2))
    assert (found.python_ms, found.outside_ms) == pytest.approx((3, 2))
    parts = found.pool_wait_ms + found.database_ms + found.serialisation_ms + found.python_ms + found.outside_ms
    assert parts == pytest.approx(found.total_ms)


def test_split_of_other_requests() -> None:
    """Where the service's own parts are more than the whole, there is no split."""
    assert split([timeline(**SERVICE)], 0, 2, 6.0) is None
    assert split([timeline(request_seconds_count=3)], 0, 2, 6.0) is None
    assert split([], 0, 2, 6.0) is None
