"""k9 sends the load: one sample for each request, the warm-up's marked.

k9's Rust engine costs 30 µs of CPU a request; Locust's 200 to 440 µs took a third of the fast path's
throughput on the same machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from bookstore.guardian import Guardian, end_group
from bookstore.lab.results import Sample
from bookstore.lab.workload import Workload

SPARE_S: Final = 30
"""How much longer than planned k9 may take before it counts as stuck."""


class LoadError(Exception):
    """The load generator failed: what was measured is not valid."""


class _Tags(msgspec.Struct):
    status: str = "0"


class _Data(msgspec.Struct):
    time: str = ""
    value: float = 0.0
    tags: _Tags = msgspec.field(default_factory=_Tags)


class _Line(msgspec.Struct):
    type: str
    metric: str
    data: _Data


def send(
    workload: Workload, base: str, books: int, folder: Path, guardian: Guardian, tick: Callable[[float], None]
) -> list[Sample]:
    """Loads the service at `base` by `workload` on a catalogue of `books` books, ids 1 to `books`.

    Returns a sample for each request, the warm-up's too, in the order they were done. `tick` is called about
    ten times a second with the seconds gone by. Raises LoadError.
    """
    seconds = workload.warm_up + workload.duration
    url = workload.url(base, f"{{{{ randomInt(1, {books}) }}}}")
    plan: dict[str, Any] = {
        "options": {"vus": workload.concurrency, "duration": f"{seconds * 1000:.0f}ms"},
        "flows": {"default": [{"request": {"url": url, "name": workload.path}}]},
    }
    plan_file, samples_file = folder / "plan.json", folder / "samples.jsonl"
    plan_file.write_bytes(msgspec.json.encode(plan))
    command = [
        sys.executable, "-m", "k9", "run", "--quiet", "--no-color", "--no-summary", "--discard-response-bodies",
        "--system-tags", "status", "--out", f"json={samples_file}", str(plan_file),
    ]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    with (folder / "k9.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        guardian.watch("group", process.pid)
        try:
            _wait(process, seconds, tick)
        finally:
            end_group(process.pid, grace_s=2)
            process.wait()
            guardian.forget("group", process.pid)
    if process.returncode != 0:
        told = (folder / "k9.log").read_text(errors="replace").strip()[-500:]
        raise LoadError(f"k9 ended with code {process.returncode}: {told}")
    return read_samples(samples_file)


def _wait(process: subprocess.Popen[bytes], seconds: float, tick: Callable[[float], None]) -> None:
    gone = 0.0
    while gone < seconds + SPARE_S:
        try:
            process.wait(timeout=0.1)
            return
        except subprocess.TimeoutExpired:
            gone += 0.1
            tick(min(gone, seconds))
    raise LoadError(f"k9 did not end {SPARE_S} s after its time")


def read_samples(path: Path) -> list[Sample]:
    """The samples in k9's JSON lines. The first request's start is the load's start."""
    decoder = msgspec.json.Decoder(_Line)
    points: list[tuple[float, float, int]] = []
    with path.open("rb") as lines:
        for line in lines:
            if b'"http_req_duration"' not in line or b'"Point"' not in line:
                continue
            data = decoder.decode(line).data
            points.append((_epoch_s(data.time), data.value, int(data.tags.status or 0)))
    if not points:
        raise LoadError("k9 sent no request")
    points.sort()
    start = min(done - duration / 1000 for done, duration, _ in points)
    return [Sample(round(done - start, 6), round(duration, 4), status) for done, duration, status in points]


def measured(samples: list[Sample], workload: Workload) -> list[Sample]:
    """Those done within the `duration` seconds that follow the warm-up."""
    begin, end = workload.warm_up, workload.warm_up + workload.duration
    return [sample for sample in samples if begin <= sample.done_s < end]


def _epoch_s(text: str) -> float:
    """k9's `2026-01-31T08:00:00.123456789Z` -> seconds; Python's own parser knows six digits only."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{fraction or 0}")
