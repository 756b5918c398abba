"""What a request cost, of the looks taken while requests were measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from bookstore.lab.record.run_record import Histogram, Split
from bookstore.lab.telemetry.timeline import Timeline, total

_MEMORY_EVERY_S: Final = 1.0
"""PSS is read once a second at least: a shorter measurement has the look before it."""
_BUCKET: Final = "pool_wait_seconds_bucket "


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Named as in record.Measurement."""

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
    """What was watched: `processes` and `services` (the metrics port's words) by the worker's pid; `sessions` is
    what PostgreSQL says, `postgres` its processes."""

    processes: Mapping[int, Timeline]
    services: Mapping[int, Timeline]
    sessions: Timeline
    postgres: Timeline
    load: Timeline
    machine: Timeline


Answered = Callable[[float, float], int]
"""How many requests were answered between two moments of time.monotonic()."""


def usage(timelines: Timelines, begin_s: float, end_s: float, answered: Answered, mean_ms: float | None) -> Usage:
    """Of the requests `answered` from `begin_s` to `end_s` (time.monotonic()), which took `mean_ms`. A figure
    that a gap makes unknown, or that nobody told, is None.

    A cost is what was counted between the first and the last look, over the requests answered between these two:
    those on their way at both ends are the only error, some five of thousands.
    """
    workers, services = list(timelines.processes.values()), list(timelines.services.values())

    def gained(some: Sequence[Timeline], name: str) -> float | None:
        return total(timeline.increase(name, begin_s, end_s) for timeline in some)

    def each(some: Sequence[Timeline], name: str, factor: float = 1.0) -> float | None:
        parts: list[float | None] = []
        for timeline in some:
            found = timeline.increase_between_readings(name, begin_s, end_s)
            if found is None:  # too short for two looks
                gain = timeline.increase(name, begin_s, end_s)
                found = None if gain is None else (gain, begin_s, end_s)
            requests = answered(found[1], found[2]) if found else 0
            parts.append(found[0] * factor / requests if found and requests else None)
        return total(parts)

    pss = _peak_of_sum(workers, "pss_bytes", begin_s - _MEMORY_EVERY_S, end_s)
    timeouts = gained(services, "pool_requests_errors_total")
    return Usage(
        cpu_ms_per_request=each(workers, "cpu_s", 1000),
        database_cpu_ms_per_request=each([timelines.postgres], "cpu_s", 1000),
        database_ms_per_request=each([timelines.sessions], "statements_ms"),
        statements_per_request=each([timelines.sessions], "statements"),
        rows_per_request=each([timelines.sessions], "rows"),
        pss_bytes=None if pss is None else round(pss),
        connections=max(map(int, timelines.sessions.within("connections", begin_s, end_s)), default=None),
        pool_wait=pool_wait(services, begin_s, end_s),
        pool_timeouts=None if timeouts is None else round(timeouts),
        split=None if mean_ms is None else split(services, begin_s, end_s, mean_ms),
    )


def pool_wait(services: Sequence[Timeline], begin_s: float, end_s: float) -> Histogram | None:
    """How long requests waited for a connection, all workers' together."""
    seen = {name for timeline in services for reading in timeline.readings if reading for name in reading.values}
    names = sorted((name for name in seen if name.startswith(_BUCKET)), key=_bound)
    upto = [total(timeline.increase(name, begin_s, end_s) for timeline in services) for name in names]
    sum_s = total(timeline.increase("pool_wait_seconds_sum", begin_s, end_s) for timeline in services)
    if not names or sum_s is None:
        return None
    cumulative = [0, *(round(count) for count in upto if count is not None)]
    if len(cumulative) != len(names) + 1:
        return None
    counts = [max(0, count - before) for before, count in pairwise(cumulative)]
    return Histogram(bounds_s=[_bound(name) for name in names if _bound(name) < math.inf], counts=counts, sum_s=sum_s)


def split(services: Sequence[Timeline], begin_s: float, end_s: float, mean_ms: float) -> Split | None:
    """Where the mean request's `mean_ms` goes, by the service's own sums over its own count of requests.

    What the service did not see passed outside; what it saw and did not spend waiting, asking or writing JSON,
    Python took. None where the parts do not fit into the whole: the port then speaks of other requests.
    """

    def spent(name: str) -> float | None:
        return total(timeline.increase(name, begin_s, end_s) for timeline in services)

    count, served = spent("request_seconds_count"), spent("request_seconds_sum")
    pool, database, json = (
        spent(name) for name in ("pool_wait_seconds_sum", "statement_seconds_total", "encode_seconds_total")
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
    """The largest sum over all of one look's. Each timeline has a reading a look."""
    sums = [
        total(reading.values.get(name) if reading else None for reading in look)
        for look in zip(*(timeline.readings for timeline in timelines), strict=True)
        if look[0] and begin_s <= look[0].at_s <= end_s
    ]
    return max((one for one in sums if one is not None), default=None)
