"""What follows from a run, in words: the answer first, then what each single key did, and how far to trust it."""

from __future__ import annotations

from typing import Final

from bookstore.lab.analysis import scalability
from bookstore.lab.analysis import sweep_grid as grids
from bookstore.lab.analysis.scalability import Scalability
from bookstore.lab.analysis.sweep_grid import Grid, best_cell, fit_law
from bookstore.lab.record.run_record import Comparison, Interval, Metric, Run, Status, Summary
from bookstore.lab.report.table import headline_of, span, three

NAMES: Final[dict[Metric, str]] = {
    "throughput_per_s": "throughput",
    "p50_ms": "p50",
    "p95_ms": "p95",
    "p99_ms": "p99",
    "cpu_ms_per_request": "CPU a request",
    "pss_bytes": "memory",
}


_BEFORE: Final[dict[Status, str]] = {
    "complete": "",
    "aborted": "Stopped before its end, no more than an impression: ",
    "invalid": "Not valid, no more than an impression: ",
}


def answer(run: Run) -> str:
    """The run in one sentence: the best contender against the baseline, and what it costs; of a sweep the best
    cell. A run that is not complete is said to be so first."""
    return _BEFORE[run.status] + _found(run)


def _found(run: Run) -> str:
    if grid := grids.grid_of(run):
        return sweep_answer(run, grid)
    baseline = next((one for one in run.summary if one.profile == run.contenders[0].label), None)
    if baseline is None:
        return f"Nothing can be said: {run.contenders[0].label}, the baseline, has no valid round."
    metric = headline_of(run)
    judged = [(it, one) for one in run.summary if (it := one.compared_by(metric)) is not None]
    if not judged:
        return f"{baseline.profile} serves {three(baseline.throughput_per_s)} requests a second."
    best = max if metric == "throughput_per_s" else min
    found, one = best(judged, key=lambda pair: pair[0].ratio.estimate)
    return _said(found, one, baseline)


def _said(found: Comparison, one: Summary, baseline: Summary) -> str:
    """`found` compares `one` with the `baseline`."""
    if found.metric == "throughput_per_s":
        fact = f"{one.profile} serves {times(found.ratio)} the requests of {baseline.profile}"
    else:
        fact = f"{one.profile} has {times(found.ratio)} the {NAMES[found.metric]} of {baseline.profile}"
    costs = _costs(one, baseline)
    if found.verdict == "no difference shown":
        return (
            f"No difference is shown: {fact}{costs}, and {_percent(found.smallest_effect_ratio)} would have been seen."
        )
    if found.verdict == "too noisy to say":
        return f"Too noisy to say: {fact}{costs}."
    return f"{fact}{costs}."


def _costs(one: Summary, baseline: Summary) -> str:
    said = []
    if one.statements is not None and baseline.statements is not None:
        said.append(_more(one.statements - baseline.statements, "statement", "fewer", " a request"))
    if one.connections is not None and baseline.connections is not None:
        said.append(_more(one.connections - baseline.connections, "connection", "less"))
    told = " and ".join(filter(None, said))
    return f", with {told}" if told else ""


def _more(difference: float, what: str, fewer: str, per: str = "") -> str:
    """`9 statements fewer a request`, or nothing where there is no difference."""
    number = f"{abs(round(difference, 1)):g}"
    if number == "0":
        return ""
    return f"{number} {what}{'' if number == '1' else 's'} {'more' if difference > 0 else fewer}{per}"


def sentences(run: Run) -> list[str]:
    """The answer; each single key; each contender's verdicts; the smallest effect; what was not counted. Of a sweep
    the answer, the knees, what was not counted: every cell against the first would say no more than its grid."""
    said = [answer(run)]
    if grid := grids.grid_of(run):
        return said + knees(run, grid) + ([run.told] if run.told else []) + invalid(run)
    if run.steps:
        said.append("One key at a time:")
        said += [
            f"{step.key} {step.before} -> {step.after}: {times(step.throughput_ratio)} the requests ({step.contender})"
            for step in run.steps
        ]
    judged = [one for one in run.summary if one.comparisons]
    if judged:
        said.append(f"Against {run.contenders[0].label}:")
        said += [f"{one.profile}: {_verdicts(one)}" for one in judged]
    said += _trust(run)
    return said


def _verdicts(one: Summary) -> str:
    by_verdict: dict[str, list[str]] = {}
    for it in one.comparisons:
        by_verdict.setdefault(it.verdict, []).append(f"{NAMES[it.metric]} {three(it.ratio.estimate)}")
    return "; ".join(f"{verdict}: {', '.join(figures)}" for verdict, figures in by_verdict.items())


def _trust(run: Run) -> list[str]:
    metric = headline_of(run)
    said = [run.told] if run.told else []
    compared = [it for one in run.summary if (it := one.compared_by(metric))]
    effects = [it.smallest_effect_ratio for it in compared if it.smallest_effect_ratio is not None]
    if effects:
        said.append(
            f"The smallest difference in {NAMES[metric]} that this run would have seen, four times of five: "
            f"{_percent(max(effects))}."
        )
    elif compared:
        said.append("One round tells no interval: nothing here is more than an impression.")
    return said + invalid(run)


def invalid(run: Run) -> list[str]:
    """Which measurements were not counted, and why: a line for each profile and reason."""
    rounds: dict[tuple[str, str], list[int]] = {}
    told: dict[tuple[str, str], str] = {}
    for each in run.rounds:
        for one in each.measurements:
            for problem in one.problems:
                rounds.setdefault((one.profile, problem.code), []).append(each.number)
                told.setdefault((one.profile, problem.code), problem.told)
    if not rounds:
        return []
    whole = sum(len(each.measurements) for each in run.rounds)
    out = sum(not one.is_valid for each in run.rounds for one in each.measurements)
    return [
        f"Not valid and not counted: {out} of {whole} measurements.",
        *(
            f"{profile}, round {', '.join(map(str, numbers))}: {code}: {told[profile, code]}"
            for (profile, code), numbers in rounds.items()
        ),
    ]


def times(it: Interval) -> str:
    """`11.6 times (11.2-12.1)`, with the dash that ranges have in print."""
    ends = span(it.low, it.high, "\N{EN DASH}") or "one round tells no interval"
    return f"{three(it.estimate)} times ({ends})"


def _percent(share: float | None) -> str:
    return "nothing" if share is None else f"{100 * share:.{0 if share >= 0.1 else 1}f} %"


def sweep_answer(run: Run, grid: Grid) -> str:
    """The best cell in a sentence."""
    one = best_cell(run)
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
    laws = {variant.name: fit_law(run, grid, variant) for variant in grid.variants}
    if not any(laws.values()):
        return [f"No knee is told: the scalability law needs {scalability.MIN_CONCURRENCIES} concurrencies."]
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
