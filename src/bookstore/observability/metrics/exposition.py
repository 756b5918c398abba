"""Renders the workers' blocks in Prometheus's text format 0.0.4.

Every series of a worker has the label `worker`. There are no totals, because a query that sums over a family with
totals would count everything twice; Prometheus itself can `sum without (worker) (…)`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from time import monotonic
from typing import Final, Literal, NamedTuple

from bookstore.observability.metrics import block, shared_memory
from bookstore.observability.metrics.block import BOUNDS, Block
from bookstore.observability.metrics.runtime import TICK_S
from bookstore.profile.engine_profile import EngineProfile

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels = dict[str, str]
Sample = tuple[str, Labels, float]


class _Family(NamedTuple):
    kind: Literal["counter", "gauge", "histogram"]
    help: str


_FAMILIES: Final = {
    "bookstore_build_info": _Family("gauge", "Versions of the service and its libraries (constant 1)."),
    "bookstore_profile_info": _Family("gauge", "The engine profile with all its keys (constant 1)."),
    "bookstore_schema_info": _Family("gauge", "Schema revision at startup and the one needed (constant 1)."),
    "bookstore_start_time_seconds": _Family("gauge", "Start time of the server since unix epoch in seconds."),
    "bookstore_worker_up": _Family("gauge", "Whether a process of this worker is running (1) or not (0)."),
    "bookstore_worker_starts_total": _Family("counter", "Total number of processes started for this worker."),
    "bookstore_worker_info": _Family("gauge", "Process ID and profile of each serving process (constant 1)."),
    "bookstore_requests_total": _Family("counter", "Total number of finished HTTP requests."),
    "bookstore_request_seconds": _Family("histogram", "Duration of HTTP requests in seconds."),
    "bookstore_request_statements_total": _Family("counter", "Total number of SQL statements sent by HTTP requests."),
    "bookstore_requests_in_flight": _Family("gauge", "Number of HTTP requests being served."),
    "bookstore_requests_shed_total": _Family("counter", "Total number of units of work rejected at max_waiting."),
    "bookstore_pool_min": _Family("gauge", "Number of connections that the pool keeps open (pool_size)."),
    "bookstore_pool_max": _Family("gauge", "Maximum number of connections (pool_size + max_overflow)."),
    "bookstore_pool_size": _Family("gauge", "Number of open connections."),
    "bookstore_pool_checked_out": _Family("gauge", "Number of connections in use."),
    "bookstore_pool_checked_in": _Family("gauge", "Number of idle connections in the pool."),
    "bookstore_pool_overflow": _Family("gauge", "Number of open connections beyond pool_size."),
    "bookstore_pool_requests_waiting": _Family("gauge", "Number of units of work waiting for a connection."),
    "bookstore_pool_requests_num_total": _Family("counter", "Total number of connection requests."),
    "bookstore_pool_requests_queued_total": _Family(
        "counter", "Total number of connection requests that found none free."
    ),
    "bookstore_pool_requests_wait_ms_total": _Family("counter", "Total time waiting for a connection in milliseconds."),
    "bookstore_pool_requests_errors_total": _Family("counter", "Total number of connection requests that failed."),
    "bookstore_pool_usage_ms_total": _Family("counter", "Total time connections were in use in milliseconds."),
    "bookstore_pool_connections_num_total": _Family("counter", "Total number of attempts to connect to PostgreSQL."),
    "bookstore_pool_connections_ms_total": _Family("counter", "Total time connecting to PostgreSQL in milliseconds."),
    "bookstore_pool_connections_errors_total": _Family("counter", "Total number of failed connection attempts."),
    "bookstore_pool_wait_seconds": _Family("histogram", "Time spent waiting for a connection in seconds."),
    "bookstore_pool_hold_seconds": _Family("histogram", "Time a connection was in use in seconds."),
    "bookstore_statements_total": _Family(
        "counter", "Total number of SQL statements except BEGIN, COMMIT and ROLLBACK."
    ),
    "bookstore_statement_seconds_total": _Family("counter", "Total time spent executing SQL statements in seconds."),
    "bookstore_encode_seconds_total": _Family("counter", "Total time spent encoding responses as JSON in seconds."),
    "bookstore_event_loop_lag_seconds": _Family("histogram", "Event loop lag in seconds."),
    "bookstore_event_loop_lag_max_seconds": _Family("gauge", "Maximum event loop lag of the last second in seconds."),
    "bookstore_gc_pause_seconds_total": _Family("counter", "Total time spent in garbage collection in seconds."),
    "bookstore_gc_collections_total": _Family("counter", "Total number of garbage collections by generation."),
}


def render_page(
    blocks: Sequence[Block], profile: EngineProfile, infos: Mapping[str, Labels], started_s: float
) -> bytes:
    """Return the metrics page of a server under `profile`, in UTF-8.

    `blocks` hold the workers' counts, BLOCKS_PER_WORKER for each. `infos` are the labels of the info metrics by name.
    `started_s` is the start time in seconds since 1970.
    """
    samples: dict[str, list[Sample]] = defaultdict(list)
    for name, labels in infos.items():
        samples[name].append((name, labels, 1))
    samples["bookstore_start_time_seconds"].append(("bookstore_start_time_seconds", {}, started_s))
    for place in range(0, len(blocks), shared_memory.BLOCKS_PER_WORKER):
        for family, sample in _worker_samples(
            place // shared_memory.BLOCKS_PER_WORKER + 1,
            blocks[place : place + shared_memory.BLOCKS_PER_WORKER],
            profile,
        ):
            samples[family].append(sample)
    return "".join(_format_family(name, family, samples[name]) for name, family in _FAMILIES.items()).encode()


def _worker_samples(number: int, blocks: Sequence[Block], profile: EngineProfile) -> Iterator[tuple[str, Sample]]:
    """Yield one worker's samples with their families: counters of all its processes, gauges of the running ones."""
    worker = {"worker": str(number)}
    counted = [0.0] * len(blocks[0].fixed())
    alive = []
    for worker_block in blocks:
        cells = worker_block.fixed()
        counted = [was + more for was, more in zip(counted, cells, strict=True)]
        if shared_memory.is_alive(worker_block):
            alive.append(cells)

    def sample(name: str, value: float, **labels: str) -> tuple[str, Sample]:
        return name, (name, worker | labels, value)

    for cells in alive:
        labels = {"profile": profile.name, "driver": profile.driver, "loading": profile.loading}
        yield sample("bookstore_worker_info", 1, pid=f"{cells[block.PID]:.0f}", **labels)
    yield sample("bookstore_worker_up", float(bool(alive)))
    yield sample("bookstore_worker_starts_total", counted[block.STARTS])
    yield from _gauge_samples(worker, alive, profile)
    yield sample("bookstore_requests_shed_total", counted[block.SHED])
    waits, holds, lags = (block.histogram(counted, at) for at in (block.WAIT, block.HOLD, block.LAG))
    yield sample("bookstore_pool_requests_num_total", counted[block.REQUESTED])
    yield sample("bookstore_pool_requests_queued_total", counted[block.QUEUED])
    yield sample("bookstore_pool_requests_wait_ms_total", waits[-1] * 1000)
    yield sample("bookstore_pool_requests_errors_total", counted[block.FAILED])
    yield sample("bookstore_pool_usage_ms_total", holds[-1] * 1000)
    yield sample("bookstore_pool_connections_num_total", counted[block.CONNECTS])
    yield sample("bookstore_pool_connections_ms_total", counted[block.CONNECT_S] * 1000)
    yield sample("bookstore_pool_connections_errors_total", counted[block.CONNECT_FAILED])
    yield sample("bookstore_statements_total", counted[block.STATEMENTS])
    yield sample("bookstore_statement_seconds_total", counted[block.STATEMENT_S])
    yield sample("bookstore_encode_seconds_total", counted[block.ENCODE_S])
    yield sample("bookstore_gc_pause_seconds_total", counted[block.GC_PAUSE_S])
    for generation in range(3):
        runs = counted[block.COLLECTIONS + generation]
        yield sample("bookstore_gc_collections_total", runs, generation=str(generation))
    yield from _histogram_samples("bookstore_pool_wait_seconds", worker, waits)
    yield from _histogram_samples("bookstore_pool_hold_seconds", worker, holds)
    yield from _histogram_samples("bookstore_event_loop_lag_seconds", worker, lags)
    yield from _request_samples(worker, blocks)


