"""Samples: columns in memory, a Parquet file on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab.record import samples
from bookstore.lab.record.samples import Samples, Writer


def random_samples(count: int, seed: int = 1) -> Samples:
    random = np.random.default_rng(seed)
    return Samples(
        done_s=np.sort(random.uniform(-1, 9, count)),
        latency_ms=random.lognormal(1, 0.5, count).astype(np.float32),
        service_ms=random.lognormal(1, 0.5, count).astype(np.float32),
        status=random.choice([200, 201, 304, 404, 503, 0], count).astype(np.int16),
        kind=random.integers(0, 3, count, dtype=np.uint8),
    )


def equal(left: Samples, right: Samples) -> bool:
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(left.columns, right.columns, strict=True))


def test_round_trip_is_bit_identical(tmp_path: Path) -> None:
    """Each profile's samples of each round are read back bit by bit, separately and together."""
    parts = {(number, label): random_samples(100, number) for number in (1, 2) for label in ("a #2", "b")}
    with Writer(tmp_path) as writer:
        for (number, label), part in parts.items():
            writer.add(number, label, part)
    for (number, label), part in parts.items():
        assert equal(samples.read(tmp_path, label, number), part)
    assert equal(samples.read(tmp_path, "b"), samples.concatenate([parts[1, "b"], parts[2, "b"]]))
    assert len(samples.read(tmp_path)) == 400


def test_success_is_any_2xx_and_304() -> None:
    """A 304 counts as success; a missing response does not."""
    requests = random_samples(500)
    assert set(np.unique(requests.status[requests.ok])) == {200, 201, 304}


def test_an_interval_includes_its_start_only() -> None:
    """A request on a boundary is counted once."""
    requests = random_samples(300)
    edge = float(requests.done_s[100])
    assert len(requests.between(-2, edge)) + len(requests.between(edge, 99)) == 300
    assert requests.between(edge, 99).done_s[0] == edge


def test_an_unreadable_file_is_rejected(tmp_path: Path) -> None:
    """The error for a missing or broken file names it."""
    with pytest.raises(ConfigurationError, match=r"samples\.parquet: cannot be read"):
        samples.read(tmp_path)
    (tmp_path / samples.FILE).write_bytes(b"PAR1 but not really")
    with pytest.raises(ConfigurationError, match=r"samples\.parquet: cannot be read"):
        samples.read(tmp_path)


def test_ten_minutes_at_two_thousand_a_second_take_less_than_50_mb(tmp_path: Path) -> None:
    """The raw samples of a long run stay small enough to keep and to send."""
    random = np.random.default_rng(1)
    count = 1_200_000
    latency = random.lognormal(1, 0.5, count).astype(np.float32)
    done = np.cumsum(random.exponential(1 / 2000, count)).round(6)
    status = np.full(count, 200, np.int16)
    with Writer(tmp_path) as writer:
        writer.add(1, "a", Samples(done, latency, latency - np.float32(0.01), status, np.zeros(count, np.uint8)))
    assert (tmp_path / samples.FILE).stat().st_size < 20_000_000


def test_no_samples(tmp_path: Path) -> None:
    """A round without a request can be stored and read."""
    with Writer(tmp_path) as writer:
        writer.add(1, "a", samples.empty())
    assert len(samples.read(tmp_path, "a", 1)) == 0
    assert len(samples.concatenate([])) == 0
