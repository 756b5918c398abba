"""The grid of a sweep's run: its axes, the contender in each cell, the best cell, and the scalability law of each
row."""

from __future__ import annotations

from typing import Final

import msgspec

from bookstore.lab.analysis import scalability
from bookstore.lab.analysis.scalability import Scalability
from bookstore.lab.record.run_record import Contender, Run, Summary

_COLUMN_KEYS: Final = ("concurrency", "rate")


class Variant(msgspec.Struct, frozen=True):
    """A row: the values of the other swept keys, such as `pool_size=5`, and the label of the contender in each
    column."""

    name: str
    labels: list[str]


class Grid(msgspec.Struct, frozen=True):
    """`profile` at all `values` of the key `over`, once for each of `variants`."""

    profile: str
    over: str
    values: list[str]
    variants: list[Variant]


def grid_of(run: Run) -> Grid | None:
    """Return the grid of a sweep, in the order given on the command line; None if the run is not a sweep.

    The columns are the concurrency if it was swept, or the rate, else the last key given.
    """
    profile = run.contenders[0].spec.rpartition("/")[2].partition("@")[0]
    places = {contender.label: _axis_values(contender) for contender in run.contenders}
    axes: dict[str, dict[str, None]] = {}
    for place in places.values():
        for key, value in place.items():
            axes.setdefault(key, {})[value] = None
    axes = {key: values for key, values in axes.items() if len(values) > 1}
    if not axes or not (any(contender.load for contender in run.contenders) or "_sweep-" in run.id):
        return None
    over = next((key for key in _COLUMN_KEYS if key in axes), list(axes)[-1])
    rows: dict[str, dict[str, str]] = {}
    for label, place in places.items():
        name = ", ".join(f"{key}={place[key]}" for key in axes if key != over and key in place)
        rows.setdefault(name or profile, {})[place.get(over, "")] = label
    values = list(axes[over])
    if sum(map(len, rows.values())) < len(places) or any(list(row) != values for row in rows.values()):
        return None
    return Grid(profile, over, values, [Variant(name, list(row.values())) for name, row in rows.items()])


def _axis_values(contender: Contender) -> dict[str, str]:
    """Return the overrides in the contender's spec, and its load."""
    pairs = (pair.partition("=") for pair in contender.spec.rpartition("/")[2].partition("@")[2].split(",") if pair)
    return {key: value for key, _, value in pairs} | {key: f"{value:g}" for key, value in contender.load.items()}


def best_cell(run: Run) -> Summary | None:
    """Return the cell with the highest throughput among those that have a valid round."""
    return max(run.summary, key=lambda cell: cell.throughput_per_s, default=None)


def fit_law(run: Run, grid: Grid, variant: Variant) -> Scalability | None:
    """Fit the universal scalability law to a variant's valid rounds; None if there are too few concurrencies."""
    if grid.over != "concurrency":
        return None
    clients = {label: float(value) for label, value in zip(variant.labels, grid.values, strict=True)}
    points = [
        (clients[measurement.profile], measurement.throughput_per_s)
        for each in run.rounds
        for measurement in each.measurements
        if measurement.profile in clients and measurement.is_valid and measurement.throughput_per_s > 0
    ]
    return scalability.fit(points) if len({at for at, _ in points}) >= scalability.MIN_CONCURRENCIES else None
