"""k9 sends the load: one sample for each request, the warm-up's marked.

k9's Rust engine costs 30 µs of CPU a request; Locust's 200 to 440 µs took a third of the fast path's
throughput on the same machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from bookstore.guardian import Guardian, end_process
from bookstore.lab.invalid import Invalid
from bookstore.lab.results import Sample
from bookstore.lab.workload import Workload

SPARE_S: Final = 45
"""How much longer than planned k9 may take before it counts as stuck: it gives requests 30 s to end."""
MARGIN_S: Final = 0.5
"""How much longer than measured the load lasts: k9's clock starts before its first request does."""


class LoadError(Invalid):
    """The load generator failed: what was measured is not valid."""


_TELLING: Final = tuple(
    f'"metric":"{metric}"}}'.encode() for metric in ("http_reqs", "http_req_duration", "iteration_duration")
)


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
    workload: Workload, base: str, ids: Sequence[int], folder: Path, guardian: Guardian, tick: Callable[[float], None]
) -> list[Sample]:
    """Loads the service at `base` by `workload`, whose `{id}` is one of `ids`, each as likely as any other.

    Returns a sample for each request, the warm-up's too, in the order they were done. `tick` is called about
    ten times a second with the share of the time that is gone, 0 to 1. Raises LoadError.
    """
    seconds = workload.warm_up + workload.duration + MARGIN_S
    plan_file, samples_file, ids_file = folder / "plan.json", folder / "samples.jsonl", folder / "ids.csv"
    ask = workload.requests[0]
    url = base + ask.path_of("{{ books.id }}")
    plan: dict[str, Any] = {
        "options": {"vus": workload.concurrency, "duration": f"{seconds * 1000:.0f}ms"},
        "flows": {"default": [{"request": {"url": url, "name": ask.name, "headers": ask.headers}}]},
    }
    if "{id}" in ask.path:
        plan["feeders"] = {"books": {"file": str(ids_file), "mode": "random"}}
        ids_file.write_text("\n".join(["id", *map(str, ids)]))
    plan_file.write_bytes(msgspec.json.encode(plan))
    command = [
        sys.executable, "-P", "-m", "k9", "run", "--quiet", "--no-color", "--no-summary", "--discard-response-bodies",
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
            end_process(process, grace_s=2)
            guardian.forget("group", process.pid)
    if process.returncode != 0:
        told = (folder / "k9.log").read_text(errors="replace").strip()[-500:]
        raise LoadError(f"k9 ended with code {process.returncode}: {told}")
    samples = read_samples(samples_file)
    if samples[-1].done_s < workload.warm_up + workload.duration:  # each client always has a request on its way
        raise LoadError(f"no request ended after {samples[-1].done_s:.1f} s: the service hangs, or k9 ended early")
    return samples


def _wait(process: subprocess.Popen[bytes], seconds: float, tick: Callable[[float], None]) -> None:
    begin = time.monotonic()
    while (gone := time.monotonic() - begin) < seconds + SPARE_S:
        tick(min(gone / seconds, 1))
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.1)
            return
    raise LoadError(f"k9 did not end {SPARE_S} s after its time")


def read_samples(path: Path) -> list[Sample]:
    """The samples in k9's JSON lines. The first request's start is the load's start.

    A request without an answer has no `http_req_duration`, only a status of 0 and, next, the
    `iteration_duration` of its client.
    """
    decoder = msgspec.json.Decoder(_Line)
    points: list[tuple[float, float, int]] = []
    unanswered = 0
    with path.open("rb") as lines:
        for line in lines:
            if b'"Point"' not in line or not line.rstrip().endswith(_TELLING):
                continue
            it = decoder.decode(line)
            status = int(it.data.tags.status or 0)
            if it.metric == "http_reqs":
                unanswered += status == 0
            elif it.metric == "http_req_duration" or unanswered:
                unanswered -= it.metric == "iteration_duration"
                points.append((_epoch_s(it.data.time), it.data.value, status))
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