def _gauge_samples(worker: Labels, alive: list[list[float]], profile: EngineProfile) -> Iterator[tuple[str, Sample]]:
    def total(cell: int) -> float:
        return sum(cells[cell] for cells in alive)

    now = monotonic()
    # A blocked loop cannot report its lag: the time since its overdue sample does.
    lags = [max(cells[block.LAG_MAX_S], now - (cells[block.SAMPLED_AT_S] or now) - TICK_S) for cells in alive]
    in_use = total(block.CHECKED_OUT)
    idle = max(0.0, total(block.OPEN) - in_use)
    pool_min = profile.pool_size if profile.pool == "queue" else 0
    for name, value in {
        "bookstore_requests_in_flight": total(block.IN_FLIGHT),
        # During a reload, an old and a new process of one worker serve, each with its own pool.
        "bookstore_pool_min": len(alive) * pool_min,
        "bookstore_pool_max": len(alive) * profile.connections_per_worker,
        "bookstore_pool_size": in_use + idle,
        "bookstore_pool_checked_out": in_use,
        "bookstore_pool_checked_in": idle,
        "bookstore_pool_overflow": total(block.OVERFLOW),
        "bookstore_pool_requests_waiting": total(block.WAITING),
        "bookstore_event_loop_lag_max_seconds": max(lags, default=0.0),
    }.items():
        yield name, (name, worker, value)


