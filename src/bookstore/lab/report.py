"""Runs -> one HTML page: the answer, the cost, the plots, every figure. Shows what was judged; judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from bookstore.lab import report_data, standalone
from bookstore.lab.judgement import Read
from bookstore.lab.record import Run
from bookstore.lab.report_data import Shown

FILE: Final = "report.html"

_SCRIPTS: Final = (
    "d3.min.js",
    "plot.umd.min.js",
    "elements.js",
    "likeness.js",
    "plots.js",
    "charts.js",
    "watched.js",
    "page.js",
)


class Curve(msgspec.Struct, frozen=True):
    """A fitted curve of the plot of throughput against concurrency: (clients, requests a second)."""

    label: str
    points: list[tuple[float, float]]


class _Page(msgspec.Struct, frozen=True):
    runs: list[Shown]
    curves: list[Curve]


def page(runs: Sequence[tuple[Run, Read]], curves: Sequence[Curve] = ()) -> str:
    """The page of each of `runs` with what reads its samples; of several a comparison first. Where these differ in
    concurrency, their throughput is drawn against it, with `curves`."""
    shown = [report_data.shown(run, read) for run, read in runs]
    title = f"{shown[0].run.workload.name}: {' and '.join(it.label for it in shown[0].run.contenders[:3])}"
    if len(shown) > 1:
        title = f"{len(shown)} runs beside each other"
    said = [it.answer for it in shown]
    return standalone.document(title, said, _Page(shown, list(curves)), _SCRIPTS)
