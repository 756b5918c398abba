"""k9 sends the load: a warm-up until throughput is steady, then the measured seconds; one sample a request.

k9's Rust engine costs 30 µs of CPU a request; Locust's 200 to 440 µs took a third of the fast path's
throughput on the same machine. Each part has a k9 of its own, so that the measured one begins with the same keys
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
from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.load import k9_plan
from bookstore.lab.load.k9_output import Points
from bookstore.lab.load.steady_state import WINDOW_S, WINDOWS, is_steady
from bookstore.lab.record.run_record import Generator
from bookstore.lab.record.samples import Samples, concatenate, empty
from bookstore.lab.workload.spec import Workload
from bookstore.reaper import Reaper, end_process

VERSION: Final = "k9 0.1.0"
"""What a plan may hold and what its lines look like differs from version to version."""
SPARE_S: Final = 45
"""How much longer than planned k9 may take before it counts as stuck: it gives requests GRACE_S to end."""

_K9: Final = (sys.executable, "-P", "-m", "k9")
_POLL_S: Final = 0.1

Tick = Callable[[str, float], None]
"""Is told about ten times a second what is done, and the share of its time that is gone, 0 to 1."""


class LoadError(InvalidMeasurement):
    """The load generator failed: what was measured is not valid."""


class Target(NamedTuple):
    """The service at `base`, the catalogue's `ids`, and the bearer token for writes."""

    base: str
    ids: Sequence[int]
    token: str | None = None


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What was sent. `samples` are the warm-up's too, `done_s` negative there. `began_s` is when the measured load
    began, on time.monotonic()'s clock; `warm_up_s` how long before that the warm-up did. `steady` is False where
    the warm-up's cap came before the end of its trend; a cap too short to see one in counts as steady."""

    samples: Samples
    began_s: float
    warm_up_s: float
    steady: bool
    generator: Generator


def check() -> None:
    """Raises ConfigurationError where k9 is missing or is not the version that is known here."""
    result = subprocess.run([*_K9, "--version"], capture_output=True, text=True, check=False, timeout=60)
    if result.returncode or (found := result.stdout.strip()) != VERSION:
        what = (result.stderr.strip().splitlines() or ["nothing"])[-1] if result.returncode else found
        raise ConfigurationError(
            f"load generator: found {what}; allowed is {VERSION}: in a checkout pip install '.[lab]'"
        )


def send(
    workload: Workload,
    target: Target,
    folder: Path,
    reaper: Reaper,
    tick: Tick,
    *,
    seed: int,
    pid: Callable[[int], None] | None = None,
) -> LoadResult:
    """Loads the service by `workload`; `seed` decides the keys. `pid` is told each generator's process id.

    Raises LoadError where k9 fails, or ends before its time.
    """
    sender = _Sender(workload, target, folder, reaper, pid)
    warm, is_warm = sender.warm_up(seed, tick)
    epoch_s = time.time() - time.monotonic()  # k9 tells the time of day
    points, cpu = sender.measure(seed, tick)
    zero_s = points.began_s
    began_s = zero_s - epoch_s
    samples = points.samples(zero_s)
    if workload.model == "closed" and not workload.stages and samples.done_s[-1] < workload.duration:
        last_s = samples.done_s[-1]  # each client always has a request on its way
        raise LoadError(f"no request ended after {last_s:.1f} s: the service hangs, or k9 ended early")
    generator = Generator(
        cpu_ratio=_cpu_ratio(cpu, began_s, began_s + workload.duration),
        late_ms=float(np.percentile(points.late_ms, 99)) if len(points.late_ms) else None,
        dropped=points.dropped,
    )
    before = warm.samples(zero_s) if len(warm) else empty()
    warm_up_s = zero_s - warm.began_s if len(warm) else 0.0
    return LoadResult(joined([before, samples]), began_s, warm_up_s, is_warm, generator)


