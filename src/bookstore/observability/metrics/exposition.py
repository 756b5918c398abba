"""Blocks -> Prometheus's text format 0.0.4.

Each series of a worker bears the label `worker` and nothing is summed here: a sum beside its parts in one family would
be counted twice by whoever sums over it, and `sum without (worker) (…)` is Prometheus's own.
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
    "bookstore_build_info": _Family("gauge", "1; the versions of the service and of what it stands on."),
    "bookstore_profile_info": _Family("gauge", "1; the engine profile, all of its keys."),
    "bookstore_schema_info": _Family("gauge", "1; the schema's revision at the server's start, and the needed one."),
    "bookstore_start_time_seconds": _Family("gauge", "When the server started, in seconds since 1970."),
    "bookstore_worker_up": _Family("gauge", "1 where a process of this number runs, else 0."),
    "bookstore_worker_starts_total": _Family("counter", "Processes that were started with this number."),
    "bookstore_worker_info": _Family("gauge", "1 for each process that serves: its pid and what it runs."),
    "bookstore_requests_total": _Family("counter", "Requests that are over."),
    "bookstore_request_seconds": _Family("histogram", "Time from a request's head to the end of its answer."),
    "bookstore_request_statements_total": _Family("counter", "SQL statements that these requests sent."),
    "bookstore_requests_in_flight": _Family("gauge", "Requests that are not over."),
    "bookstore_requests_shed_total": _Family("counter", "Units of work refused at once: max_waiting others waited."),
    "bookstore_pool_min": _Family("gauge", "Connections that the pool keeps open (pool_size)."),
    "bookstore_pool_max": _Family("gauge", "Connections that there can be (pool_size + max_overflow)."),
    "bookstore_pool_size": _Family("gauge", "Connections that are open."),
    "bookstore_pool_checked_out": _Family("gauge", "Connections that units of work hold."),
    "bookstore_pool_checked_in": _Family("gauge", "Connections that are open and free."),
    "bookstore_pool_overflow": _Family("gauge", "Connections that are open beyond pool_size."),
    "bookstore_pool_requests_waiting": _Family("gauge", "Units of work that wait for a connection."),
    "bookstore_pool_requests_num_total": _Family("counter", "Times that a connection was asked for."),
    "bookstore_pool_requests_queued_total": _Family("counter", "Of these, how many found none free."),
    "bookstore_pool_requests_wait_ms_total": _Family("counter", "Milliseconds that they waited in all."),
    "bookstore_pool_requests_errors_total": _Family("counter", "Of these, how many got none."),
    "bookstore_pool_usage_ms_total": _Family("counter", "Milliseconds that connections were held in all."),
    "bookstore_pool_connections_num_total": _Family("counter", "Attempts to connect to PostgreSQL."),
    "bookstore_pool_connections_ms_total": _Family("counter", "Milliseconds that they took in all."),
    "bookstore_pool_connections_errors_total": _Family("counter", "Of these, how many failed."),
    "bookstore_pool_wait_seconds": _Family("histogram", "Time from asking for a connection to having it."),
    "bookstore_pool_hold_seconds": _Family("histogram", "Time from having a connection to giving it back."),
    "bookstore_statements_total": _Family("counter", "SQL statements sent, without BEGIN, COMMIT and ROLLBACK."),
    "bookstore_statement_seconds_total": _Family("counter", "Time from sending statements to having their answers."),
    "bookstore_encode_seconds_total": _Family("counter", "Time for writing answers as JSON."),
    "bookstore_event_loop_lag_seconds": _Family("histogram", "How late the event loop runs what is due."),
    "bookstore_event_loop_lag_max_seconds": _Family("gauge", "The greatest lag within about a second."),
    "bookstore_gc_pause_seconds_total": _Family("counter", "Time that the garbage collector took."),
    "bookstore_gc_collections_total": _Family("counter", "Runs of the garbage collector."),
}


def render_page(
    blocks: Sequence[Block], profile: EngineProfile, infos: Mapping[str, Labels], started_s: float
) -> bytes:
    """What the workers of a server under `profile` counted in `blocks` until now; `infos` are the labels of what it is
    (`identity`), `started_s` the time of its start."""
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
    """Everything of one worker as (family, sample): the counters of all its processes, the gauges of those that run."""
    worker = {"worker": str(number)}
    counted = [0.0] * len(blocks[0].fixed())
    alive = []
    for one in blocks:
        cells = one.fixed()
        counted = [was + more for was, more in zip(counted, cells, strict=True)]
        if shared_memory.is_alive(one):
            alive.append(cells)

    def plain(name: str, value: float, **labels: str) -> tuple[str, Sample]:
        return name, (name, worker | labels, value)

    for cells in alive:
        told = {"profile": profile.name, "driver": profile.driver, "loading": profile.loading}
        yield plain("bookstore_worker_info", 1, pid=f"{cells[block.PID]:.0f}", **told)
    yield plain("bookstore_worker_up", float(bool(alive)))
    yield plain("bookstore_worker_starts_total", counted[block.STARTS])
    yield from _gauge_samples(worker, alive, profile)
    yield plain("bookstore_requests_shed_total", counted[block.SHED])
    waits, holds, lags = (block.histogram(counted, at) for at in (block.WAIT, block.HOLD, block.LAG))
    yield plain("bookstore_pool_requests_num_total", counted[block.REQUESTED])
    yield plain("bookstore_pool_requests_queued_total", counted[block.QUEUED])
    yield plain("bookstore_pool_requests_wait_ms_total", waits[-1] * 1000)
    yield plain("bookstore_pool_requests_errors_total", counted[block.FAILED])
    yield plain("bookstore_pool_usage_ms_total", holds[-1] * 1000)
    yield plain("bookstore_pool_connections_num_total", counted[block.CONNECTS])
    yield plain("bookstore_pool_connections_ms_total", counted[block.CONNECT_S] * 1000)
    yield plain("bookstore_pool_connections_errors_total", counted[block.CONNECT_FAILED])
    yield plain("bookstore_statements_total", counted[block.STATEMENTS])
    yield plain("bookstore_statement_seconds_total", counted[block.STATEMENT_S])
    yield plain("bookstore_encode_seconds_total", counted[block.ENCODE_S])
    yield plain("bookstore_gc_pause_seconds_total", counted[block.GC_PAUSE_S])
    for generation in range(3):
        runs = counted[block.COLLECTIONS + generation]
        yield plain("bookstore_gc_collections_total", runs, generation=str(generation))
    yield from _histogram_samples("bookstore_pool_wait_seconds", worker, waits)
    yield from _histogram_samples("bookstore_pool_hold_seconds", worker, holds)
    yield from _histogram_samples("bookstore_event_loop_lag_seconds", worker, lags)
    yield from _request_samples(worker, blocks)


def _gauge_samples(worker: Labels, alive: list[list[float]], profile: EngineProfile) -> Iterator[tuple[str, Sample]]:
    def total(cell: int) -> float:
        return sum(cells[cell] for cells in alive)

    now = monotonic()
    # A loop that stands still cannot say so itself: its beat is overdue.
    lags = [max(cells[block.LAG_MAX_S], now - (cells[block.SAMPLED_AT_S] or now) - TICK_S) for cells in alive]
    lent = total(block.CHECKED_OUT)
    free = max(0.0, total(block.OPEN) - lent)
    kept = profile.pool_size if profile.pool == "queue" else 0
    for name, value in {
        "bookstore_requests_in_flight": total(block.IN_FLIGHT),
        # While an old and a new process of one number serve, both have a pool.
        "bookstore_pool_min": len(alive) * kept,
        "bookstore_pool_max": len(alive) * profile.connections_per_worker,
        "bookstore_pool_size": lent + free,
        "bookstore_pool_checked_out": lent,
        "bookstore_pool_checked_in": free,
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
    for one in blocks:
        for (method, route, status), (times, sent_by_them) in one.requests().items():
            kinds[method, route, status] += sum(times[:-1])
            so_far = routes.get((method, route), [0.0] * len(times))
            routes[method, route] = [was + more for was, more in zip(so_far, times, strict=True)]
            statements[method, route] += sent_by_them
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
        told = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        lines.append(f"{series}{{{told}}} {value:.16g}\n" if told else f"{series} {value:.16g}\n")
    return "".join(lines)


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
