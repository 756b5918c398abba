"""Resource usage per request, from the readings taken while requests were measured. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from bookstore.lab.record.run_record import Histogram, Split
from bookstore.lab.telemetry.timeline import Timeline, total

_MEMORY_EVERY_S: Final = 1.0
"""PSS is read at least once a second; a shorter measurement uses the reading before it."""
_BUCKET: Final = "pool_wait_seconds_bucket "


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Fields are named as in run_record.Measurement."""

    cpu_ms_per_request: float | None = None
    database_cpu_ms_per_request: float | None = None
    database_ms_per_request: float | None = None
    statements_per_request: float | None = None
    rows_per_request: float | None = None
    pss_bytes: int | None = None
    connections: int | None = None
    pool_wait: Histogram | None = None
    pool_timeouts: int | None = None
    split: Split | None = None


class Timelines(msgspec.Struct, frozen=True):
    """Everything that was observed.

    `processes` and `services` (figures of the metrics port) are by the worker's pid; `sessions` are PostgreSQL's
    statistics, `postgres` its processes.
    """

    processes: Mapping[int, Timeline]
    services: Mapping[int, Timeline]
    sessions: Timeline
    postgres: Timeline
    load: Timeline
    machine: Timeline


Answered = Callable[[float, float], int]
"""Number of requests answered between two moments of time.monotonic()."""


def usage(timelines: Timelines, begin_s: float, end_s: float, answered: Answered, mean_ms: float | None) -> Usage:
    """Return the usage per request from `begin_s` to `end_s`, in time.monotonic() seconds.

    `answered` counts the requests between two moments, and `mean_ms` is their mean latency. A figure is None if a gap
    or a missing source makes it unknown. A cost is the counter's increase between the first and the last reading,
    divided by the requests answered between these two. Its only error is requests in flight at both ends, about five
    of thousands.
    """
    workers, services = list(timelines.processes.values()), list(timelines.services.values())

    def total_increase(sources: Sequence[Timeline], name: str) -> float | None:
        return total(timeline.increase(name, begin_s, end_s) for timeline in sources)

    def per_request(sources: Sequence[Timeline], name: str, factor: float = 1.0) -> float | None:
        costs: list[float | None] = []
        for timeline in sources:
            span = timeline.increase_between_readings(name, begin_s, end_s)
            if span is None:  # too short for two readings
                increase = timeline.increase(name, begin_s, end_s)
                span = None if increase is None else (increase, begin_s, end_s)
            requests = answered(span[1], span[2]) if span else 0
            costs.append(span[0] * factor / requests if span and requests else None)
        return total(costs)

    pss = _peak_of_sum(workers, "pss_bytes", begin_s - _MEMORY_EVERY_S, end_s)
    timeouts = total_increase(services, "pool_requests_errors_total")
    return Usage(
        cpu_ms_per_request=per_request(workers, "cpu_s", 1000),
        database_cpu_ms_per_request=per_request([timelines.postgres], "cpu_s", 1000),
        database_ms_per_request=per_request([timelines.sessions], "statements_ms"),
        statements_per_request=per_request([timelines.sessions], "statements"),
        rows_per_request=per_request([timelines.sessions], "rows"),
        pss_bytes=None if pss is None else round(pss),
        connections=max(map(int, timelines.sessions.within("connections", begin_s, end_s)), default=None),
        pool_wait=pool_wait(services, begin_s, end_s),
        pool_timeouts=None if timeouts is None else round(timeouts),
        split=None if mean_ms is None else split(services, begin_s, end_s, mean_ms),
    )


def pool_wait(services: Sequence[Timeline], begin_s: float, end_s: float) -> Histogram | None:
    """Return the histogram of waits for a connection, over all workers."""
    all_names = {name for timeline in services for reading in timeline.readings if reading for name in reading.values}
    names = sorted((name for name in all_names if name.startswith(_BUCKET)), key=_bound)
    totals = [total(timeline.increase(name, begin_s, end_s) for timeline in services) for name in names]
    sum_s = total(timeline.increase("pool_wait_seconds_sum", begin_s, end_s) for timeline in services)
    if not names or sum_s is None:
        return None
    cumulative = [0, *(round(count) for count in totals if count is not None)]
    if len(cumulative) != len(names) + 1:
        return None
    counts = [max(0, count - before) for before, count in pairwise(cumulative)]
    return Histogram(bounds_s=[_bound(name) for name in names if _bound(name) < math.inf], counts=counts, sum_s=sum_s)


def split(services: Sequence[Timeline], begin_s: float, end_s: float, mean_ms: float) -> Split | None:
    """Return how the mean request's `mean_ms` is spent, from the service's own sums and its own count of requests.

    Time that the service did not see is outside; time it saw and did not spend on waiting, the database or JSON is
    Python's. None if the parts do not fit the whole, because the port then counted other requests.
    """

    def increase(name: str) -> float | None:
        return total(timeline.increase(name, begin_s, end_s) for timeline in services)

    count, served = increase("request_seconds_count"), increase("request_seconds_sum")
    pool, database, json = (
        increase(name) for name in ("pool_wait_seconds_sum", "statement_seconds_total", "encode_seconds_total")
    )
    if not count or served is None or pool is None or database is None or json is None:
        return None
    pool_ms, database_ms, json_ms = (part * 1000 / count for part in (pool, database, json))
    outside_ms = max(0.0, mean_ms - served * 1000 / count)
    python_ms = mean_ms - outside_ms - pool_ms - database_ms - json_ms
    if python_ms < 0:
        return None
    return Split(
        total_ms=mean_ms,
        pool_wait_ms=pool_ms,
        database_ms=database_ms,
        serialisation_ms=json_ms,
        python_ms=python_ms,
        outside_ms=outside_ms,
    )


def _bound(name: str) -> float:
    return float(name.removeprefix(_BUCKET))


def _peak_of_sum(timelines: Sequence[Timeline], name: str, begin_s: float, end_s: float) -> float | None:
    """Return the largest sum over all timelines in one poll. Each timeline has one reading per poll."""
    sums = [
        total(reading.values.get(name) if reading else None for reading in poll)
        for poll in zip(*(timeline.readings for timeline in timelines), strict=True)
        if poll[0] and begin_s <= poll[0].at_s <= end_s
    ]
    return max((poll_sum for poll_sum in sums if poll_sum is not None), default=None)
