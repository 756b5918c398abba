"""Records -> summary, steps and the table. Judges figures; never makes any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

from bookstore.lab.results import Measurement, Round, Run, Sample, Step, Summary
from bookstore.lab.statistics import Interval, percentile, ratio


def _threads_follow(profile: Mapping[str, str]) -> bool:
    """Whether the number of threads is what the pool or the driver makes it, and so no knob of its own."""
    pool = sum(int(profile.get(key, "0")) for key in ("pool_size", "max_overflow"))
    return profile.get("threads") in {None, str(pool)}


def of_profile(rounds: Sequence[Round], label: str) -> list[Measurement]:
    """The profile's measurement of each round."""
    return [one for each in rounds for one in each.measurements if one.profile == label]


def summarise(
    rounds: Sequence[Round],
    labels: Sequence[str],
    samples: Mapping[str, Sequence[Sample]],
    statements: Mapping[str, int],
) -> list[Summary]:
    """A Summary for each of `labels`, the first of which is the baseline. `samples` are all measured
    requests of a profile, `statements` how many SQL statements one of its requests makes."""
    baseline = [one.throughput_per_s for one in of_profile(rounds, labels[0])]
    summaries = []
    for label in labels:
        measured = of_profile(rounds, label)
        throughput = [one.throughput_per_s for one in measured]
        latencies = sorted(sample.duration_ms for sample in samples[label])
        readings = [reading for one in measured for reading in one.readings]
        mean = sum(throughput) / len(throughput)
        summaries.append(
            Summary(
                profile=label,
                throughput_per_s=mean,
                throughput_ratio=ratio(throughput, baseline),
                p50_ms=percentile(latencies, 0.50),
                p99_ms=percentile(latencies, 0.99),
                max_ms=latencies[-1],
                errors=sum(one.errors for one in measured),
                pss_bytes=_peak([reading.pss_bytes for reading in readings]),
                connections=_peak([reading.connections for reading in readings]),
                statements=statements[label],
                ceiling_share=mean / (sum(one.ceiling_per_s for one in measured) / len(measured)),
            )
        )
    return summaries


def steps(rounds: Sequence[Round], profiles: Mapping[str, Mapping[str, str]]) -> list[Step]:
    """The pairs of `profiles` (label -> effective keys, in the order asked for) that differ in one key."""
    found = []
    for one, other in combinations(profiles, 2):
        before, after = profiles[one], profiles[other]
        keys = [key for key in {**before, **after} if before.get(key) != after.get(key) and key != "description"]
        if _threads_follow(before) and _threads_follow(after):
            keys = [key for key in keys if key != "threads"]
        if len(keys) == 1:
            figures = [
                [measurement.throughput_per_s for measurement in of_profile(rounds, label)] for label in (other, one)
            ]
            key = keys[0]
            found.append(Step(key, before[key], after[key], one, other, ratio(*figures)))
    return found


_HEAD: Final = (
    "profile",
    "req/s",
    "ratio",
    "(95 %)",
    "p50",
    "p99",
    "max",
    "err",
    "PSS",
    "conn",
    "SQL",
    "ceil",
)


def table(run: Run, width: int) -> str:
    """One row a profile, within `width` columns where that is 80 or more and the names are not long."""
    rows = [_HEAD, *(_row(one) for one in run.summary)]
    columns = list(zip(*rows, strict=True))
    sizes = [max(map(len, column)) for column in columns]
    gap = "  " if sum(sizes) + 2 * (len(sizes) - 1) <= width else " "
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(sizes[0]),
            *(cell.rjust(size) for cell, size in zip(row[1:], sizes[1:], strict=True)),
        ]
        lines.append(gap.join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def legend(run: Run) -> str:
    """What the table's columns mean, and what was asked."""
    load = run.workload
    asked = " | ".join(
        ", ".join([f"{ask.method} {ask.path}", *(f"{name}: {value}" for name, value in ask.headers.items())])
        for ask in load.requests
    )
    return (
        f"{asked}, {load.concurrency} clients, {_rounds(len(run.rounds))} of {load.duration:g} s,\n"
        f"{run.catalogue.books:,} books ({run.catalogue.source})\n"
        f"ratio: throughput over that of {run.summary[0].profile}, with the interval that holds\n"
        f"the true one in 95 of 100 runs; p50 p99 max: ms; PSS: MB of all workers;\n"
        f"conn: database connections; SQL: statements a request; ceil: share of what\n"
        f"pgbench gets from this database with the same SQL and no service in between"
    )


def sentences(run: Run) -> list[str]:
    """What follows from the run, in words: the best against the baseline, and what each single key did."""
    first, *others = run.summary
    said = [
        f"{one.profile} serves {_interval(one.throughput_ratio)} times the requests of {first.profile}."
        for one in sorted(others, key=lambda one: -one.throughput_ratio.estimate)[:1]
    ]
    if run.steps:
        said.append("\nOne key at a time:")
    said += [
        f"{step.key} {step.before} -> {step.after}: x {_interval(step.throughput_ratio)} ({step.contender})"
        for step in run.steps
    ]
    return said


def _rounds(number: int) -> str:
    return "1 round" if number == 1 else f"{number} rounds"


def _row(one: Summary) -> tuple[str, ...]:
    estimate = one.throughput_ratio
    return (
        one.profile,
        _three(one.throughput_per_s),
        _three(estimate.estimate),
        _range(estimate),
        _three(one.p50_ms),
        _three(one.p99_ms),
        _three(one.max_ms),
        str(one.errors),
        "-" if one.pss_bytes is None else f"{one.pss_bytes / 1e6:.0f}",
        "-" if one.connections is None else str(one.connections),
        str(one.statements),
        f"{one.ceiling_share * 100:.0f}%",
    )


def _range(it: Interval) -> str:
    """Empty for one round, and for the baseline against itself, where nothing is uncertain."""
    if it.low is None or it.high is None or it.low == it.high:
        return ""
    return f"{_three(it.low)}-{_three(it.high)}"


def _interval(it: Interval) -> str:
    if it.low is None or it.high is None:
        return f"{_three(it.estimate)} (one round tells no interval)"
    return f"{_three(it.estimate)} ({_three(it.low)} to {_three(it.high)})"


def _three(number: float) -> str:
    """Three digits are what a measurement here can tell: 1.02, 24.1, 1050."""
    if number >= 100:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def _peak(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
