"""The conclusions of a run as text: the answer, the effect of each single key, ratios, and how far to trust them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bookstore.lab.analysis import scalability
from bookstore.lab.analysis import sweep_grid as grids
from bookstore.lab.analysis.scalability import Scalability
from bookstore.lab.analysis.sweep_grid import Grid, best_cell, fit_law
from bookstore.lab.analysis.verdict import METRICS
from bookstore.lab.record.run_record import Comparison, Interval, Metric, Run, Status, Summary
from bookstore.lab.report.table import MARKS, NAMES, align, format_range, headline_metric, three_digits, wrap

_DASH: Final = "\N{EN DASH}"

_PREFIXES: Final[dict[Status, str]] = {
    "complete": "",
    "aborted": "Aborted run, preliminary: ",
    "invalid": "Invalid run, do not trust these figures: ",
}


def answer(run: Run) -> str:
    """The best contender relative to the baseline and its costs, then every other difference that was shown, the worse
    ones first; for a sweep, its best cell. The status comes first unless the run is complete."""
    grid = grids.grid_of(run)
    if grid and (cell := best_cell(run)):
        return _PREFIXES[run.status] + _best_cell(grid, cell)
    baseline = next((one for one in run.summary if one.profile == run.contenders[0].label), None)
    if grid or baseline is None:
        missing = "no cell of the sweep" if grid else f"{run.contenders[0].label}, the baseline,"
        missing += " has a valid round" if grid else " has no valid round"
        return f"{'Aborted' if run.status == 'aborted' else 'Invalid'} run: no conclusion ({missing})."
    return _PREFIXES[run.status] + _best_contender(run, baseline)


def _best_contender(run: Run, baseline: Summary) -> str:
    metric = headline_metric(run)
    compared = [(it, one) for one in run.summary if (it := one.compared_by(metric)) is not None]
    if not compared:
        return f"{baseline.profile} serves {three_digits(baseline.throughput_per_s)} requests per second."
    choose = max if metric == "throughput_per_s" else min
    comparison, contender = choose(compared, key=lambda pair: pair[0].ratio.estimate)
    fact = _relation(comparison, contender.profile, baseline.profile) + _costs(contender, baseline)
    others = _other_differences(run, contender.profile, metric)
    if comparison.verdict == "no difference shown":
        return (
            f"No difference shown: {fact}; a difference of {_percent(comparison.smallest_effect_ratio or 0)} or more "
            f"would probably have shown (4 times out of 5).{others}"
        )
    if comparison.verdict == "too noisy to say":
        return f"Too noisy to say: {fact}; add rounds.{others}"
    return f"{fact}.{others}"


def _other_differences(run: Run, stated_profile: str, stated: Metric) -> str:
    """` Worse: b in p99 (1.40x) and PSS (1.20x). Better: c in throughput (1.31x).`: all verdicts that show a difference
    to the baseline, without the one that is `stated`."""
    sides: dict[str, list[str]] = {"Worse": [], "Better": []}
    for one in run.summary:
        figures: dict[str, list[str]] = {"Worse": [], "Better": []}
        for it in one.comparisons:
            if it.verdict not in MARKS and (one.profile, it.metric) != (stated_profile, stated):
                side = "Worse" if it.verdict in {"slower", "more"} else "Better"
                figures[side].append(f"{NAMES[it.metric]} ({three_digits(it.ratio.estimate)}x)")
        for side, found in figures.items():
            if found:
                sides[side].append(f"{one.profile} in {_enumerate(found)}")
    return "".join(f" {side}: {'; '.join(found)}." for side, found in sides.items() if found)


def _enumerate(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _relation(comparison: Comparison, contender: str, baseline: str) -> str:
    """`b serves 2.00x (1.98-2.02) the requests of a`; a percentage where it is slower or a latency differs."""
    ratio, name = comparison.ratio, NAMES[comparison.metric]
    in_brackets = f"({three_digits(ratio.estimate)}x, {_interval(ratio)})"
    if comparison.metric == "throughput_per_s":
        if comparison.verdict == "slower":
            return f"{contender} handles {_percent(1 - ratio.estimate)} fewer requests {in_brackets} than {baseline}"
        return f"{contender} serves {_format_ratio(ratio)} the requests of {baseline}"
    if comparison.verdict in MARKS or ratio.estimate >= 2:
        return f"{contender} has {_format_ratio(ratio)} the {name} of {baseline}"
    side = "lower" if ratio.estimate < 1 else "higher"
    return f"{contender} has {_percent(abs(1 - ratio.estimate))} {side} {name} {in_brackets} than {baseline}"


def _costs(contender: Summary, baseline: Summary) -> str:
    parts = []
    if contender.statements is not None and baseline.statements is not None:
        parts.append(_change(contender.statements - baseline.statements, "statement", " per request"))
    if contender.connections is not None and baseline.connections is not None:
        parts.append(_change(contender.connections - baseline.connections, "connection"))
    costs = " and ".join(filter(None, parts))
    return f", with {costs}" if costs else ""


def _change(difference: float, noun: str, per: str = "") -> str:
    """`9 fewer statements per request`; empty if there is no difference."""
    number = f"{abs(round(difference, 1)):g}"
    if number == "0":
        return ""
    return f"{number} {'more' if difference > 0 else 'fewer'} {noun}{'' if number == '1' else 's'}{per}"


def paragraphs(run: Run) -> list[str]:
    """The text below the table in the terminal, in blocks of lines of at most 80 columns: the answer, the effect of
    each single key, each contender's ratios, notes, excluded measurements. A sweep has its knees in place of ratios,
    which its table already shows."""
    blocks = [wrap(answer(run))]
    if grid := grids.grid_of(run):
        blocks.append("\n".join(wrap(line, other="  ") for line in knees(run, grid)))
    else:
        for head, *rows in filter(None, (steps(run), ratios(run))):
            blocks.append("\n".join(align([head, *((f"  {name}", *cells) for name, *cells in rows)])))
    first, *others = excluded(run) or [""]
    blocks += [
        "\n".join(wrap(note, other="  ") for note in notes(run)),
        "\n".join([first, *(wrap(line, "  ", "    ") for line in others)]),
    ]
    return [block for block in blocks if block]


def steps(run: Run) -> list[tuple[str, ...]]:
    """A header and one row for each pair of contenders that differ in a single key: change, throughput ratio,
    interval. Empty for a sweep and where there is no such pair."""
    if not run.steps or grids.grid_of(run):
        return []
    changes = [(step.key, step.before, step.after) for step in run.steps]
    size = max(len(step.key) for step in run.steps)
    rows = []
    for step, change in zip(run.steps, changes, strict=True):
        pair = f" ({step.contender})" if changes.count(change) > 1 else ""
        name = f"{step.key.ljust(size)}  {step.before} -> {step.after}{pair}"
        rows.append((name, f"{three_digits(step.throughput_ratio.estimate)}x", _interval(step.throughput_ratio)))
    return [("What made the difference", "ratio", "95 % interval"), *rows]


def ratios(run: Run) -> list[tuple[str, ...]]:
    """A header and one row for each contender: its ratio to the baseline by each metric, with the mark of its verdict.
    Empty for a sweep and where nothing is compared."""
    compared = [one for one in run.summary if one.comparisons]
    metrics = [metric for metric in METRICS if any(one.compared_by(metric) for one in compared)]
    if not compared or grids.grid_of(run):
        return []
    rows = []
    for one in compared:
        comparisons = [one.compared_by(metric) for metric in metrics]
        figures = [
            f"{three_digits(it.ratio.estimate)}x{MARKS.get(it.verdict, ' ')}" if it else "- " for it in comparisons
        ]
        rows.append((one.profile, *figures))
    return [("Ratio to the baseline", *(f"{NAMES[metric]} " for metric in metrics)), *rows]


def notes(run: Run) -> list[str]:
    """Why the run is not complete or its contenders are not paired, and the smallest difference it could detect."""
    told = f"Status: {run.status}, {run.told}" if run.status != "complete" else run.told
    lines = [told] if run.told else []
    if grids.grid_of(run):
        return lines
    metric = headline_metric(run)
    compared = [it for one in run.summary if (it := one.compared_by(metric))]
    effects = [it.smallest_effect_ratio for it in compared if it.smallest_effect_ratio is not None]
    if effects:
        detail = f"{_percent(max(effects))} ({NAMES[metric]}, 4 times out of 5)"
        lines.append(f"Smallest difference this run could detect: {detail}")
    elif compared:
        lines.append("A single round gives no interval: the figures are preliminary.")
    return lines


def excluded(run: Run) -> list[str]:
    """How many measurements were excluded, and a line for each profile and reason; empty if all are valid."""
    rounds: dict[tuple[str, str], list[int]] = {}
    reasons: dict[tuple[str, str], str] = {}
    for each in run.rounds:
        for one in each.measurements:
            for problem in one.problems:
                rounds.setdefault((one.profile, problem.code), []).append(each.number)
                reasons.setdefault((one.profile, problem.code), problem.told)
    if not rounds:
        return []
    total = sum(len(each.measurements) for each in run.rounds)
    invalid = sum(not one.is_valid for each in run.rounds for one in each.measurements)
    return [
        f"Excluded: {invalid} of {total} measurements",
        *(
            f"{profile}, {'round' if len(numbers) == 1 else 'rounds'} {', '.join(map(str, numbers))}: {code}: "
            f"{reasons[profile, code]}"
            for (profile, code), numbers in rounds.items()
        ),
    ]


def knees(run: Run, grid: Grid) -> list[str]:
    """One line for each variant: its knee, or why there is none."""
    if grid.over != "concurrency":
        return []
    laws = {variant.name: fit_law(run, grid, variant) for variant in grid.variants}
    if not any(laws.values()):
        return [f"No knee found: the scalability law needs at least {scalability.MIN_CONCURRENCIES} concurrencies"]
    return [f"{name}: {_describe_knee(fit)}" for name, fit in laws.items() if fit]


def _describe_knee(fit: Scalability) -> str:
    if fit.is_poor:
        return f"no knee found, {fit.told}"
    if fit.knee is None:
        return "no knee: throughput grows in proportion to the clients"
    peak = f"; throughput peaks near {fit.peak:,.0f} clients (fitted)" if fit.peak else ""
    return f"knee at {three_digits(fit.knee)} clients{peak}"


def _best_cell(grid: Grid, cell: Summary) -> str:
    variant = next(it for it in grid.variants if cell.profile in it.labels)
    at = f"{grid.over}={grid.values[variant.labels.index(cell.profile)]}"
    where = " and ".join(part for part in (variant.name, at) if part != grid.profile)
    return (
        f"{grid.profile} is fastest with {where} (best of {len(grid.values) * len(grid.variants)} cells): "
        f"{three_digits(cell.throughput_per_s)} requests per second, p99 {three_digits(cell.p99_ms)} ms."
    )


def _format_ratio(ratio: Interval) -> str:
    """`11.6x (11.2-12.1)`, with an en dash."""
    return f"{three_digits(ratio.estimate)}x ({_interval(ratio)})"


def _interval(ratio: Interval) -> str:
    return format_range(ratio.low, ratio.high, _DASH) or "no interval"


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share >= 0.1 else 1}f} %"
