"""Run and samples -> what the page draws of each contender."""

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
    mean_split,
    percentiles,
    seen,
    summed,
    thinned,
)
from bookstore.lab.report.sweep_view import Sweep, sweep
from bookstore.lab.report.table import headline_of

_SESSIONS: Final = ("active", "idle", "idle_in_transaction", "other", "foreign")
_POOL: Final = ("pool_checked_out", "pool_waiting")
_LOOP: Final = ("loop_lag_ms", "gc_pause_ms")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn of one contender. `latency` has pairs of a share of the requests and the ms they took at
    most; `seconds` p50_ms and p99_ms of each second's requests; both of all valid rounds together. The lines over
    time are of the one round `watched`, the nearest to the middle; `busy` counts cores. `pool`, `loop`, `split` and
    the pool's waits are of the inspection where the profile `is_inspected`. `kinds` is empty where the workload has
    one kind of request."""

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


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the page has it: the record without its telemetry, the answer in words and the metric it is of, a
    View of each contender, of a sweep's those that it chose. `missing` says why there are no samples."""

    run: Run
    answer: str
    headline: Metric
    views: list[View]
    sweep: Sweep | None = None
    missing: str = ""


def shown(run: Run, read: Read) -> Shown:
    """What the page needs of the run whose samples `read` gives."""
    views, missing = [], ""
    swept = sweep(run)
    for contender in run.contenders:
        if swept and contender.label not in swept.chosen:
            continue
        measured = [(each.number, one) for each in run.rounds for one in each.measurements]
        own = [(number, one) for number, one in measured if one.profile == contender.label and one.is_valid]
        try:
            parts = [_drawn(read(contender.label, number), one, run.workload.model) for number, one in own]
        except ConfigurationError as refusal:
            parts, missing = [], str(refusal)
        told = [one for one in run.inspections if one.profile == contender.label and one.telemetry.series]
        views.append(_view(contender.label, own, told, concatenate(parts), run.machine.cores))
    bare = [replace(each, measurements=_without_telemetry(each.measurements)) for each in run.rounds]
    record = replace(run, rounds=bare, inspections=_without_telemetry(run.inspections))
    if swept:
        record = replace(record, steps=[])  # some for each pair of cells
    return Shown(run=record, answer=answer(run), headline=headline_of(run), views=views, sweep=swept, missing=missing)


def _drawn(every: Samples, one: Measurement, model: Model) -> Samples:
    """The warm-up's requests and those that count."""
    return concatenate([every.between(-one.warm_up_s, 0), every.measured(one.seconds, model)])


def _without_telemetry(measured: Sequence[Measurement]) -> list[Measurement]:
    """The page draws from its own, thinner lines."""
    return [replace(one, telemetry=Telemetry()) for one in measured]


def _view(
    label: str, own: Sequence[tuple[int, Measurement]], told: Sequence[Measurement], requests: Samples, cores: int
) -> View:
    """`told` are the deployments in which the service itself told what it did."""
    figures = [one.throughput_per_s for _, one in own if one.throughput_per_s > 0]
    number, watched = _middle(own)
    telemetry = watched.telemetry if watched else Telemetry()
    named = {(line.of, line.name): line for line in telemetry.series}

    def lines(*wanted: tuple[str, str, str], factor: float = 1) -> list[Line]:
        """Those of (name on the page, of, name in the record) that are there."""
        return [
            Line(name, [None if value is None else value * factor for value in named[of, key].values])
            for name, of, key in wanted
            if (of, key) in named
        ]

    def thin(drawn: list[Line]) -> Lines:
        return thinned(telemetry.at_s, drawn)

    inside = told[0].telemetry if told else telemetry
    whole = {line.name: line for line in inside.series if line.of == "workers"}

    def thin_inside(*names: str) -> Lines:
        return thinned(inside.at_s, [Line(name, whole[name].values) for name in names if name in whole])

    workers = [(line.of, line.of, line.name) for line in telemetry.series if _is_pss_of_worker(line)]
    busy = [("workers", "workers", "cpu_ratio"), ("PostgreSQL", "postgres", "cpu_ratio")]
    busy += [("load generator", "load", "cpu_ratio")]
    limit = named.get(("postgres", "max_connections"))
    tellers = list(told) or [one for _, one in own]
    timeouts = [one.pool_timeouts for one in tellers if one.pool_timeouts is not None]
    return View(
        label=label,
        throughput=ratio(figures, [1.0] * len(figures)) if figures else None,  # how many times 1 a second
        latency=percentiles(requests.between(0, np.inf).latency_ms),
        seconds=by_second(requests),
        watched=number,
        memory=thinned(*seen(telemetry.at_s, lines(*workers))),
        sessions=thin(lines(*((state, "postgres", f"sessions_{state}") for state in _SESSIONS))),
        most_sessions=max((value for value in limit.values if value is not None), default=None) if limit else None,
        is_inspected=bool(told),
        pool=thin_inside(*_POOL),
        loop=thin_inside(*_LOOP),
        busy=thin(lines(*busy) + lines(("others", "machine", "others_ratio"), factor=cores)),
        split=mean_split(tellers),
        pool_wait=summed([one.pool_wait for one in tellers if one.pool_wait]),
        pool_timeouts=sum(timeouts) if timeouts else None,
        kinds=by_kind(requests.between(0, np.inf), [kind.name for kind in own[0][1].kinds] if own else []),
    )


def _is_pss_of_worker(line: Series) -> bool:
    return line.name == "pss_bytes" and line.of.startswith("worker ")


def _middle(own: Sequence[tuple[int, Measurement]]) -> tuple[int | None, Measurement | None]:
    """The watched round whose throughput is in the middle."""
    watched = sorted((it for it in own if it[1].telemetry.series), key=lambda it: it[1].throughput_per_s)
    return watched[(len(watched) - 1) // 2] if watched else (None, None)
