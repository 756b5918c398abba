"""A sweep as its page draws it: every cell, each variant's law, and the few cells that are drawn in full."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from bookstore.lab.analysis import sweep_grid as grids
from bookstore.lab.analysis.scalability import Scalability
from bookstore.lab.analysis.statistics import ratio
from bookstore.lab.analysis.sweep_grid import Grid
from bookstore.lab.record.run_record import Interval, Run
from bookstore.lab.report import conclusions

CURVE_POINTS: Final = 40
MOST_CHOSEN: Final = 4


class Law(msgspec.Struct, frozen=True):
    """A variant's universal scalability law, and its curve as (clients, requests per second)."""

    variant: str
    fit: Scalability
    points: list[tuple[float, float]]


class Sweep(msgspec.Struct, frozen=True):
    """`throughput` has the label of each cell with a valid round; `chosen` are the labels of the cells with a view."""

    grid: Grid
    throughput: dict[str, Interval]
    best: str | None
    laws: list[Law]
    knees: list[str]
    chosen: list[str]


def sweep(run: Run) -> Sweep | None:
    """Return the sweep of a run, or None if the run is not one."""
    grid = grids.grid_of(run)
    if grid is None:
        return None
    figures: dict[str, list[float]] = {}
    for each in run.rounds:
        for one in each.measurements:
            if one.is_valid and one.throughput_per_s > 0:
                figures.setdefault(one.profile, []).append(one.throughput_per_s)
    best = grids.best_cell(run)
    return Sweep(
        grid=grid,
        throughput={label: ratio(values, [1.0] * len(values)) for label, values in figures.items()},
        best=best.profile if best else None,
        laws=_laws(run, grid),
        knees=conclusions.knees(run, grid),
        chosen=_chosen(run, grid),
    )


def curve(fit: Scalability, least: float, most: float) -> list[tuple[float, float]]:
    """Points of the law between two numbers of clients, evenly spaced on a log scale."""
    return [(float(at), fit.throughput_per_s(at)) for at in np.geomspace(least, most, CURVE_POINTS)]


def _laws(run: Run, grid: Grid) -> list[Law]:
    fits = {variant.name: grids.fit_law(run, grid, variant) for variant in grid.variants}
    clients = [float(value) for value in grid.values] if any(fits.values()) else []
    return [Law(name, fit, curve(fit, min(clients), max(clients))) for name, fit in fits.items() if fit]


def _chosen(run: Run, grid: Grid) -> list[str]:
    """The labels of the best cell of each variant, at most MOST_CHOSEN; of a single variant, its first, best and last
    cell."""
    rate = {one.profile: one.throughput_per_s for one in run.summary}
    if len(grid.variants) == 1:
        labels = grid.variants[0].labels
        kept = {labels[0], max(labels, key=lambda label: rate.get(label, 0)), labels[-1]}
        return [label for label in labels if label in kept]
    tops = [max(it.labels, key=lambda label: rate.get(label, 0)) for it in grid.variants]
    kept = set(sorted(tops, key=lambda label: -rate.get(label, 0))[:MOST_CHOSEN])
    return [label for label in tops if label in kept]
