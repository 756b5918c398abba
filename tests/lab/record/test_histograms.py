"""HdrHistogram's interval log, read back with the library's own reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bookstore.lab.record import histograms
from bookstore.lab.record.histograms import Part
from bookstore.lab.record.samples import Samples


def random_samples(count: int, seconds: float, seed: int = 1) -> Samples:
    random = np.random.default_rng(seed)
    latency = random.lognormal(1, 1, count).astype(np.float32)
    done = np.sort(random.uniform(-1, seconds, count))
    return Samples(done, latency, latency, np.full(count, 200, np.int16), np.zeros(count, np.uint8))


def test_each_second_is_read_back(tmp_path: Path) -> None:
    """One line for each second with its count, every percentile accurate to three digits, and no warm-up."""
    samples = random_samples(5000, 4)
    path = histograms.write(tmp_path, 1.7e9, [Part("a", 1, 12.5, samples)])
    lines = list(histograms.read(path))
    assert [(line.profile, line.number, round(line.began_s, 3)) for line in lines] == [
        ("a", 1, 12.5 + second) for second in range(4)
    ]
    for second, line in enumerate(lines):
        part = np.sort(samples.between(second, second + 1).latency_ms.astype(np.float64) * 1000)
        assert line.histogram.get_total_count() == len(part)
        for share in (50.0, 95.0, 99.0, 100.0):
            exact = part[int(len(part) * share / 100 + 0.5) - 1]  # the library's rank is rounded, not up
            assert line.histogram.get_value_at_percentile(share) == pytest.approx(exact, rel=2e-3, abs=1)


@pytest.mark.parametrize("profile", ["asyncpg-joined@pool_size=20,echo=on", "two words", "a/b", "Tag=x\n1,1", "ÿ–x #2"])  # noqa: RUF001 - any name
def test_a_tag_is_one_word(tmp_path: Path, profile: str) -> None:
    """For any profile name the line stays one line with one tag, and the name is read back."""
    path = histograms.write(
        tmp_path, 1.7e9, [Part(profile, 12, 0, random_samples(50, 1)), Part("b", 1, 5, random_samples(50, 1))]
    )
    assert [(second.profile, second.number) for second in histograms.read(path)] == [(profile, 12), ("b", 1)]
    lines = [line for line in path.read_text().splitlines() if line.startswith("Tag=")]
    assert len(lines) == 2
    assert all(len(line.split(",")) == 5 for line in lines)


def test_extremes(tmp_path: Path) -> None:
    """Latencies below a microsecond and above an hour are kept, and an empty round has no line."""
    latency = np.array([0, 1e-4, 1.0, 9e9], np.float32)
    samples = Samples(np.zeros(4), latency, latency, np.zeros(4, np.int16), np.zeros(4, np.uint8))
    empty = samples.between(1, 2)
    (line,) = histograms.read(histograms.write(tmp_path, 1.7e9, [Part("a", 1, 0, empty), Part("a", 2, 1, samples)]))
    assert (line.number, line.histogram.get_total_count()) == (2, 4)
    assert line.histogram.get_max_value() == pytest.approx(3.6e9, rel=1e-3)


def test_histograms_are_small(tmp_path: Path) -> None:
    """A hundred seconds at 2,000 requests per second take less than 3 kB each, so ten minutes take less than 2 MB."""
    path = histograms.write(tmp_path, 1.7e9, [Part("a", 1, 0, random_samples(200_000, 99))])
    assert path.stat().st_size < 300_000
