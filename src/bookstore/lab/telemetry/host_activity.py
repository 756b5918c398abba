"""What else the machine did while a measurement was made: CPU of others, steal, pressure, jumps of the clock.

The kernel's own count of what all cores did, less what the run's processes used, is what others used. Time in
interrupts is left out: under load it is the loopback's, which carries the run's own requests.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from bookstore.lab.record.run_record import HostActivity
from bookstore.lab.telemetry.timeline import Timeline

STAT: Final = Path("/proc/stat")
PRESSURE: Final = Path("/proc/pressure/cpu")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class MachineCounters:
    """Counters of the whole machine; CPU in seconds, summed over its cores."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}
        self._ours_s = 0.0

    def read(self, ours: Mapping[int, float]) -> dict[str, float]:
        """The counters now, as far as the system tells them; `ours` is the CPU seconds of each of the run's
        processes since it began, by pid. One that was not there before counts whole, one that is gone with what
        it had used when it was seen last."""
        self._ours_s += sum(max(0.0, used - self._last.get(pid, 0.0)) for pid, used in ours.items())
        self._last.update(ours)
        values = {"ours_s": self._ours_s, "clock_s": time.time() - time.monotonic()}
        with suppress(OSError, ValueError):
            values |= parse_cpu_times(STAT.read_text())
        with suppress(OSError, ValueError):
            values["pressure_s"] = parse_pressure_s(PRESSURE.read_text())
        with suppress(OSError):
            values["load1"] = os.getloadavg()[0]
        return values


def parse_cpu_times(stat: str) -> dict[str, float]:
    """Of /proc/stat's first line (proc_stat(5)): busy_s by processes, steal_s by the hypervisor, all_s altogether."""
    ticks = [int(count) for count in stat.split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _wait, _irq, _softirq, steal = ticks[:8]
    return {
        "busy_s": (user + nice + system) / _TICKS_PER_S,
        "steal_s": steal / _TICKS_PER_S,
        "all_s": sum(ticks[:8]) / _TICKS_PER_S,
    }


def parse_pressure_s(text: str) -> float:
    """How long some process has waited for a CPU, since the machine started."""
    some = next(line for line in [*text.splitlines(), ""] if line.startswith("some") or not line)
    return int(some.rpartition("total=")[2]) / 1e6


def host_activity(timeline: Timeline, begin_s: float, end_s: float) -> HostActivity:
    """Of the machine's `timeline` between two moments. A figure that the system does not tell is None."""
    gained = {
        name: timeline.increase(name, begin_s, end_s)
        for name in ("busy_s", "ours_s", "steal_s", "all_s", "pressure_s")
    }  # fmt: skip
    everything = gained["all_s"] or None
    busy, ours, steal, pressure = gained["busy_s"], gained["ours_s"], gained["steal_s"], gained["pressure_s"]
    clocks = timeline.within("clock_s", begin_s, end_s)
    loads = timeline.within("load1", begin_s, end_s)
    return HostActivity(
        steal_ratio=steal / everything if everything and steal is not None else None,
        others_ratio=max(0.0, busy - ours) / everything
        if everything and busy is not None and ours is not None
        else None,
        pressure_ratio=pressure / (end_s - begin_s) if pressure is not None else None,
        load1=max(loads, default=None),
        clock_jump_s=max((abs(clock - clocks[0]) for clock in clocks), default=None),
    )
