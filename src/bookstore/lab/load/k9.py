"""Sends load with k9: a warm-up until throughput is steady, then the measured load, with one sample per request.

k9's Rust engine costs 30 µs of CPU per request; Locust's 200 to 440 µs took a third of the fast path's throughput on
the same machine. Warm-up and measurement are separate k9 processes, so that the measured load starts with the same keys
however long the warm-up was.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import psutil

from bookstore.exceptions import ConfigurationError
from bookstore.lab.exceptions import InvalidMeasurement, NoAnswer
from bookstore.lab.load import k9_plan
from bookstore.lab.load.k9_output import Points
from bookstore.lab.load.steady_state import WINDOW_S, WINDOWS, is_steady
from bookstore.lab.record.run_record import Generator
from bookstore.lab.record.samples import Samples, concatenate, empty
from bookstore.lab.workload.spec import Workload
from bookstore.reaper import Reaper, end_process

VERSION: Final = "k9 0.1.0"
"""The supported version: plan format and output lines differ between versions."""
SPARE_S: Final = 45
"""Seconds beyond the planned time before k9 counts as stuck; k9 itself gives requests in flight GRACE_S."""
UNANSWERED_RATIO: Final = 0.01
"""Share of the open model's planned requests that may be missing: k9 rounds the moments of its schedule."""

_K9: Final = (sys.executable, "-P", "-m", "k9")
_POLL_S: Final = 0.1

Tick = Callable[[str, float], None]
"""Called about ten times per second with the activity and the elapsed share of its time, 0 to 1."""


class LoadError(InvalidMeasurement):
    """The load generator failed, so the measurement is not valid."""


class NoResponseError(LoadError, NoAnswer):
    """The service stopped answering under load."""


