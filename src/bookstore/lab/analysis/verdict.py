"""The verdict on a ratio (faster, slower, no difference shown, too noisy to say), and when to stop measuring."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, Literal, get_args

from bookstore.lab.analysis.statistics import LogRatio, paired_ratio
from bookstore.lab.record.run_record import Comparison, Contender, Metric, Protocol, Round, Summary, Verdict

SMALL_EFFECT_RATIO: Final = 0.10
"""A run that could have detected 10 % and did not has shown something: smaller differences seldom decide between
configurations. A run that could not have detected 10 % is too noisy."""

MIN_ROUNDS: Final = 6
MAX_ROUNDS: Final = 15
PRECISION_RATIO: Final = 0.03
"""The recommended protocol; docs/concepts/judgement.md gives the reasons."""

BEYOND_P99: Final = 1000
"""With this many requests in a round, 10 are above its p99, enough to judge by it."""

METRICS: Final[tuple[Metric, ...]] = get_args(Metric)

_WORDS: Final[dict[Metric, tuple[Verdict, Verdict]]] = {
    "throughput_per_s": ("slower", "faster"),
    "p50_ms": ("faster", "slower"),
    "p95_ms": ("faster", "slower"),
    "p99_ms": ("faster", "slower"),
    "cpu_ms_per_request": ("less", "more"),
    "pss_bytes": ("less", "more"),
}


def headline(model: Literal["closed", "open"], requests: int) -> Metric:
    """Return the metric of the answer in one sentence.

    It is throughput in the closed model. In the open model, where the workload sets the throughput, it is p99, or p95
    if a round has too few `requests`.
    """
    if model == "closed":
        return "throughput_per_s"
    return "p99_ms" if requests >= BEYOND_P99 else "p95_ms"


def judge(metric: Metric, log_ratio: LogRatio, rounds: int) -> Comparison:
    """Return the comparison of contender over baseline from `rounds` rounds, with its verdict."""
    interval = log_ratio.interval()
    smallest = log_ratio.smallest_effect_ratio()
    verdict: Verdict = "too noisy to say"
    if interval.high is not None and interval.high < 1:
        verdict = _WORDS[metric][0]
    elif interval.low is not None and interval.low > 1:
        verdict = _WORDS[metric][1]
    elif smallest is not None and smallest <= SMALL_EFFECT_RATIO:
        verdict = "no difference shown"
    return Comparison(metric, interval, verdict, smallest, rounds)


def paired_figures(
    rounds: Iterable[Round], contender: str, baseline: str, metric: Metric
) -> tuple[list[float], list[float]]:
    """Return the figures of contender and baseline from the rounds in which both are valid and have a figure."""
    pairs = []
    for each in rounds:
        valid = {measurement.profile: measurement for measurement in each.measurements if measurement.is_valid}
        if contender in valid and baseline in valid:
            pair = [getattr(valid[label], metric) for label in (contender, baseline)]
            if all(pair):  # neither unknown nor 0, for which there is no ratio
                pairs.append(pair)
    return [float(first) for first, _ in pairs], [float(second) for _, second in pairs]


def comparisons(rounds: Iterable[Round], contender: str, baseline: str) -> list[Comparison]:
    """Return a comparison by every metric that both have; empty for the baseline against itself."""
    if contender == baseline:
        return []
    rounds = list(rounds)
    by_metric = {metric: paired_figures(rounds, contender, baseline, metric) for metric in METRICS}
    return [judge(metric, paired_ratio(*pairs), len(pairs[0])) for metric, pairs in by_metric.items() if pairs[0]]


def has_enough_rounds(
    rounds: Sequence[Round], contenders: Sequence[Contender], protocol: Protocol, metric: Metric = "throughput_per_s"
) -> bool:
    """Whether no further round is needed.

    That is, `max_rounds` are done, or each contender has `min_rounds` in which it and the baseline are valid, and its
    interval by `metric` is within ±`precision_ratio`.
    """
    if len(rounds) >= protocol.max_rounds:
        return True
    first, *others = (contender.label for contender in contenders)
    widest = math.log1p(protocol.precision_ratio)
    for label in others or [first]:
        pairs = paired_figures(rounds, label, first, metric)
        if len(pairs[0]) < protocol.min_rounds:
            return False
        interval = paired_ratio(*pairs).interval()
        if interval.high is None or math.log(interval.high / interval.estimate) > widest:
            return False
    return True


def fail_if_slower(summary: Iterable[Summary], share: float, metric: Metric = "throughput_per_s") -> list[Summary]:
    """Return the contenders whose whole interval is slower than the baseline by more than `share` (0.05 is 5 %).

    Throughput below 1 - `share` is slower, as is a latency, CPU or memory above 1 + `share`. A contender that is too
    noisy to say never fails.
    """
    slower = []
    for contender in summary:
        comparison = contender.compared_by(metric)
        if comparison is None or comparison.ratio.low is None or comparison.ratio.high is None:
            continue
        if comparison.ratio.high < 1 - share if metric == "throughput_per_s" else comparison.ratio.low > 1 + share:
            slower.append(contender)
    return slower
