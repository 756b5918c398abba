from __future__ import annotations

from pathlib import Path

import pytest

from bookstore.lab.load.k9_output import Points


def line(metric: str, second: float, value: float, status: str = "200", kind: str = "0") -> str:
    tags = f'"kind":"{kind}","status":"{status}"' if metric.startswith("http") else ""
    time = f"2026-01-31T08:00:0{second:.9f}Z"
    return f'{{"type":"Point","data":{{"time":"{time}","value":{value},"tags":{{{tags}}}}},"metric":"{metric}"}}\n'


def test_lines_come_in_pieces(tmp_path: Path) -> None:
    """Reading in pieces, with lines cut in two, gives the same samples as reading at once."""
    text = line("http_reqs", 1, 1) + line("http_req_duration", 1, 20.5) + line("iteration_duration", 1, 21)
    text += line("http_reqs", 2.25, 1, kind="3") + line("http_req_duration", 2.25, 10)
    text += line("iteration_duration", 2.25, 11)
    path = tmp_path / "samples.jsonl"
    points = Points(path, is_open=False)
    points.read()
    assert len(points) == 0
    for end in range(0, len(text) + 100, 100):
        path.write_text(text[:end])
        points.read()
    samples = points.samples(points.began_s)
    assert samples.done_s.tolist() == pytest.approx([0.0205, 1.2705], abs=1e-6)
    assert samples.latency_ms.tolist() == [20.5, 10]
    assert samples.kind.tolist() == [0, 3]


def test_unanswered(tmp_path: Path) -> None:
    """A request without an answer took as long as its iteration."""
    path = tmp_path / "samples.jsonl"
    path.write_text(line("http_reqs", 1, 1, status="0") + line("iteration_duration", 1, 30))
    points = Points(path, is_open=False)
    points.read()
    samples = points.samples(0)
    assert (samples.status.tolist(), samples.latency_ms.tolist(), samples.service_ms.tolist()) == ([0], [30], [30])


def test_open(tmp_path: Path) -> None:
    """Open model: latency counts from the planned moment and service time from sending; lateness is the difference of
    the iteration's durations. Dropped iterations are counted."""
    path = tmp_path / "samples.jsonl"
    path.write_text(
        line("http_reqs", 1, 1)
        + line("http_req_duration", 1, 20)
        + line("iteration_duration", 1, 25)
        + line("iteration_duration_corrected", 1, 125)
        + line("dropped_iterations", 1, 2)
        + '{"type":"Metric","data":{"name":"http_reqs"},"metric":"http_reqs"}\n'
    )
    points = Points(path, is_open=True)
    points.read()
    samples = points.samples(0)
    assert (samples.latency_ms.tolist(), samples.service_ms.tolist()) == ([125], [20])
    assert points.late_ms.tolist() == [100]
    assert (points.dropped, points.unpaired) == (2, 0)


def test_unpaired(tmp_path: Path) -> None:
    """Interleaved lines of two requests are detected."""
    path = tmp_path / "samples.jsonl"
    path.write_text(line("http_reqs", 1, 1) * 2 + line("http_req_duration", 1, 20) * 2)
    points = Points(path, is_open=False)
    points.read()
    assert points.unpaired == 1