class Target(NamedTuple):
    """The service's base URL, the catalogue's book `ids`, and the bearer token for writes."""

    base: str
    ids: Sequence[int]
    token: str | None = None


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The load that was sent.

    `samples` include the warm-up's, with negative `done_s`. `began_s` is the start of the measured load on
    time.monotonic()'s clock, `warm_up_s` the length of the warm-up before it. `steady` is False if the warm-up reached
    its cap while there was still a trend; a cap too short to detect a trend counts as steady.
    """

    samples: Samples
    began_s: float
    warm_up_s: float
    steady: bool
    generator: Generator


def check() -> None:
    """Raise ConfigurationError if k9 is missing or has an unsupported version."""
    result = subprocess.run([*_K9, "--version"], capture_output=True, text=True, check=False, timeout=60)
    if result.returncode or (version := result.stdout.strip()) != VERSION:
        output = (result.stderr.strip().splitlines() or ["nothing"])[-1] if result.returncode else version
        raise ConfigurationError(
            f"load generator: found {output}; allowed is {VERSION}; in a checkout, run: pip install '.[lab]'"
        )


def send(
    workload: Workload,
    target: Target,
    folder: Path,
    reaper: Reaper,
    tick: Tick,
    *,
    seed: int,
    on_pid: Callable[[int], None] | None = None,
) -> LoadResult:
    """Load the service as `workload` says and return the result.

    `seed` determines the keys; `on_pid` is called with each generator process's id. Raises LoadError if k9 fails or
    ends early, and NoResponseError if requests remain without an answer.
    """
    sender = _Sender(workload, target, folder, reaper, on_pid)
    warm_up, was_steady = sender.warm_up(seed, tick)
    epoch_s = time.time() - time.monotonic()  # k9's output has the time of day
    points, cpu_times = sender.measure(seed, tick)
    zero_s = points.began_s
    began_s = zero_s - epoch_s
    samples = points.samples(zero_s)
    _check_answered(workload, samples, points.dropped)
    generator = Generator(
        cpu_ratio=_cpu_ratio(cpu_times, began_s, began_s + workload.duration),
        late_ms=float(np.percentile(points.late_ms, 99)) if len(points.late_ms) else None,
        dropped=points.dropped,
    )
    warm_up_samples = warm_up.samples(zero_s) if len(warm_up) else empty()
    warm_up_s = zero_s - warm_up.began_s if len(warm_up) else 0.0
    return LoadResult(concatenate([warm_up_samples, samples]), began_s, warm_up_s, was_steady, generator)


def _check_answered(workload: Workload, samples: Samples, dropped: int) -> None:
    """Raise NoResponseError if k9 gave up requests under constant load: its output has only those that ended."""
    if workload.stages:
        return
    if workload.model == "closed":  # each client always has a request in flight
        if (last_s := samples.done_s[-1]) < workload.duration:
            raise NoResponseError(f"no request completed after {last_s:.1f} s: the service hangs")
        return
    planned = workload.start * workload.duration
    sent_s = samples.done_s - samples.latency_ms / 1000
    unanswered = planned - dropped - int((sent_s < workload.duration).sum())
    if unanswered > 1 + planned * UNANSWERED_RATIO:
        raise NoResponseError(
            f"{unanswered:.0f} of {planned:.0f} requests got no response within {k9_plan.GRACE_S} s of the end"
        )


class _Sender:
    def __init__(
        self,
        workload: Workload,
        target: Target,
        folder: Path,
        reaper: Reaper,
        on_pid: Callable[[int], None] | None,
    ) -> None:
        self.workload = workload
        self.target = target
        self.folder = folder
        self.reaper = reaper
        self.on_pid = on_pid
        self.is_open = workload.model == "open"

    def warm_up(self, seed: int, tick: Tick) -> tuple[Points, bool]:
        """Send load until it is steady, at most for the cap; return the points and whether the load was steady."""
        cap_s = self.workload.warm_up
        points = Points(self.folder / "warm_up.jsonl", is_open=self.is_open)
        if not cap_s:
            return points, True

        def poll(elapsed_s: float, _: int) -> bool:
            tick("warming up", min(elapsed_s / cap_s, 1))
            points.read()
            return elapsed_s > WINDOWS * WINDOW_S and is_steady(points.samples(0), is_open=self.is_open)

        was_stopped = self._run("warm_up", k9_plan.warm_up, [seed, 0], cap_s, poll)
        points.read()
        points.path.unlink(missing_ok=True)
        is_long_enough = cap_s > WINDOWS * WINDOW_S
        return points, was_stopped or not is_long_enough or is_steady(points.samples(0), is_open=self.is_open)

    def measure(self, seed: int, tick: Tick) -> tuple[Points, list[tuple[float, float]]]:
        """Return the points, and k9's CPU seconds as (time.monotonic(), seconds)."""
        seconds = self.workload.duration
        points = Points(self.folder / "samples.jsonl", is_open=self.is_open)
        cpu_times: list[tuple[float, float]] = []

        def poll(elapsed_s: float, pid: int) -> bool:
            tick("measuring", min(elapsed_s / seconds, 1))
            with suppress(psutil.Error):
                times = psutil.Process(pid).cpu_times()
                cpu_times.append((time.monotonic(), times.user + times.system))
            return False

        began_s = time.monotonic()
        self._run("samples", k9_plan.plan, [seed, 1], seconds, poll)
        if (lasted_s := time.monotonic() - began_s) < seconds:
            raise LoadError(f"k9 ended after {lasted_s:.1f} of {seconds:g} s")
        points.read()
        points.path.unlink(missing_ok=True)
        if not len(points):
            raise NoResponseError(f"no request got a response within {lasted_s:.0f} s")
        if points.unpaired:
            raise LoadError(f"k9's output has {points.unpaired} requests without an end: samples cannot be assigned")
        return points, cpu_times

    def _run(
        self,
        name: str,
        plan: Callable[..., dict[str, Any]],
        seed: Sequence[int],
        seconds: float,
        poll: Callable[[float, int], bool],
    ) -> bool:
        """Run k9 to its end, or until `poll(elapsed_s, pid)` returns True. Return whether `poll` stopped it."""
        plan_file, keys_file = self.folder / f"{name}-plan.json", self.folder / f"{name}-keys.csv"
        has_token = self.target.token is not None
        k9_input = plan(self.workload, self.target.base, keys_file, has_token=has_token)
        if "feeders" in k9_input:
            k9_plan.write_keys(keys_file, self.workload, self.target.ids, seed)
        plan_file.write_bytes(msgspec.json.encode(k9_input))
        samples_file = self.folder / f"{name}.jsonl"
        with suppress(OSError):
            samples_file.unlink()  # left by a load that failed
        command = [
            *_K9, "run", "--quiet", "--no-color", "--no-summary", "--discard-response-bodies", "--max-redirects", "0",
            "--system-tags", "status", "--out", f"json={samples_file}", str(plan_file),
        ]  # fmt: skip
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        environment["TOKIO_WORKER_THREADS"] = "1"  # only with one thread are a request's lines consecutive
        if self.target.token is not None:
            environment[k9_plan.TOKEN] = self.target.token
        with (self.folder / "k9.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
            self.reaper.watch("group", process.pid)
            try:
                if self.on_pid:
                    self.on_pid(process.pid)
                was_stopped = _wait(process, seconds, poll)
            finally:
                end_process(process, grace_s=2)
                self.reaper.forget("group", process.pid)
        if process.returncode != 0 and not was_stopped:
            log_tail = (self.folder / "k9.log").read_text(errors="replace").strip()[-500:]
            raise LoadError(f"k9 exited with code {process.returncode}: {log_tail}")
        return was_stopped


def _wait(process: subprocess.Popen[bytes], seconds: float, poll: Callable[[float, int], bool]) -> bool:
    """Wait until k9 ends by itself, or until `poll` has it stopped (True)."""
    begin = time.monotonic()
    was_stopped = False
    while (elapsed_s := time.monotonic() - begin) < seconds + SPARE_S:
        if not was_stopped and poll(elapsed_s, process.pid):
            was_stopped = True
            process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_POLL_S)
            return was_stopped
    raise LoadError(f"k9 did not end within {SPARE_S} s after its planned time")


def _cpu_ratio(cpu_times: Sequence[tuple[float, float]], begin_s: float, end_s: float) -> float | None:
    within = [(at_s, used_s) for at_s, used_s in cpu_times if begin_s <= at_s <= end_s]
    if len(within) < 2:
        return None
    (first_s, before_s), (last_s, after_s) = within[0], within[-1]
    return (after_s - before_s) / (last_s - first_s)
