"""Rounds and samples to summaries and steps."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from bookstore.lab.analysis.statistics import ratio
from bookstore.lab.analysis.summary import measurements_of, steps, summarise
from bookstore.lab.record.run_record import Contender, Measurement, Problem, Round
from bookstore.lab.record.samples import Samples

NOT_VALID = [Problem("machine_busy", "other processes used 40 % of the machine (limit 10 %)")]


def measured(profile: str, throughput_per_s: float, *, is_valid: bool = True, **others: int | None) -> Measurement:
    measurement = Measurement(
        profile=profile, problems=[] if is_valid else NOT_VALID, seconds=2.0, requests=4, errors=0,
        throughput_per_s=throughput_per_s, p50_ms=2.0, p95_ms=3.0, p99_ms=3.0, p999_ms=3.0, max_ms=3.0,
        cpu_ms_per_request=4.0, pss_bytes=100, connections=5, statements_per_request=1.0, ceiling_per_s=1000.0,
    )  # fmt: skip
    return msgspec.structs.replace(measurement, **others)


def samples(label: str, number: int) -> Samples:
    """Six requests: one in the warm-up, one after the end, four between, of at least `number` ms."""
    done = np.array([-0.5, 0.0, 0.5, 1.0, 1.999, 2.0])
    latency = np.array([9000, number, number + 1, number + 2, 10 * number, 9000], np.float32)
    return Samples(done, latency, latency, np.full(6, 200, np.int16), np.zeros(6, np.uint8))


PROFILES = [Contender(label="a", spec="a", keys={"loading": "lazy"}), Contender(label="b", spec="b")]


def test_summary() -> None:
    """Throughput is the mean of the valid rounds, percentiles are of all measured requests together, memory and
    connections are peaks."""
    rounds = [
        Round(1, [measured("a", 100), measured("b", 200, pss_bytes=300)]),
        Round(2, [measured("b", 300, pss_bytes=200, connections=9), measured("a", 300)]),
    ]
    first, second = summarise(rounds, PROFILES, samples)
    assert (first.throughput_per_s, second.throughput_per_s) == (200, 250)
    assert (first.rounds, first.invalid_rounds, first.requests, first.errors) == (2, 0, 8, 0)
    assert (first.p50_ms, first.p95_ms, first.max_ms) == (3, 20, 20)  # of 1 2 2 3 3 4 10 20, sorted
    assert (second.pss_bytes, second.connections, second.cpu_ms_per_request, second.statements) == (300, 9, 4, 1)
    assert first.ceiling_share == pytest.approx(0.2)
    assert first.comparisons == []
    compared = second.compared_by("throughput_per_s")
    assert compared is not None
    assert compared.ratio == ratio([200, 300], [100, 300])


def test_invalid_measurements_are_counted_but_not_averaged() -> None:
    """An absurd invalid measurement only changes its own profile's number of invalid rounds; the other measurement of
    the round is not compared."""
    good = [Round(number, [measured("a", 100 + number), measured("b", 200)]) for number in (1, 2, 3)]
    absurd = measured("b", 1e9, is_valid=False, pss_bytes=10**12, requests=10**9, errors=10**6)
    with_absurd = [*good, Round(4, [measured("a", 50), absurd])]

    def checked_samples(label: str, number: int) -> Samples:
        assert (label, number) != ("b", 4), "samples of an invalid measurement were read"
        return samples(label, number)

    before, after = summarise(good, PROFILES, samples), summarise(with_absurd, PROFILES, checked_samples)
    assert after[1] == msgspec.structs.replace(before[1], invalid_rounds=1)
    assert (after[0].rounds, after[0].invalid_rounds) == (4, 0)
    assert after[0].throughput_per_s == pytest.approx((101 + 102 + 103 + 50) / 4)


def test_without_a_valid_round_there_is_no_figure() -> None:
    """A contender whose rounds are all invalid has no summary; without the baseline nothing is compared."""
    rounds = [Round(1, [measured("a", 100, is_valid=False), measured("b", 200)])]
    (only,) = summarise(rounds, PROFILES, samples)
    assert (only.profile, only.comparisons) == ("b", [])
    assert steps(rounds, PROFILES) == []


def test_unknown_figures() -> None:
    """A gap is skipped, and a figure with gaps only is null."""
    gaps = [
        measured("a", 100, cpu_ms_per_request=None, pss_bytes=pss_bytes, ceiling_per_s=None) for pss_bytes in (None, 7)
    ]
    rounds = [Round(number, [measurement]) for number, measurement in enumerate(gaps, 1)]
    (only,) = summarise(rounds, PROFILES[:1], samples)
    assert (only.cpu_ms_per_request, only.pss_bytes, only.ceiling_share) == (None, 7, None)


def test_measurements_of() -> None:
    """A profile's measurements are in the order of the rounds, including invalid ones."""
    rounds = [Round(1, [measured("a", 1), measured("b", 2)]), Round(2, [measured("b", 3, is_valid=False)])]
    assert [measurement.throughput_per_s for measurement in measurements_of(rounds, "b")] == [2, 3]
    assert measurements_of(rounds, "c") == []


def test_steps() -> None:
    """A step is a pair that differs in one key, with the ratio of the later to the earlier. Threads count as a key
    only if set explicitly; external services have no steps."""
    keys = {
        "a": {"driver": "asyncpg", "loading": "lazy", "pool_size": "5", "description": "a"},
        "b": {"driver": "asyncpg", "loading": "json", "pool_size": "5", "description": "b"},
        "c": {"driver": "psycopg-sync", "loading": "json", "pool_size": "5", "threads": "5", "description": "c"},
        "d": {"driver": "psycopg-sync", "loading": "json", "pool_size": "5", "threads": "40", "description": "d"},
        "e": {"driver": "psycopg-sync", "loading": "json", "pool_size": "20", "threads": "20", "description": "e"},
    }
    speeds = {"a": 10.0, "b": 40.0, "c": 20.0, "d": 20.0, "e": 20.0, "other": 1.0}
    rounds = [Round(n, [measured(label, n * speed) for label, speed in speeds.items()]) for n in (1, 2)]
    profiles = [Contender(label=label, spec=label, keys=values) for label, values in keys.items()]
    found = steps(rounds, [*profiles, Contender(label="other", spec="other=http://x", kind="external")])
    assert [(step.key, step.before, step.after, step.baseline, step.contender) for step in found] == [
        ("loading", "lazy", "json", "a", "b"),
        ("driver", "asyncpg", "psycopg-sync", "b", "c"),
        ("threads", "5", "40", "c", "d"),
        ("pool_size", "5", "20", "c", "e"),
    ]
    assert [step.throughput_ratio.estimate for step in found] == pytest.approx([4, 0.5, 1, 1])
    assert all(math.isfinite(step.throughput_ratio.high or 0) for step in found)


def test_a_key_is_compared_under_the_same_load_only() -> None:
    """Cells of a sweep that differ in their load too are no step."""
    cells = [
        Contender(label="a", spec="a", keys={"pool_size": "1"}, load={"concurrency": 1}),
        Contender(label="b", spec="b", keys={"pool_size": "2"}, load={"concurrency": 5}),
    ]
    rounds = [Round(number, [measured("a", 100.0), measured("b", 200.0)]) for number in (1, 2)]
    assert steps(rounds, cells) == []
    alike = [msgspec.structs.replace(cell, load={"concurrency": 5}) for cell in cells]
    assert [(step.baseline, step.contender, step.key) for step in steps(rounds, alike)] == [("a", "b", "pool_size")]
