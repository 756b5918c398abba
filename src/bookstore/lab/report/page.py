"""One HTML page about one or more runs: the answer, costs, plots and every figure. Verdicts come from the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from bookstore.lab.analysis import scalability
from bookstore.lab.analysis.summary import Read
from bookstore.lab.record.run_record import Run
from bookstore.lab.report import contender_view, standalone_html, sweep_view
from bookstore.lab.report.contender_view import RunView

FILE: Final = "report.html"

_SCRIPTS: Final = (
    "d3.min.js",
    "plot.umd.min.js",
    "elements.js",
    "run_differences.js",
    "chart_parts.js",
    "run_charts.js",
    "telemetry_charts.js",
    "sweep.js",
    "page.js",
)


class Curve(msgspec.Struct, frozen=True):
    """A contender's scalability law as (clients, requests per second); `told` is the reason for a poor fit."""

    label: str
    points: list[tuple[float, float]]
    told: str


class _Page(msgspec.Struct, frozen=True):
    runs: list[RunView]
    curves: list[Curve]


def page(runs: Sequence[tuple[Run, Read]]) -> str:
    """Return the HTML page of `runs`, each with a function that reads its samples. With several runs, it starts with a
    comparison, which plots throughput against concurrency if that differs."""
    views = [contender_view.run_view(run, read) for run, read in runs]
    title = f"{views[0].run.workload.name}: {' and '.join(it.label for it in views[0].run.contenders[:3])}"
    if len(views) > 1:
        title = f"{len(views)} runs side by side"
    data = _Page(views, curves([run for run, _ in runs]))
    return standalone_html.document(title, [view.answer for view in views], data, _SCRIPTS)


def curves(runs: Sequence[Run]) -> list[Curve]:
    """The law fitted to each contender's valid rounds, unless it was measured at too few concurrencies."""
    fitted = []
    for label in {contender.label: None for run in runs for contender in run.contenders}:
        points = [
            (float(run.workload.concurrency), one.throughput_per_s)
            for run in runs
            for each in run.rounds
            for one in each.measurements
            if one.profile == label and one.is_valid and one.throughput_per_s > 0
        ]
        clients = sorted({clients for clients, _ in points})
        if len(clients) >= scalability.MIN_CONCURRENCIES:
            law = scalability.fit(points)
            fitted.append(Curve(label, sweep_view.curve(law, clients[0], clients[-1]), law.told))
    return fitted
