"""Converts timelines to series over time under the record's names. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bookstore.lab.record.run_record import Series
from bookstore.lab.record.samples import Samples
from bookstore.lab.telemetry.timeline import Column, Timeline, largest, summed
from bookstore.lab.telemetry.usage import Timelines

STATISTICS_POLLS: Final = 4
"""Sessions update pg_stat_database once a second, so its rates are over the last second of polls."""


def from_timelines(timelines: Timelines) -> list[Series]:
    """Return all series, each with one value per poll."""
    workers = {
        pid: _worker_columns(timeline, timelines.services.get(pid)) for pid, timeline in timelines.processes.items()
    }
    all_series = [
        Series(name, f"worker {pid}", column) for pid, columns in workers.items() for name, column in columns.items()
    ]
    for name in next(iter(workers.values()), {}):
        merge = largest if name == "loop_lag_ms" else summed
        all_series.append(Series(name, "workers", merge([columns[name] for columns in workers.values()])))
    others = {
        "postgres": _postgres_columns(timelines),
        "load": _load_columns(timelines.load),
        "machine": _machine_columns(timelines.machine),
    }
    return all_series + [Series(name, of, column) for of, columns in others.items() for name, column in columns.items()]


def from_samples(samples: Samples, at_s: Sequence[float]) -> list[Series]:
    """Return sent_per_s since the previous moment, and in_flight (sent, not completed) at each moment of `at_s`."""
    sent = np.sort(samples.done_s - samples.service_ms / 1000)
    moments: NDArray[np.float64] = np.asarray(at_s, np.float64)
    sent_by = np.searchsorted(sent, moments, side="right")
    done_by = np.searchsorted(np.sort(samples.done_s), moments, side="right")
    passed = zip(np.diff(sent_by).tolist(), np.diff(moments).tolist(), strict=True)
    rates: Column = [None, *(count / seconds if seconds > 0 else None for count, seconds in passed)]
    return [
        Series("sent_per_s", "load", rates[: len(at_s)]),
        Series("in_flight", "load", (sent_by - done_by).astype(float).tolist()),
    ]


def _worker_columns(process: Timeline, service: Timeline | None) -> dict[str, Column]:
    own = {name: process.gauge(name) for name in ("pss_bytes", "uss_bytes", "rss_bytes", "threads", "descriptors")}
    own["cpu_ratio"] = process.rate("cpu_s")
    if service is None:
        return own
    return own | {
        "loop_lag_ms": _scaled(1000, service.gauge("event_loop_lag_max_seconds")),
        "in_flight": service.gauge("requests_in_flight"),
        "gc_pause_ms": _scaled(1000, service.increases("gc_pause_seconds_total")),
        "pool_checked_out": service.gauge("pool_checked_out"),
        "pool_checked_in": service.gauge("pool_checked_in"),
        "pool_overflow": service.gauge("pool_overflow"),
        "pool_waiting": service.gauge("pool_requests_waiting"),
    }


def _postgres_columns(timelines: Timelines) -> dict[str, Column]:
    sessions = timelines.sessions
    states = ("active", "idle", "idle_in_transaction", "other", "waiting", "foreign")
    hits, blocks = sessions.rate("hits", STATISTICS_POLLS), sessions.rate("blocks", STATISTICS_POLLS)
    return {f"sessions_{state}": sessions.gauge(f"sessions_{state}") for state in states} | {
        "max_connections": sessions.gauge("max_connections"),
        "commits_per_s": sessions.rate("commits", STATISTICS_POLLS),
        "rollbacks_per_s": sessions.rate("rollbacks", STATISTICS_POLLS),
        "statements_per_s": sessions.rate("statements"),
        "rows_per_s": sessions.rate("rows"),
        "cpu_ratio": timelines.postgres.rate("cpu_s"),
        "pss_bytes": timelines.postgres.gauge("pss_bytes"),
        "cache_hit_ratio": [
            hit / block if hit is not None and block else None for hit, block in zip(hits, blocks, strict=True)
        ],
    }


def _load_columns(timeline: Timeline) -> dict[str, Column]:
    return {"cpu_ratio": timeline.rate("cpu_s")}


def _machine_columns(timeline: Timeline) -> dict[str, Column]:
    all_s, ours = timeline.increases("all_s"), timeline.increases("ours_s")

    def share(gains: Column) -> Column:
        pairs = zip(gains, all_s, strict=True)
        return [part / whole if part is not None and whole else None for part, whole in pairs]

    others: Column = [
        max(0.0, busy - own) if busy is not None and own is not None else None
        for busy, own in zip(timeline.increases("busy_s"), ours, strict=True)
    ]  # the kernel counts all cores in ticks, so between two polls the run may seem to have used more than the total
    return {
        "others_ratio": share(others),
        "steal_ratio": share(timeline.increases("steal_s")),
        "pressure_ratio": timeline.rate("pressure_s"),
        "load1": timeline.gauge("load1"),
    }


def _scaled(factor: float, column: Column) -> Column:
    return [None if value is None else value * factor for value in column]
