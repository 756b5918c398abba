"""Verdicts, when to stop, and what fails a comparison."""

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
def test_a_difference_has_the_metric_s_word(metric: Metric, above: str, below: str) -> None:
    """More throughput is faster, more latency slower; of CPU and memory there is more or less."""
    assert judge(metric, LogRatio(math.log(1.5), 0.01, 9), 10).verdict == above
    assert judge(metric, LogRatio(math.log(0.5), 0.01, 9), 10).verdict == below


@pytest.mark.parametrize(("error", "verdict"), [(0.01, "no difference shown"), (0.1, "too noisy to say")])
def test_no_difference_is_said_by_who_could_have_seen_one(error: float, verdict: str) -> None:
    """An interval that holds 1 says something where 10 % would have been seen, and nothing otherwise."""
    it = judge("p99_ms", LogRatio(0.005, error, 9), 10)
    assert it.verdict == verdict
    assert it.smallest_effect_ratio is not None
    assert (it.smallest_effect_ratio <= 0.10) == (verdict == "no difference shown")


def test_one_round_is_too_noisy() -> None:
    """However large the ratio, one round says nothing."""
    it = judge("throughput_per_s", paired_ratio([1000.0], [1.0]), 1)
    assert (it.verdict, it.smallest_effect_ratio, it.rounds) == ("too noisy to say", None, 1)


def test_headline() -> None:
    """Throughput in the closed model; in the open one p99, or p95 where few requests lie beyond p99."""
    assert headline("closed", 10) == "throughput_per_s"
    assert headline("open", 1000) == "p99_ms"
    assert headline("open", 999) == "p95_ms"


def test_pairs_are_of_rounds_in_which_both_are_valid() -> None:
    """An invalid measurement takes its round's other one out of the pair, and no figure of 0 or none is paired."""
    rounds = [
        *rounds_of((100, 200), (110, 220)),
        Round(3, [measured("a", 1, NOT_VALID), measured("b", 999)]),
        Round(4, [measured("b", 240), measured("a", 120)]),
        Round(5, [measured("a", 130)]),
    ]
    assert paired_figures(rounds, "b", "a", "throughput_per_s") == ([200, 220, 240], [100, 110, 120])
    assert paired_figures(rounds, "b", "a", "pss_bytes") == ([], [])
    none = [Round(1, [msgspec.structs.replace(measured("a", 1), throughput_per_s=0.0), measured("b", 1)])]
    assert paired_figures(none, "b", "a", "throughput_per_s") == ([], [])


def test_comparisons_are_by_what_both_have() -> None:
    """No CPU was read, so nothing is said of it; the baseline is not compared with itself."""
    rounds = rounds_of((100, 200), (110, 221), (120, 239))
    found = comparisons(rounds, "b", "a")
    assert [(it.metric, it.verdict, it.rounds) for it in found] == [
        ("throughput_per_s", "faster", 3),
        ("p50_ms", "faster", 3),
        ("p95_ms", "faster", 3),
        ("p99_ms", "faster", 3),
    ]
    assert comparisons(rounds, "a", "a") == []


def test_enough() -> None:
    """Not before the fewest rounds, though they be equal; then when the interval is narrow; at last in any case."""
    same = rounds_of(*[(100, 200)] * 20)
    wild = rounds_of(*[(100, 200), (100, 300)] * 10)
    both = contenders("a", "b")
    assert not has_enough_rounds(same[: MIN_ROUNDS - 1], both, RECOMMENDED)
    assert has_enough_rounds(same[:MIN_ROUNDS], both, RECOMMENDED)
    assert not has_enough_rounds(wild[: MAX_ROUNDS - 1], both, RECOMMENDED)
    assert has_enough_rounds(wild[:MAX_ROUNDS], both, RECOMMENDED)


