"""Whether a measurement tells of the service, or of what disturbed it. Pure: figures in, problems out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from bookstore.lab.record.run_record import Generator, HostActivity, Problem

GENERATOR_CPU_RATIO: Final = 0.9
"""Of one core: a load generator that has no more is what limits the throughput, and its own waits are in the
latencies."""
GENERATOR_LATE_MS: Final = 10.0
"""At the 99th percentile. In the open model latency counts from the planned moment, so that a generator's lateness is
in it: more than this in one request of a hundred would be most of a fast profile's p99."""
OTHERS_RATIO: Final = 0.1
OTHERS_CORES: Final = 0.5
"""What other processes may use: a tenth of all cores, and on a large machine half a core at most, so that one
process that burns a core is found on any. Measured on 2 cores under asyncpg-json and five clients, 4 s each: 0 to 0.6 %
of all cores in ten quiet runs, 33 to 35 % in nine beside one process that burned what it got of a core."""
STEAL_RATIO: Final = 0.05
"""Of all cores: time that the hypervisor gave to other machines. In quiet runs it was 0 to 0.9 %."""
CLOCK_JUMP_S: Final = 0.1
"""A clock that is kept by NTP is slewed, which moves both of the clocks compared here; only a step moves one."""


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
    """Why the measurement is not valid; empty where it is.

    `cores` are the machine's, which the ratios of `quiet` are of: os.cpu_count(). `workers_after` is None where the
    service did not live to the end. A figure that is not known is no problem: not every system tells each.
    Pressure (PSI) and the load average are kept and not judged: the run's own processes wait for a CPU whenever
    the load is as high as it should be. The quiet runs had a pressure of 42 to 55 %, those beside a burned core
    59 to 71 %: too near for a limit. The load average looks back a minute, further than a round is long.
    """
    found = [
        _error_problem(requests, errors, most_errors_ratio),
        *_generator_problems(generator, model),
        *_machine_problems(quiet, cores),
        None if steady else Problem("not_steady", "the throughput still changed when the warm-up's time was over"),
        _worker_problem(workers_before, workers_after),
    ]
    return [problem for problem in found if problem]


def _error_problem(requests: int, errors: int, most_ratio: float) -> Problem | None:
    if not requests:
        return Problem("errors", "no request was done")
    if errors / requests <= most_ratio:
        return None
    return Problem("errors", f"{errors} of {requests} requests failed, {errors / requests:.2%}; {most_ratio:.2%} may")


def _generator_problems(it: Generator, model: str) -> list[Problem]:
    found = []
    if it.cpu_ratio is not None and it.cpu_ratio > GENERATOR_CPU_RATIO:
        told = f"the load generator used {it.cpu_ratio:.0%} of a core; {GENERATOR_CPU_RATIO:.0%} may be"
        found.append(Problem("generator_busy", told))
    if model == "open" and it.late_ms is not None and it.late_ms > GENERATOR_LATE_MS:
        told = f"1 % of the requests were sent {it.late_ms:.1f} ms late or more; {GENERATOR_LATE_MS:g} ms may be"
        found.append(Problem("generator_late", told))
    if model == "open" and it.dropped:
        found.append(Problem("generator_late", f"{it.dropped} planned requests were never sent; none may be left out"))
    return found


def _machine_problems(it: HostActivity, cores: int) -> list[Problem]:
    found = []
    others_limit = min(OTHERS_RATIO, OTHERS_CORES / cores)
    if it.others_ratio is not None and it.others_ratio > others_limit:
        told = f"other processes used {it.others_ratio:.1%} of all cores; {others_limit:.1%} may be"
        found.append(Problem("machine_busy", told))
    if it.steal_ratio is not None and it.steal_ratio > STEAL_RATIO:
        told = f"the hypervisor took {it.steal_ratio:.1%} of all cores; {STEAL_RATIO:.0%} may be"
        found.append(Problem("machine_busy", told))
    if it.clock_jump_s is not None and it.clock_jump_s > CLOCK_JUMP_S:
        told = f"the wall clock moved {it.clock_jump_s:.3f} s against the steady one; {CLOCK_JUMP_S:g} s may be"
        found.append(Problem("clock_jump", told))
    return found


def _worker_problem(before: Sequence[int], after: Sequence[int] | None) -> Problem | None:
    if after is None:
        return Problem("server_died", "the service ended while it was measured")
    if lost := sorted(set(before) - set(after)):
        return Problem("worker_replaced", f"worker {', '.join(map(str, lost))} ended while it was measured")
    if more := sorted(set(after) - set(before)):
        return Problem("worker_replaced", f"worker {', '.join(map(str, more))} began while it was measured")
    return None
