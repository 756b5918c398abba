from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from bookstore.lab.analysis.validity import problems
from bookstore.lab.record.run_record import Generator, HostActivity
from bookstore.lab.telemetry import host_activity, processes
from bookstore.lab.telemetry.host_activity import MachineCounters, parse_cpu_times, parse_pressure_s
from bookstore.lab.telemetry.timeline import Reading, Timeline
from bookstore.lab.testbed.process import wait_until

WITHIN_S = 30
ONLY_LINUX = pytest.mark.skipif(not host_activity.STAT.exists(), reason="only Linux has /proc/stat")


def machine_timeline(**increases: float) -> Timeline:
    """Two readings, ten seconds apart, between which each counter increased by the given value."""
    return Timeline([Reading(at, {name: value * at / 10 for name, value in increases.items()}) for at in (0.0, 10.0)])


def test_parse_cpu_times() -> None:
    """busy_s excludes interrupts and waits for disks; all_s is the sum of all columns."""
    times = parse_cpu_times("cpu  100 10 50 1000 20 3 4 13 7 0\ncpu0 1 2 3\n")
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert times == pytest.approx({"busy_s": 160 * tick_s, "steal_s": 13 * tick_s, "all_s": 1200 * tick_s})


def test_pressure() -> None:
    """The total of the line `some` in seconds; text without that line is rejected."""
    text = "some avg10=1.43 avg60=5.38 avg300=3.61 total=2063968024\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    assert parse_pressure_s(text) == pytest.approx(2063.968024)
    with pytest.raises(ValueError, match="invalid literal"):
        parse_pressure_s("")


def test_shares() -> None:
    """Others' share is the CPU of all cores minus the run's own, divided by all cores."""
    activity = host_activity.host_activity(
        machine_timeline(busy_s=12, ours_s=10, steal_s=1, all_s=20, pressure_s=5, load1=3, clock_s=0.25), 0, 10
    )
    assert activity == HostActivity(steal_ratio=0.05, others_ratio=0.1, pressure_ratio=0.5, load1=3, clock_jump_s=0.25)


def test_missing_figures() -> None:
    """Figures the system does not provide are None; ticks that make the run exceed the total leave nothing for
    others."""
    assert host_activity.host_activity(Timeline([None, None]), 0, 10) == HostActivity()
    assert host_activity.host_activity(machine_timeline(busy_s=9, ours_s=10, all_s=20), 0, 10) == HostActivity(
        others_ratio=0
    )


@ONLY_LINUX
def test_ours() -> None:
    """A process counts in full from its first reading; one that has ended keeps its last value."""
    machine = MachineCounters()
    assert machine.read({1: 5.0})["ours_s"] == 5
    assert machine.read({1: 6.0, 2: 0.5})["ours_s"] == 6.5
    assert machine.read({2: 0.75})["ours_s"] == 6.75
    assert machine.read({})["busy_s"] > 0


@ONLY_LINUX
def test_a_busy_core_is_interference() -> None:
    """A foreign process that uses a whole core makes the measurement invalid (fault L7)."""
    machine, timeline = MachineCounters(), Timeline()

    def poll() -> float:
        timeline.readings.append(Reading(time.monotonic(), machine.read({os.getpid(): processes.cpu_s(os.getpid())})))
        last = timeline.readings[-1]
        return last.at_s if last else 0

    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy_process:
        begin_s = poll()
        assert wait_until(lambda: processes.cpu_s(busy_process.pid) > 0.5, WITHIN_S)
        end_s = poll()
        busy_process.kill()
    violations = problems(
        requests=1, errors=0, most_errors_ratio=0, steady=True, generator=Generator(), model="closed",
        quiet=host_activity.host_activity(timeline, begin_s, end_s), cores=os.cpu_count() or 1,
        workers_before=[1], workers_after=[1],
    )  # fmt: skip
    assert [problem.code for problem in violations if "other processes" in problem.told] == ["machine_busy"]
