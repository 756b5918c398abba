"""Verdicts, the stopping rule, and which differences fail a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from bookstore.lab.analysis.statistics import LogRatio, paired_ratio
from bookstore.lab.analysis.verdict import (
    MAX_ROUNDS,
    MIN_ROUNDS,
    PRECISION_RATIO,
    comparisons,
    fail_if_slower,
    has_enough_rounds,
    headline,
    judge,
    paired_figures,
)
from bookstore.lab.record.run_record import Contender, Measurement, Metric, Problem, Protocol, Round, Summary

RECOMMENDED = Protocol(min_rounds=MIN_ROUNDS, max_rounds=MAX_ROUNDS, precision_ratio=PRECISION_RATIO)
NOT_VALID = [Problem("errors", "5 of 100 requests failed (limit 0.1 %)")]


def measured(profile: str, throughput_per_s: float, problems: Sequence[Problem] = ()) -> Measurement:
    return Measurement(
        profile=profile,
        problems=list(problems),
        seconds=1.0,
        requests=round(throughput_per_s),
        errors=0,
        throughput_per_s=throughput_per_s,
        p50_ms=1000 / throughput_per_s,
        p95_ms=2000 / throughput_per_s,
        p99_ms=3000 / throughput_per_s,
        p999_ms=4000 / throughput_per_s,
        max_ms=5000 / throughput_per_s,
    )


def rounds_of(*pairs: tuple[float, float]) -> list[Round]:
    """Rounds of the baseline `a` and the contender `b`."""
    return [Round(number, [measured("a", a), measured("b", b)]) for number, (a, b) in enumerate(pairs, 1)]


def contenders(*labels: str) -> list[Contender]:
    return [Contender(label=label, spec=label) for label in labels]


@pytest.mark.parametrize(
    ("metric", "above", "below"),
    [
        ("throughput_per_s", "faster", "slower"),
        ("p50_ms", "slower", "faster"),
        ("p95_ms", "slower", "faster"),
        ("p99_ms", "slower", "faster"),
        ("cpu_ms_per_request", "more", "less"),
        ("pss_bytes", "more", "less"),
    ],
)
def test_a_difference_has_the_metric_s_verdict(metric: Metric, above: str, below: str) -> None:
    """Higher throughput is faster, higher latency slower; CPU and memory are more or less."""
    assert judge(metric, LogRatio(math.log(1.5), 0.01, 9), 10).verdict == above
    assert judge(metric, LogRatio(math.log(0.5), 0.01, 9), 10).verdict == below


@pytest.mark.parametrize(("error", "verdict"), [(0.01, "no difference shown"), (0.1, "too noisy to say")])
def test_no_difference_needs_a_narrow_interval(error: float, verdict: str) -> None:
    """An interval that contains 1 shows no difference if 10 % would have been detected, and is too noisy otherwise."""
    comparison = judge("p99_ms", LogRatio(0.005, error, 9), 10)
    assert comparison.verdict == verdict
    assert comparison.smallest_effect_ratio is not None
    assert (comparison.smallest_effect_ratio <= 0.10) == (verdict == "no difference shown")


def test_one_round_is_too_noisy() -> None:
    """A single round is too noisy, however large the ratio."""
    comparison = judge("throughput_per_s", paired_ratio([1000.0], [1.0]), 1)
    assert (comparison.verdict, comparison.smallest_effect_ratio, comparison.rounds) == ("too noisy to say", None, 1)


def test_headline() -> None:
    """Throughput in the closed model; in the open model p99, or p95 if few requests are above p99."""
    assert headline("closed", 10) == "throughput_per_s"
    assert headline("open", 1000) == "p99_ms"
    assert headline("open", 999) == "p95_ms"


def test_paired_figures() -> None:
    """A round with an invalid measurement makes no pair, and neither does a figure that is 0 or missing."""
    rounds = [
        *rounds_of((100, 200), (110, 220)),
        Round(3, [measured("a", 1, NOT_VALID), measured("b", 999)]),
        Round(4, [measured("b", 240), measured("a", 120)]),
        Round(5, [measured("a", 130)]),
    ]
    assert paired_figures(rounds, "b", "a", "throughput_per_s") == ([200, 220, 240], [100, 110, 120])
    assert paired_figures(rounds, "b", "a", "pss_bytes") == ([], [])
    zero = [Round(1, [msgspec.structs.replace(measured("a", 1), throughput_per_s=0.0), measured("b", 1)])]
    assert paired_figures(zero, "b", "a", "throughput_per_s") == ([], [])


def test_comparisons_use_common_metrics() -> None:
    """CPU was not measured, so it is not compared; the baseline is not compared with itself."""
    rounds = rounds_of((100, 200), (110, 221), (120, 239))
    found = comparisons(rounds, "b", "a")
    assert [(comparison.metric, comparison.verdict, comparison.rounds) for comparison in found] == [
        ("throughput_per_s", "faster", 3),
        ("p50_ms", "faster", 3),
        ("p95_ms", "faster", 3),
        ("p99_ms", "faster", 3),
    ]
    assert comparisons(rounds, "a", "a") == []


def test_has_enough_rounds() -> None:
    """Never before the minimum number of rounds; then once the interval is narrow; always at the maximum."""
    same = rounds_of(*[(100, 200)] * 20)
    wild = rounds_of(*[(100, 200), (100, 300)] * 10)
    both = contenders("a", "b")
    assert not has_enough_rounds(same[: MIN_ROUNDS - 1], both, RECOMMENDED)
    assert has_enough_rounds(same[:MIN_ROUNDS], both, RECOMMENDED)
    assert not has_enough_rounds(wild[: MAX_ROUNDS - 1], both, RECOMMENDED)
    assert has_enough_rounds(wild[:MAX_ROUNDS], both, RECOMMENDED)


def test_enough_for_every_contender() -> None:
    """The widest interval decides, and a single profile only needs the minimum number of rounds."""
    rounds = [
        Round(number, [measured("a", 100), measured("b", 200), measured("c", 300 + 100 * (number % 2))])
        for number in range(1, 10)
    ]
    assert has_enough_rounds(rounds, contenders("a", "b"), RECOMMENDED)
    assert not has_enough_rounds(rounds, contenders("a", "b", "c"), RECOMMENDED)
    assert has_enough_rounds(rounds, contenders("a"), RECOMMENDED)
    assert not has_enough_rounds(rounds[:3], contenders("a"), RECOMMENDED)


def test_invalid_rounds_are_not_enough() -> None:
    """Only valid pairs count towards the minimum number of rounds."""
    rounds = rounds_of(*[(100, 200)] * 9)
    broken = [
        Round(each.number, [each.measurements[0], measured("b", 200, NOT_VALID)]) if each.number > 5 else each
        for each in rounds
    ]
    assert has_enough_rounds(rounds, contenders("a", "b"), RECOMMENDED)
    assert not has_enough_rounds(broken, contenders("a", "b"), RECOMMENDED)


def simulated_verdict(random: np.random.Generator, spread: float, slowdown: float) -> str:
    """Return the verdict of a simulated comparison under the recommended protocol and its stopping rule."""
    rounds: list[Round] = []
    both = contenders("a", "b")
    while not has_enough_rounds(rounds, both, RECOMMENDED):
        speed = 500 * math.exp(0.2 * random.standard_normal())  # of the machine, shared by both
        own = np.exp(spread / math.sqrt(2) * random.standard_normal(2))
        pair = [measured("a", speed * own[0]), measured("b", (1 - slowdown) * speed * own[1])]
        rounds.append(Round(len(rounds) + 1, pair))
    return comparisons(rounds, "b", "a")[0].verdict


def test_false_alarms_under_the_stopping_rule() -> None:
    """Of 500 comparisons of a profile with itself, under noise where stopping errs most, at most 38 show a
    difference. At 5 %, 1 in 100 such samples has more; with the quantile at 0.95 and 3 rounds, about 47 do."""
    random = np.random.default_rng(4)
    verdicts = [simulated_verdict(random, 0.05, 0) for _ in range(500)]
    assert sum(verdict in {"faster", "slower"} for verdict in verdicts) <= 38


@pytest.mark.parametrize("spread", [0.04, 0.08])
def test_a_slowdown_of_ten_percent_is_found(spread: float) -> None:
    """In at least 9 of 10 comparisons, and never as a gain."""
    random = np.random.default_rng(5)
    verdicts = [simulated_verdict(random, spread, 0.1) for _ in range(200)]
    assert verdicts.count("slower") >= 180
    assert "faster" not in verdicts


def _summary(label: str, rounds: list[Round]) -> Summary:
    return Summary(
        profile=label, rounds=3, invalid_rounds=0, throughput_per_s=1, p50_ms=1, p95_ms=1, p99_ms=1, p999_ms=1,
        max_ms=1, requests=1, errors=0, comparisons=comparisons(rounds, label, "a"),
    )  # fmt: skip


def test_slower_beyond_doubt() -> None:
    """A comparison fails if the whole interval is beyond the share, by throughput and by latency; smaller, noisy and
    single-round slowdowns pass."""
    rounds = rounds_of((100, 80), (100, 81), (100, 80), (100, 81))
    noisy = rounds_of((100, 80), (100, 40), (100, 120), (100, 90))
    summary = [_summary("a", rounds), _summary("b", rounds)]
    for metric in ("throughput_per_s", "p99_ms"):
        assert [contender.profile for contender in fail_if_slower(summary, 0.05, metric)] == ["b"]
        assert fail_if_slower(summary, 0.30, metric) == []
        assert fail_if_slower([_summary("b", noisy)], 0.05, metric) == []
        assert fail_if_slower([_summary("b", rounds[:1])], 0.05, metric) == []
    faster = rounds_of((80, 100), (81, 100), (80, 100))
    assert fail_if_slower([_summary("b", faster)], 0.05) == []
