"""Whether a measurement reflects the service or a disturbance. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from bookstore.lab.record.run_record import Generator, HostActivity, Problem

GENERATOR_CPU_RATIO: Final = 0.9
"""Of one core. A load generator without CPU to spare limits the throughput, and its own waits are part of the
latencies."""
GENERATOR_LATE_MS: Final = 10.0
"""At the 99th percentile. In the open model latency counts from the planned moment and includes the generator's
lateness: a larger value in 1 % of requests would be most of a fast profile's p99."""
OTHERS_RATIO: Final = 0.1
OTHERS_CORES: Final = 0.5
"""Limit for other processes: a tenth of all cores, but at most half a core, so that a process that uses a whole core
is found on machines of any size. Measured on 2 cores under asyncpg-json and five clients, 4 s each: 0 to 0.6 % of all
cores in ten quiet runs, 33 to 35 % in nine runs beside a process that used all it could get of a core."""
STEAL_RATIO: Final = 0.05
"""Of all cores: time that the hypervisor gave to other machines. In quiet runs it was 0 to 0.9 %."""
CLOCK_JUMP_S: Final = 0.1
"""NTP slews a clock, which moves both of the clocks compared here; only a step moves one alone."""


def problems(
    *,
    requests: int,
    errors: int,
    most_errors_ratio: float,
    steady: bool,
    generator: Generator,
    model: Literal["closed", "open"],
    quiet: HostActivity,
    cores: int,
    workers_before: Sequence[int],
    workers_after: Sequence[int] | None,
) -> list[Problem]:
    """Return why the measurement is invalid; empty if it is valid.

    `cores` is the number of the machine's cores, os.cpu_count(), to which the ratios in `quiet` refer.
    `workers_after` is None if the service ended early. An unknown figure is no problem, because not every system
    provides each.

    Pressure (PSI) and the load average are stored but not judged: the run's own processes wait for a CPU whenever the
    load is as high as it should be. Pressure was 42 to 55 % in quiet runs and 59 to 71 % beside a busy core, too
    close for a limit. The load average looks back a minute, longer than a round.
    """
    candidates = [
        _error_problem(requests, errors, most_errors_ratio),
        *_generator_problems(generator, model),
        *_machine_problems(quiet, cores),
        None if steady else Problem("not_steady", "throughput was still changing at the end of the warm-up"),
        _worker_problem(workers_before, workers_after),
    ]
    return [candidate for candidate in candidates if candidate]


def _error_problem(requests: int, errors: int, most_ratio: float) -> Problem | None:
    if not requests:
        return Problem("errors", "no request completed")
    if errors / requests <= most_ratio:
        return None
    return Problem(
        "errors", f"{errors} of {requests} requests failed: {errors / requests:.2%} (limit: {most_ratio:.2%})"
    )


def _generator_problems(generator: Generator, model: str) -> list[Problem]:
    problems = []
    if generator.cpu_ratio is not None and generator.cpu_ratio > GENERATOR_CPU_RATIO:
        reason = f"the load generator used {generator.cpu_ratio:.0%} of a core (limit: {GENERATOR_CPU_RATIO:.0%})"
        problems.append(Problem("generator_busy", reason))
    if model == "open" and generator.late_ms is not None and generator.late_ms > GENERATOR_LATE_MS:
        reason = f"1 % of requests left {generator.late_ms:.1f} ms late or more (limit: {GENERATOR_LATE_MS:g} ms)"
        problems.append(Problem("generator_late", reason))
    if model == "open" and generator.dropped:
        problems.append(Problem("generator_late", f"{generator.dropped} planned requests were never sent (limit: 0)"))
    return problems


def _machine_problems(activity: HostActivity, cores: int) -> list[Problem]:
    problems = []
    others_limit = min(OTHERS_RATIO, OTHERS_CORES / cores)
    if activity.others_ratio is not None and activity.others_ratio > others_limit:
        reason = f"other processes used {activity.others_ratio:.1%} of all cores (limit: {others_limit:.1%})"
        problems.append(Problem("machine_busy", reason))
    if activity.steal_ratio is not None and activity.steal_ratio > STEAL_RATIO:
        reason = f"the hypervisor took {activity.steal_ratio:.1%} of all cores (limit: {STEAL_RATIO:.0%})"
        problems.append(Problem("machine_busy", reason))
    if activity.clock_jump_s is not None and activity.clock_jump_s > CLOCK_JUMP_S:
        jump_s = activity.clock_jump_s
        reason = f"the wall clock moved {jump_s:.3f} s against the monotonic clock (limit: {CLOCK_JUMP_S:g} s)"
        problems.append(Problem("clock_jump", reason))
    return problems


def _worker_problem(before: Sequence[int], after: Sequence[int] | None) -> Problem | None:
    if after is None:
        return Problem("server_died", "the service ended during the measurement")
    if lost := sorted(set(before) - set(after)):
        return Problem("worker_replaced", f"worker {', '.join(map(str, lost))} ended during the measurement")
    if added := sorted(set(after) - set(before)):
        return Problem("worker_replaced", f"worker {', '.join(map(str, added))} started during the measurement")
    return None
