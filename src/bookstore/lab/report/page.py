"""Runs -> one HTML page: the answer, the cost, the plots, every figure. Shows what was judged; judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from bookstore.lab.analysis import scalability
from bookstore.lab.analysis.summary import Read
from bookstore.lab.record.run_record import Run
from bookstore.lab.report import contender_view, standalone_html, sweep_view
from bookstore.lab.report.contender_view import Shown

FILE: Final = "report.html"

_SCRIPTS: Final = (
    "d3.min.js",
    "plot.umd.min.js",
    "elements.js",
    "likeness.js",
    "plots.js",
    "charts.js",
    "watched.js",
    "sweep.js",
    "page.js",
)


class Curve(msgspec.Struct, frozen=True):
    """The universal scalability law of a contender, (clients, requests a second). `told` says where the fit is poor."""

    label: str
    points: list[tuple[float, float]]
    told: str


class _Page(msgspec.Struct, frozen=True):
    runs: list[Shown]
    curves: list[Curve]


def page(runs: Sequence[tuple[Run, Read]]) -> str:
    """The page of each of `runs` with what reads its samples; of several a comparison first. Where these differ in
    concurrency, their throughput is drawn against it."""
    shown = [contender_view.shown(run, read) for run, read in runs]
    title = f"{shown[0].run.workload.name}: {' and '.join(it.label for it in shown[0].run.contenders[:3])}"
    if len(shown) > 1:
        title = f"{len(shown)} runs beside each other"
    said = [it.answer for it in shown]
    return standalone_html.document(title, said, _Page(shown, curves([run for run, _ in runs])), _SCRIPTS)


def curves(runs: Sequence[Run]) -> list[Curve]:
    """The law fitted to each contender's valid rounds, where the runs have enough concurrencies to show whether it
    holds."""
    found = []
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
            found.append(Curve(label, sweep_view.curve(law, clients[0], clients[-1]), law.told))
    return found