def _request_samples(worker: Labels, blocks: Iterable[Block]) -> Iterator[tuple[str, Sample]]:
    total, took, sent = "bookstore_requests_total", "bookstore_request_seconds", "bookstore_request_statements_total"
    kinds: dict[tuple[str, str, int], float] = defaultdict(float)
    routes: dict[tuple[str, str], list[float]] = {}
    statements: dict[tuple[str, str], float] = defaultdict(float)
    for worker_block in blocks:
        for (method, route, status), row in worker_block.requests().items():
            kinds[method, route, status] += sum(row.times[:-1])
            so_far = routes.get((method, route), [0.0] * len(row.times))
            routes[method, route] = [was + more for was, more in zip(so_far, row.times, strict=True)]
            statements[method, route] += row.statements
    for (method, route, status), count in sorted(kinds.items()):
        labels = {"method": method, "route": route, "status": str(status) if status else "none"}
        yield total, (total, worker | labels, count)
    for (method, route), cells in sorted(routes.items()):
        labels = worker | {"method": method, "route": route}
        yield from _histogram_samples(took, labels, cells)
        yield sent, (sent, labels, statements[method, route])


def _histogram_samples(name: str, labels: Labels, cells: list[float]) -> Iterator[tuple[str, Sample]]:
    counts = list(accumulate(cells[:-1]))
    for bound, count in zip([*map(str, BOUNDS), "+Inf"], counts, strict=True):
        yield name, (f"{name}_bucket", labels | {"le": bound}, count)
    yield name, (f"{name}_sum", labels, cells[-1])
    yield name, (f"{name}_count", labels, counts[-1])


def _format_family(name: str, family: _Family, samples: list[Sample]) -> str:
    lines = [f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n"]
    for series, labels, value in samples:
        pairs = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        lines.append(f"{series}{{{pairs}}} {value:.16g}\n" if pairs else f"{series} {value:.16g}\n")
    return "".join(lines)


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
