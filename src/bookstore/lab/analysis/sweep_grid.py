"""A sweep's run -> its grid: what was swept, which contender is which cell, which is the best, where the knee is."""

from __future__ import annotations

from typing import Final

import msgspec

from bookstore.lab.analysis import scalability
from bookstore.lab.analysis.scalability import Scalability
from bookstore.lab.record.run_record import Contender, Run, Summary

_COLUMN_KEYS: Final = ("concurrency", "rate")


class Variant(msgspec.Struct, frozen=True):
    """A row: what else was swept, as `pool_size=5`, and the label of the contender in each column."""

    name: str
    labels: list[str]


class Grid(msgspec.Struct, frozen=True):
    """`profile` at all `values` of the key `over`, once in each of `variants`."""

    profile: str
    over: str
    values: list[str]
    variants: list[Variant]


def grid_of(run: Run) -> Grid | None:
    """The grid of a sweep, in the order that was asked for; None of a run that is no sweep. The columns are the
    concurrency where it was swept, or the rate, else the key that was named last."""
    profile = run.contenders[0].spec.rpartition("/")[2].partition("@")[0]
    places = {it.label: _axis_values(it) for it in run.contenders}
    axes: dict[str, dict[str, None]] = {}
    for place in places.values():
        for key, value in place.items():
            axes.setdefault(key, {})[value] = None
    axes = {key: values for key, values in axes.items() if len(values) > 1}
    if not axes or not (any(it.load for it in run.contenders) or "_sweep-" in run.id):
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
    """The overrides of the contender's spec, and its load."""
    pairs = (pair.partition("=") for pair in contender.spec.rpartition("/")[2].partition("@")[2].split(",") if pair)
    return {key: value for key, _, value in pairs} | {key: f"{value:g}" for key, value in contender.load.items()}


def best_cell(run: Run) -> Summary | None:
    """The cell of the most throughput, of those that have a valid round."""
    return max(run.summary, key=lambda one: one.throughput_per_s, default=None)


def fit_law(run: Run, grid: Grid, variant: Variant) -> Scalability | None:
    """The universal scalability law of a variant's valid rounds; None where the concurrencies are too few for it."""
    if grid.over != "concurrency":
        return None
    clients = {label: float(value) for label, value in zip(variant.labels, grid.values, strict=True)}
    points = [
        (clients[one.profile], one.throughput_per_s)
        for each in run.rounds
        for one in each.measurements
        if one.profile in clients and one.is_valid and one.throughput_per_s > 0
    ]
    return scalability.fit(points) if len({at for at, _ in points}) >= scalability.MIN_CONCURRENCIES else None