def test_enough_for_every_contender() -> None:
    """The widest interval decides, and a profile alone needs the fewest rounds only."""
    rounds = [
        Round(number, [measured("a", 100), measured("b", 200), measured("c", 300 + 100 * (number % 2))])
        for number in range(1, 10)
    ]
    assert has_enough_rounds(rounds, contenders("a", "b"), RECOMMENDED)
    assert not has_enough_rounds(rounds, contenders("a", "b", "c"), RECOMMENDED)
    assert has_enough_rounds(rounds, contenders("a"), RECOMMENDED)
    assert not has_enough_rounds(rounds[:3], contenders("a"), RECOMMENDED)


def test_invalid_rounds_are_not_enough() -> None:
    """The fewest rounds are counted among the pairs that are valid."""
    rounds = rounds_of(*[(100, 200)] * 9)
    broken = [
        Round(each.number, [each.measurements[0], measured("b", 200, NOT_VALID)]) if each.number > 5 else each
        for each in rounds
    ]
    assert has_enough_rounds(rounds, contenders("a", "b"), RECOMMENDED)
    assert not has_enough_rounds(broken, contenders("a", "b"), RECOMMENDED)


def _ended(random: np.random.Generator, spread: float, slowdown: float) -> str:
    """The verdict of one made-up comparison under the recommended protocol, which ends when it is enough."""
    rounds: list[Round] = []
    both = contenders("a", "b")
    while not has_enough_rounds(rounds, both, RECOMMENDED):
        speed = 500 * math.exp(0.2 * random.standard_normal())  # the machine's, shared by both
        own = np.exp(spread / math.sqrt(2) * random.standard_normal(2))
        pair = [measured("a", speed * own[0]), measured("b", (1 - slowdown) * speed * own[1])]
        rounds.append(Round(len(rounds) + 1, pair))
    return comparisons(rounds, "b", "a")[0].verdict


def test_false_alarms_under_the_stopping_rule() -> None:
    """Of 500 comparisons of a profile with itself where stopping errs most, at most 38 show a difference: at 5 %,
    1 in 100 such samples has more. (At the quantile of 0.95 and 3 rounds, some 47 do.)"""
    random = np.random.default_rng(4)
    told = [_ended(random, 0.05, 0) for _ in range(500)]
    assert sum(it in {"faster", "slower"} for it in told) <= 38


@pytest.mark.parametrize("spread", [0.04, 0.08])
def test_a_slowdown_of_ten_percent_is_found(spread: float) -> None:
    """In at least 9 of 10 comparisons, and never as a gain."""
    random = np.random.default_rng(5)
    told = [_ended(random, spread, 0.1) for _ in range(200)]
    assert told.count("slower") >= 180
    assert "faster" not in told


def _summary(label: str, rounds: list[Round]) -> Summary:
    return Summary(
        profile=label, rounds=3, invalid_rounds=0, throughput_per_s=1, p50_ms=1, p95_ms=1, p99_ms=1, p999_ms=1,
        max_ms=1, requests=1, errors=0, comparisons=comparisons(rounds, label, "a"),
    )  # fmt: skip


def test_slower_beyond_doubt() -> None:
    """A comparison fails when the whole interval is beyond the share, by throughput and by latency; what is
    slower by less, too noisy, or from one round does not fail it."""
    rounds = rounds_of((100, 80), (100, 81), (100, 80), (100, 81))
    noisy = rounds_of((100, 80), (100, 40), (100, 120), (100, 90))
    summary = [_summary("a", rounds), _summary("b", rounds)]
    for metric in ("throughput_per_s", "p99_ms"):
        assert [one.profile for one in fail_if_slower(summary, 0.05, metric)] == ["b"]
        assert fail_if_slower(summary, 0.30, metric) == []
        assert fail_if_slower([_summary("b", noisy)], 0.05, metric) == []
        assert fail_if_slower([_summary("b", rounds[:1])], 0.05, metric) == []
    faster = rounds_of((80, 100), (81, 100), (80, 100))
    assert fail_if_slower([_summary("b", faster)], 0.05) == []
