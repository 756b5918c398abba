"""A sweep's run -> what its page draws: every cell, the law of each variant, and the few cells that are drawn whole."""

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
    """The universal scalability law of the variant of that name, and its curve as (clients, requests a second)."""

    variant: str
    fit: Scalability
    points: list[tuple[float, float]]


class Sweep(msgspec.Struct, frozen=True):
    """`throughput` by label, of the cells that have a valid round; `chosen` are the labels that have a View."""

    grid: Grid
    throughput: dict[str, Interval]
    best: str | None
    laws: list[Law]
    knees: list[str]
    chosen: list[str]


def sweep(run: Run) -> Sweep | None:
    """None of a run that is no sweep."""
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
    """The law's points between two numbers of clients, evenly apart on a log scale."""
    return [(float(at), fit.throughput_per_s(at)) for at in np.geomspace(least, most, CURVE_POINTS)]


def _laws(run: Run, grid: Grid) -> list[Law]:
    fits = {variant.name: grids.fit_law(run, grid, variant) for variant in grid.variants}
    clients = [float(value) for value in grid.values] if any(fits.values()) else []
    return [Law(name, fit, curve(fit, min(clients), max(clients))) for name, fit in fits.items() if fit]


def _chosen(run: Run, grid: Grid) -> list[str]:
    """The best cell of each variant, of many variants the best ones; of one the first, the best and the last cell."""
    rate = {one.profile: one.throughput_per_s for one in run.summary}
    if len(grid.variants) == 1:
        labels = grid.variants[0].labels
        kept = {labels[0], max(labels, key=lambda label: rate.get(label, 0)), labels[-1]}
        return [label for label in labels if label in kept]
    tops = [max(it.labels, key=lambda label: rate.get(label, 0)) for it in grid.variants]
    kept = set(sorted(tops, key=lambda label: -rate.get(label, 0))[:MOST_CHOSEN])
    return [label for label in tops if label in kept]