class _Sender:
    def __init__(
        self,
        workload: Workload,
        target: Target,
        folder: Path,
        reaper: Reaper,
        pid: Callable[[int], None] | None,
    ) -> None:
        self.workload = workload
        self.target = target
        self.folder = folder
        self.reaper = reaper
        self.pid = pid
        self.is_open = workload.model == "open"

    def warm_up(self, seed: int, tick: Tick) -> tuple[Points, bool]:
        """Ends when the load is steady, at the latest at the cap; and whether it is steady."""
        cap_s = self.workload.warm_up
        points = Points(self.folder / "warm_up.jsonl", is_open=self.is_open)
        if not cap_s:
            return points, True

        def look(gone_s: float, _: int) -> bool:
            tick("warms up", min(gone_s / cap_s, 1))
            points.read()
            return gone_s > WINDOWS * WINDOW_S and is_steady(points.samples(0), is_open=self.is_open)

        was_stopped = self._run("warm_up", k9_plan.warm_up, [seed, 0], cap_s, look)
        points.read()
        points.path.unlink(missing_ok=True)
        is_seen = cap_s > WINDOWS * WINDOW_S
        return points, was_stopped or not is_seen or is_steady(points.samples(0), is_open=self.is_open)

    def measure(self, seed: int, tick: Tick) -> tuple[Points, list[tuple[float, float]]]:
        """The points, and k9's CPU seconds by time.monotonic()."""
        seconds = self.workload.duration
        points = Points(self.folder / "samples.jsonl", is_open=self.is_open)
        cpu: list[tuple[float, float]] = []

        def look(gone_s: float, process: int) -> bool:
            tick("is loaded", min(gone_s / seconds, 1))
            with suppress(psutil.Error):
                times = psutil.Process(process).cpu_times()
                cpu.append((time.monotonic(), times.user + times.system))
            return False

        began_s = time.monotonic()
        self._run("samples", k9_plan.plan, [seed, 1], seconds, look)
        if (lasted_s := time.monotonic() - began_s) < seconds:
            raise LoadError(f"k9 ended after {lasted_s:.1f} of {seconds:g} s")
        points.read()
        points.path.unlink(missing_ok=True)
        if not len(points):
            raise LoadError("k9 sent no request")
        if points.unpaired:
            raise LoadError(f"k9 wrote {points.unpaired} requests without their ends: they cannot be told apart")
        return points, cpu

    def _run(
        self,
        name: str,
        plan: Callable[..., dict[str, Any]],
        seed: Sequence[int],
        seconds: float,
        look: Callable[[float, int], bool],
    ) -> bool:
        """One k9 to its end; or until `look`, called with the seconds that are gone and its process id, is True,
        as this is then."""
        plan_file, keys_file = self.folder / f"{name}-plan.json", self.folder / f"{name}-keys.csv"
        has_token = self.target.token is not None
        planned = plan(self.workload, self.target.base, keys_file, has_token=has_token)
        if "feeders" in planned:
            k9_plan.write_keys(keys_file, self.workload, self.target.ids, seed)
        plan_file.write_bytes(msgspec.json.encode(planned))
        samples_file = self.folder / f"{name}.jsonl"
        with suppress(OSError):
            samples_file.unlink()  # of a load that failed
        command = [
            *_K9, "run", "--quiet", "--no-color", "--no-summary", "--discard-response-bodies", "--max-redirects", "0",
            "--system-tags", "status", "--out", f"json={samples_file}", str(plan_file),
        ]  # fmt: skip
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        environment["TOKIO_WORKER_THREADS"] = "1"  # the lines of one request stand together only with one thread
        if self.target.token is not None:
            environment[k9_plan.TOKEN] = self.target.token
        with (self.folder / "k9.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
            self.reaper.watch("group", process.pid)
            try:
                if self.pid:
                    self.pid(process.pid)
                was_stopped = _wait(process, seconds, look)
            finally:
                end_process(process, grace_s=2)
                self.reaper.forget("group", process.pid)
        if process.returncode != 0 and not was_stopped:
            told = (self.folder / "k9.log").read_text(errors="replace").strip()[-500:]
            raise LoadError(f"k9 ended with code {process.returncode}: {told}")
        return was_stopped


def _wait(process: subprocess.Popen[bytes], seconds: float, look: Callable[[float, int], bool]) -> bool:
    """Until k9 ends by itself, or `look` had it stopped (True)."""
    begin = time.monotonic()
    was_stopped = False
    while (gone := time.monotonic() - begin) < seconds + SPARE_S:
        if not was_stopped and look(gone, process.pid):
            was_stopped = True
            process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_POLL_S)
            return was_stopped
    raise LoadError(f"k9 did not end {SPARE_S} s after its time")


def _cpu_ratio(cpu: Sequence[tuple[float, float]], begin_s: float, end_s: float) -> float | None:
    within = [(at_s, used_s) for at_s, used_s in cpu if begin_s <= at_s <= end_s]
    if len(within) < 2:
        return None
    (first_s, before_s), (last_s, after_s) = within[0], within[-1]
    return (after_s - before_s) / (last_s - first_s)
