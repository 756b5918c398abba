"""What may be said of a ratio: faster, slower, no difference shown, or too noisy to say; and when enough was
measured to say it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, Literal, get_args

from bookstore.lab.analysis.statistics import LogRatio, paired_ratio
from bookstore.lab.record.run_record import Comparison, Contender, Metric, Protocol, Round, Summary, Verdict

SMALL_EFFECT_RATIO: Final = 0.10
"""A run that could have seen 10 % and saw nothing has shown something: less than a tenth seldom decides
between configurations. A run that could not have seen as much is too noisy."""

MIN_ROUNDS: Final = 6
MAX_ROUNDS: Final = 15
PRECISION_RATIO: Final = 0.03
"""The protocol that is recommended: docs/concepts/judgement.md says why."""

BEYOND_P99: Final = 1000
"""From so many requests in a round on, 10 lie beyond its p99, and it can be judged."""

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
    """What the answer in one sentence is about: throughput in the closed model; in the open one, where
    throughput is what was asked for, p99, or p95 where a round has too few `requests`."""
    if model == "closed":
        return "throughput_per_s"
    return "p99_ms" if requests >= BEYOND_P99 else "p95_ms"


def judge(metric: Metric, found: LogRatio, rounds: int) -> Comparison:
    """`found`, the contender over the baseline from `rounds` rounds, with its verdict."""
    interval = found.interval()
    smallest = found.smallest_effect_ratio()
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
    """The figures of the rounds in which both are valid and have one: contender's, baseline's."""
    pairs = []
    for each in rounds:
        valid = {one.profile: one for one in each.measurements if one.is_valid}
        if contender in valid and baseline in valid:
            pair = [getattr(valid[label], metric) for label in (contender, baseline)]
            if all(pair):  # neither unknown nor 0, which has no ratio
                pairs.append(pair)
    return [float(one) for one, _ in pairs], [float(other) for _, other in pairs]


def comparisons(rounds: Iterable[Round], contender: str, baseline: str) -> list[Comparison]:
    """By every metric that both have; none for the baseline against itself."""
    if contender == baseline:
        return []
    rounds = list(rounds)
    by_metric = {metric: paired_figures(rounds, contender, baseline, metric) for metric in METRICS}
    return [judge(metric, paired_ratio(*pairs), len(pairs[0])) for metric, pairs in by_metric.items() if pairs[0]]


def has_enough_rounds(
    rounds: Sequence[Round], contenders: Sequence[Contender], protocol: Protocol, metric: Metric = "throughput_per_s"
) -> bool:
    """Whether no further round is needed: `max_rounds` are done, or each contender has `min_rounds` in which it
    and the baseline are valid, and an interval within ±`precision_ratio` by `metric`."""
    if len(rounds) >= protocol.max_rounds:
        return True
    first, *others = (one.label for one in contenders)
    widest = math.log1p(protocol.precision_ratio)
    for label in others or [first]:
        pairs = paired_figures(rounds, label, first, metric)
        if len(pairs[0]) < protocol.min_rounds:
            return False
        it = paired_ratio(*pairs).interval()
        if it.high is None or math.log(it.high / it.estimate) > widest:
            return False
    return True


def fail_if_slower(summary: Iterable[Summary], share: float, metric: Metric = "throughput_per_s") -> list[Summary]:
    """The contenders that are slower than the baseline by more than `share` (0.05 is 5 %) beyond doubt: the whole
    interval lies beyond it, its end nearest to 1 too. A run that is too noisy to say never fails by this.

    Throughput below 1 - `share` is slower; so is a latency, CPU or memory above 1 + `share`.
    """
    beyond = []
    for one in summary:
        it = one.compared_by(metric)
        if it is None or it.ratio.low is None or it.ratio.high is None:
            continue
        if it.ratio.high < 1 - share if metric == "throughput_per_s" else it.ratio.low > 1 + share:
            beyond.append(one)
    return beyond
