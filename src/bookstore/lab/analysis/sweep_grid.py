"""A sweep's run -> its grid: what was swept, which contender is which cell, which is the best, where the knee is."""

from __future__ import annotations

from typing import Final

import msgspec

from bookstore.lab.analysis import scalability
from bookstore.lab.analysis.scalability import Scalability
from bookstore.lab.record.run_record import Contender, Run, Summary
from bookstore.lab.report.table import asked, three

_ALONG: Final = ("concurrency", "rate")


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


def of(run: Run) -> Grid | None:
    """The grid of a sweep, in the order that was asked for; None of a run that is no sweep. The columns are the
    concurrency where it was swept, or the rate, else the key that was named last."""
    profile = run.contenders[0].spec.rpartition("/")[2].partition("@")[0]
    places = {it.label: _place(it) for it in run.contenders}
    axes: dict[str, dict[str, None]] = {}
    for place in places.values():
        for key, value in place.items():
            axes.setdefault(key, {})[value] = None
    axes = {key: values for key, values in axes.items() if len(values) > 1}
    if not axes or not (any(it.load for it in run.contenders) or "_sweep-" in run.id):
        return None
    over = next((key for key in _ALONG if key in axes), list(axes)[-1])
    rows: dict[str, dict[str, str]] = {}
    for label, place in places.items():
        name = ", ".join(f"{key}={place[key]}" for key in axes if key != over and key in place)
        rows.setdefault(name or profile, {})[place.get(over, "")] = label
    values = list(axes[over])
    if sum(map(len, rows.values())) < len(places) or any(list(row) != values for row in rows.values()):
        return None
    return Grid(profile, over, values, [Variant(name, list(row.values())) for name, row in rows.items()])


def _place(contender: Contender) -> dict[str, str]:
    """The overrides of the contender's spec, and its load."""
    pairs = (pair.partition("=") for pair in contender.spec.rpartition("/")[2].partition("@")[2].split(",") if pair)
    return {key: value for key, _, value in pairs} | {key: f"{value:g}" for key, value in contender.load.items()}


def best(run: Run) -> Summary | None:
    """The cell of the most throughput, of those that have a valid round."""
    return max(run.summary, key=lambda one: one.throughput_per_s, default=None)


def law(run: Run, grid: Grid, variant: Variant) -> Scalability | None:
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
    return scalability.fit(points) if len({at for at, _ in points}) >= scalability.FEWEST else None


def sweep_answer(run: Run, grid: Grid) -> str:
    """The best cell in a sentence."""
    one = best(run)
    if one is None:
        return "Nothing can be said: no cell of the sweep has a valid round."
    variant = next(it for it in grid.variants if one.profile in it.labels)
    at = f"{grid.over}={grid.values[variant.labels.index(one.profile)]}"
    where = " and ".join(part for part in (variant.name, at) if part != grid.profile)
    cells = len(grid.values) * len(grid.variants)
    return (
        f"{grid.profile} serves the most with {where}, of {cells} cells: {three(one.throughput_per_s)} requests a "
        f"second, 99 of 100 within {three(one.p99_ms)} ms."
    )


def knees(run: Run, grid: Grid) -> list[str]:
    """A sentence on each variant's knee, and why there is none."""
    if grid.over != "concurrency":
        return []
    laws = {variant.name: law(run, grid, variant) for variant in grid.variants}
    if not any(laws.values()):
        return [f"No knee is told: the scalability law needs {scalability.FEWEST} concurrencies."]
    return [f"{name}: {_knee(it)}" for name, it in laws.items() if it]


def _knee(it: Scalability) -> str:
    if it.is_poor:
        return f"no knee is told, {it.told}."
    if it.knee is None:
        return "no knee: each client more gets as much as the first."
    peak = f"; the most throughput is at {three(it.peak)}" if it.peak else ""
    return (
        f"the knee is at {three(it.knee)} clients, from where on one gets less than half of what one alone gets{peak}."
    )


def sweep_table(run: Run, grid: Grid) -> str:
    """Requests a second of each cell for the terminal, * at the best; a dash where no round is valid."""
    of_cell = {one.profile: three(one.throughput_per_s) for one in run.summary}
    top = best(run)
    rows = [["req/s", *(f"{value} " for value in grid.values)]]
    for variant in grid.variants:
        figures = [of_cell.get(label, "-") + ("*" if top and label == top.profile else " ") for label in variant.labels]
        rows.append([variant.name, *figures])
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(sizes[0]), *(it.rjust(size) for it, size in zip(row[1:], sizes[1:], strict=True))])
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in [" " * (sizes[0] + 2) + grid.over, *lines])


def sweep_legend(run: Run, grid: Grid) -> str:
    """What was asked, and what the table's marks mean."""
    rounds = "one round" if len(run.rounds) == 1 else f"{len(run.rounds)} rounds"
    return "\n".join(
        [
            *asked(run.workload),
            f"with {grid.over} as in the table; {rounds}, {run.catalogue.books:,} books; * the most",
        ],
    )
