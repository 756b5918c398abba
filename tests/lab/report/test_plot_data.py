from __future__ import annotations

import numpy as np
import pytest

from bookstore.lab.record import samples
from bookstore.lab.record.run_record import Histogram, Split
from bookstore.lab.record.samples import Samples
from bookstore.lab.report.plot_data import (
    MOST_POINTS,
    Line,
    by_kind,
    by_second,
    drop_unsampled,
    mean_split,
    percentiles,
    sum_histograms,
    thin,
)

from ..records import measured


def requests(done_s: list[float], latency_ms: list[float], kind: list[int] | None = None) -> Samples:
    columns = (done_s, latency_ms, latency_ms, [200] * len(done_s), kind or [0] * len(done_s))
    typed = zip(columns, samples.COLUMNS.values(), strict=True)
    return Samples(*(np.array(column, dtype) for column, dtype in typed))


def test_percentiles_are_measured_values_up_to_the_largest() -> None:
    """Each point is a measured latency; p50, p90 and p99 are among them, and the last is the largest."""
    latencies = np.random.default_rng(1).permutation(np.arange(1, 2001)).astype(np.float32)
    points = dict(percentiles(latencies))
    assert [points[share] for share in (0.5, 0.9, 0.99)] == [1000, 1800, 1980]
    assert list(points.values())[-1] == 2000
    assert set(points.values()) <= set(latencies.tolist())
    assert len(points) < 70


def test_percentiles_of_nothing_and_of_one() -> None:
    """No request gives no points; a single request gives its latency."""
    assert percentiles(np.empty(0, np.float32)) == []
    assert {ms for _, ms in percentiles(np.array([7], np.float32))} == {7.0}


def test_a_second_without_responses_is_a_gap() -> None:
    """Each second has its median, those of the warm-up at negative times; a second without responses has none."""
    lines = by_second(requests([-0.5, 0.1, 0.2, 0.3, 2.5], [90, 1, 3, 2, 8]))
    assert lines.at_s == [-0.5, 0.5, 1.5, 2.5]
    assert {line.name: line.values for line in lines.lines} == {"p50_ms": [90, 2, None, 8], "p99_ms": [90, 3, None, 8]}


def test_a_long_run_has_no_more_points_than_a_plot_shows() -> None:
    """An hour has at most MOST_POINTS steps."""
    moments = [float(second) for second in range(3600)]
    assert len(by_second(requests(moments, moments)).at_s) <= MOST_POINTS


def test_thinning_keeps_the_peak_of_all_lines() -> None:
    """Of 3,000 readings, MOST_POINTS remain; the one with the largest sum is among them, with both values."""
    one, other = [1.0] * 3000, [2.0] * 3000
    one[1234], other[1234] = 50.0, 7.0
    lines = thin([number / 4 for number in range(3000)], [Line("a", [*one]), Line("b", [*other])])
    assert len(lines.at_s) == MOST_POINTS
    at = lines.lines[0].values.index(50.0)
    assert (lines.lines[1].values[at], lines.at_s[at]) == (7.0, 308.5)


def test_skipped_readings_are_no_gaps() -> None:
    """Times without any reading are dropped; a gap in one of two lines remains."""
    lines = [Line("a", [1.0, None, None, 4.0]), Line("b", [1.0, None, None, None])]
    assert drop_unsampled([0, 1, 2, 3], lines) == ([0, 3], [Line("a", [1.0, 4.0]), Line("b", [1.0, None])])


def test_thinning_keeps_gaps() -> None:
    """A failed reading remains a gap if no thinning is needed."""
    assert thin([0, 1, 2], [Line("a", [1.0, None, 3.0])]).lines == [Line("a", [1.0, None, 3.0])]


def test_a_mean_split_adds_up() -> None:
    """Splits are weighted by requests, so the components still add up to the total."""
    rounds = [
        measured("a", requests=100, split=Split(10, 1, 4, 1, 3, 1)),
        measured("a", requests=300, split=Split(20, 2, 8, 2, 6, 2)),
        measured("a", requests=300),
    ]
    found = mean_split(rounds)
    assert found == Split(17.5, 1.75, 7, 1.75, 5.25, 1.75)
    assert mean_split(rounds[2:]) is None


def test_histograms_with_other_bounds_are_left_out() -> None:
    """Counts are added bucket by bucket if the bounds are equal."""
    parts = [Histogram([1], [2, 3], 1.5), Histogram([1], [10, 0], 2), Histogram([1, 2], [9, 9, 9], 9)]
    assert sum_histograms(parts) == Histogram([1], [12, 3], 3.5)
    assert sum_histograms([]) is None


@pytest.mark.parametrize(
    ("names", "found"), [(["list"], []), (["list", "detail"], [("list", 2, 5), ("detail", 1, 40)])]
)
def test_kinds_of_requests(names: list[str], found: list[tuple[str, int, float]]) -> None:
    """A workload of two requests has percentiles for each; a single one needs none."""
    kinds = by_kind(requests([0.1, 0.2, 0.3], [4, 5, 40], [0, 0, 1]), names)
    assert [(kind.name, kind.requests, kind.max_ms) for kind in kinds] == found
