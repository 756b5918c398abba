"""Interference from the rest of the machine during a measurement: other processes' CPU, steal, pressure, clock jumps.

CPU time of others is the kernel's total for all cores minus the time used by the run's processes. Time in interrupts
is excluded: under load it belongs to the loopback interface, which carries the run's own requests.
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
        """Return the counters now, as far as the system provides them.

        `ours` is the CPU seconds used so far by each of the run's processes, by pid. A process seen for the first
        time counts in full; one that has ended counts with its last value.
        """
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
    """Parse the first line of /proc/stat (proc_stat(5)): busy_s of processes, steal_s of the hypervisor, and the
    total all_s."""
    ticks = [int(count) for count in stat.split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _wait, _irq, _softirq, steal = ticks[:8]
    return {
        "busy_s": (user + nice + system) / _TICKS_PER_S,
        "steal_s": steal / _TICKS_PER_S,
        "all_s": sum(ticks[:8]) / _TICKS_PER_S,
    }


def parse_pressure_s(text: str) -> float:
    """Return for how many seconds some process has waited for a CPU since boot."""
    some = next(line for line in [*text.splitlines(), ""] if line.startswith("some") or not line)
    return int(some.rpartition("total=")[2]) / 1e6


def host_activity(timeline: Timeline, begin_s: float, end_s: float) -> HostActivity:
    """Return the machine's activity between two moments of `timeline`; figures the system does not provide are None."""
    increases = {
        name: timeline.increase(name, begin_s, end_s)
        for name in ("busy_s", "ours_s", "steal_s", "all_s", "pressure_s")
    }  # fmt: skip
    all_s = increases["all_s"] or None
    busy_s, ours_s, steal_s, pressure_s = (
        increases["busy_s"],
        increases["ours_s"],
        increases["steal_s"],
        increases["pressure_s"],
    )
    clocks = timeline.within("clock_s", begin_s, end_s)
    loads = timeline.within("load1", begin_s, end_s)
    return HostActivity(
        steal_ratio=steal_s / all_s if all_s and steal_s is not None else None,
        others_ratio=max(0.0, busy_s - ours_s) / all_s if all_s and busy_s is not None and ours_s is not None else None,
        pressure_ratio=pressure_s / (end_s - begin_s) if pressure_s is not None else None,
        load1=max(loads, default=None),
        clock_jump_s=max((abs(clock - clocks[0]) for clock in clocks), default=None),
    )
