"""A run and its samples as the page draws them: a view of each contender."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace

from bookstore.exceptions import ConfigurationError
from bookstore.lab.analysis.statistics import ratio
from bookstore.lab.analysis.summary import Model, Read
from bookstore.lab.record.run_record import (
    Histogram,
    Interval,
    Kind,
    Measurement,
    Metric,
    Run,
    Series,
    Split,
    Telemetry,
)
from bookstore.lab.record.samples import Samples, concatenate
from bookstore.lab.report.conclusions import answer
from bookstore.lab.report.plot_data import (
    Line,
    Lines,
    by_kind,
    by_second,
    drop_unsampled,
    mean_split,
    percentiles,
    sum_histograms,
    thin,
)
from bookstore.lab.report.sweep_view import Sweep, sweep
from bookstore.lab.report.table import headline_metric

_SESSIONS: Final = ("active", "idle", "idle_in_transaction", "other", "foreign")
_POOL: Final = ("pool_checked_out", "pool_waiting")
_LOOP: Final = ("loop_lag_ms", "gc_pause_ms")


class ContenderView(msgspec.Struct, frozen=True, kw_only=True):
    """A contender's plots. `latency` has pairs (share of the requests, their largest latency in ms); `seconds` has
    p50_ms and p99_ms of the requests of each second; both cover all valid rounds. The lines over time show one round,
    `watched`, the one with the median throughput; `busy` is in cores. `pool`, `loop`, `split` and the pool's waits come
    from the inspection if the profile `is_inspected`. `kinds` is empty if the workload has one kind of request."""

    label: str
    throughput: Interval | None
    latency: list[tuple[float, float]]
    seconds: Lines
    watched: int | None
    memory: Lines
    sessions: Lines
    most_sessions: float | None
    is_inspected: bool
    pool: Lines
    loop: Lines
    busy: Lines
    split: Split | None
    pool_wait: Histogram | None
    pool_timeouts: int | None
    kinds: list[Kind]


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run's data on the page: the record without telemetry, the answer and its metric, a view of each contender (in
    a sweep, of each chosen cell). `missing` is the reason if the samples cannot be read."""

    run: Run
    answer: str
    headline: Metric
    views: list[ContenderView]
    sweep: Sweep | None = None
    missing: str = ""


def run_view(run: Run, read: Read) -> RunView:
    """Return the page's data of a run whose samples `read` returns."""
    views, missing = [], ""
    swept = sweep(run)
    for contender in run.contenders:
        if swept and contender.label not in swept.chosen:
            continue
        measured = [(each.number, one) for each in run.rounds for one in each.measurements]
        own = [(number, one) for number, one in measured if one.profile == contender.label and one.is_valid]
        try:
            parts = [_requests(read(contender.label, number), one, run.workload.model) for number, one in own]
        except ConfigurationError as error:
            parts, missing = [], str(error)
        inspections = [one for one in run.inspections if one.profile == contender.label and one.telemetry.series]
        views.append(_view(contender.label, own, inspections, concatenate(parts), run.machine.cores))
    bare = [replace(each, measurements=_without_telemetry(each.measurements)) for each in run.rounds]
    record = replace(run, rounds=bare, inspections=_without_telemetry(run.inspections))
    if swept:
        record = replace(record, steps=[])  # some for each pair of cells
    headline = headline_metric(run)
    return RunView(run=record, answer=answer(run), headline=headline, views=views, sweep=swept, missing=missing)


def _requests(every: Samples, one: Measurement, model: Model) -> Samples:
    """The requests of the warm-up and of the measured seconds."""
    return concatenate([every.between(-one.warm_up_s, 0), every.measured(one.seconds, model)])


def _without_telemetry(measured: Sequence[Measurement]) -> list[Measurement]:
    """The page has its own, thinner lines."""
    return [replace(one, telemetry=Telemetry()) for one in measured]


def _view(
    label: str,
    own: Sequence[tuple[int, Measurement]],
    inspections: Sequence[Measurement],
    requests: Samples,
    cores: int,
) -> ContenderView:
    figures = [one.throughput_per_s for _, one in own if one.throughput_per_s > 0]
    number, watched = _median_round(own)
    telemetry = watched.telemetry if watched else Telemetry()
    named = {(line.of, line.name): line for line in telemetry.series}

    def lines(*wanted: tuple[str, str, str], factor: float = 1) -> list[Line]:
        """The lines of (name on the page, of, name in the record) that the telemetry has."""
        return [
            Line(name, [None if value is None else value * factor for value in named[of, key].values])
            for name, of, key in wanted
            if (of, key) in named
        ]

    def thin_lines(drawn: list[Line]) -> Lines:
        return thin(telemetry.at_s, drawn)

    inside = inspections[0].telemetry if inspections else telemetry
    whole = {line.name: line for line in inside.series if line.of == "workers"}

    def thin_inside(*names: str) -> Lines:
        return thin(inside.at_s, [Line(name, whole[name].values) for name in names if name in whole])

    workers = [(line.of, line.of, line.name) for line in telemetry.series if _is_pss_of_worker(line)]
    busy = [("workers", "workers", "cpu_ratio"), ("PostgreSQL", "postgres", "cpu_ratio")]
    busy += [("load generator", "load", "cpu_ratio")]
    limit = named.get(("postgres", "max_connections"))
    sources = list(inspections) or [one for _, one in own]
    timeouts = [one.pool_timeouts for one in sources if one.pool_timeouts is not None]
    return ContenderView(
        label=label,
        throughput=ratio(figures, [1.0] * len(figures)) if figures else None,  # relative to 1 per second
        latency=percentiles(requests.between(0, np.inf).latency_ms),
        seconds=by_second(requests),
        watched=number,
        memory=thin(*drop_unsampled(telemetry.at_s, lines(*workers))),
        sessions=thin_lines(lines(*((state, "postgres", f"sessions_{state}") for state in _SESSIONS))),
        most_sessions=max((value for value in limit.values if value is not None), default=None) if limit else None,
        is_inspected=bool(inspections),
        pool=thin_inside(*_POOL),
        loop=thin_inside(*_LOOP),
        busy=thin_lines(lines(*busy) + lines(("others", "machine", "others_ratio"), factor=cores)),
        split=mean_split(sources),
        pool_wait=sum_histograms([one.pool_wait for one in sources if one.pool_wait]),
        pool_timeouts=sum(timeouts) if timeouts else None,
        kinds=by_kind(requests.between(0, np.inf), [kind.name for kind in own[0][1].kinds] if own else []),
    )


def _is_pss_of_worker(line: Series) -> bool:
    return line.name == "pss_bytes" and line.of.startswith("worker ")


def _median_round(own: Sequence[tuple[int, Measurement]]) -> tuple[int | None, Measurement | None]:
    """The watched round with the median throughput, and its number; (None, None) if no round was watched."""
    watched = sorted((pair for pair in own if pair[1].telemetry.series), key=lambda pair: pair[1].throughput_per_s)
    return watched[(len(watched) - 1) // 2] if watched else (None, None)
