from __future__ import annotations

from typing import Any

import pytest

from bookstore.lab.analysis.validity import problems
from bookstore.lab.record.run_record import Generator, HostActivity, Problem

VALID: dict[str, Any] = {
    "requests": 1000,
    "errors": 1,
    "most_errors_ratio": 0.001,
    "steady": True,
    "generator": Generator(cpu_ratio=0.9, late_ms=10.0),
    "model": "open",
    "quiet": HostActivity(steal_ratio=0.05, others_ratio=0.1, pressure_ratio=0.9, load1=40.0, clock_jump_s=0.1),
    "cores": 2,
    "workers_before": [11, 12],
    "workers_after": [12, 11],
}


def test_valid() -> None:
    """A measurement exactly at its limits is valid, and so is one with unknown figures."""
    assert problems(**VALID) == []
    assert problems(**VALID | {"generator": Generator(), "quiet": HostActivity()}) == []


@pytest.mark.parametrize(
    ("changed", "code", "reason"),
    [
        ({"errors": 2}, "errors", "2 of 1000 requests failed: 0.20% (limit: 0.10%)"),
        ({"requests": 0, "errors": 0}, "errors", "no request completed"),
        ({"steady": False}, "not_steady", "still changing"),
        ({"generator": Generator(cpu_ratio=0.97)}, "generator_busy", "97% of a core (limit: 90%)"),
        (
            {"generator": Generator(late_ms=25.04)},
            "generator_late",
            "1 % of requests left 25.0 ms late or more (limit: 10 ms)",
        ),
        ({"generator": Generator(dropped=3)}, "generator_late", "3 planned requests were never sent"),
        (
            {"quiet": HostActivity(others_ratio=0.11)},
            "machine_busy",
            "other processes used 11.0% of all cores (limit: 10.0%)",
        ),
        (
            {"quiet": HostActivity(steal_ratio=0.06)},
            "machine_busy",
            "the hypervisor took 6.0% of all cores (limit: 5%)",
        ),
        ({"quiet": HostActivity(clock_jump_s=3.5)}, "clock_jump", "moved 3.500 s"),
        ({"workers_after": None}, "server_died", "ended during"),
        ({"workers_after": [11, 13]}, "worker_replaced", "worker 12 ended"),
        ({"workers_after": [11, 12, 13]}, "worker_replaced", "worker 13 started"),
    ],
)
def test_problem(changed: dict[str, Any], code: str, reason: str) -> None:
    """Each disturbance has its code and a text with the figure and its limit."""
    (problem,) = problems(**VALID | changed)
    assert problem.code == code
    assert reason in problem.told


def test_one_busy_core_of_many() -> None:
    """On a large machine a tenth of all cores are several; there the limit for other processes is half a core."""
    assert problems(**VALID | {"cores": 64, "quiet": HostActivity(others_ratio=0.4 / 64)}) == []
    (problem,) = problems(**VALID | {"cores": 64, "quiet": HostActivity(others_ratio=1 / 64)})
    assert problem == Problem("machine_busy", "other processes used 1.6% of all cores (limit: 0.8%)")


def test_closed_model() -> None:
    """In the closed model there is no plan, so no request can be late or dropped."""
    assert problems(**VALID | {"model": "closed", "generator": Generator(late_ms=500, dropped=3)}) == []


def test_all_problems_are_reported() -> None:
    """One problem does not hide another."""
    changed = {
        "errors": 9,
        "steady": False,
        "quiet": HostActivity(others_ratio=0.5, clock_jump_s=1),
        "workers_after": None,
    }
    assert [problem.code for problem in problems(**VALID | changed)] == [
        "errors", "machine_busy", "clock_jump", "not_steady", "server_died",
    ]  # fmt: skip
