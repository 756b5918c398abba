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
    """A measurement at all of its limits is valid; what the system does not tell is no problem."""
    assert problems(**VALID) == []
    assert problems(**VALID | {"generator": Generator(), "quiet": HostActivity()}) == []


@pytest.mark.parametrize(
    ("changed", "code", "told"),
    [
        ({"errors": 2}, "errors", "2 of 1000 requests failed, 0.20%; 0.10% may"),
        ({"requests": 0, "errors": 0}, "errors", "no request was done"),
        ({"steady": False}, "not_steady", "still changed"),
        ({"generator": Generator(cpu_ratio=0.97)}, "generator_busy", "97% of a core; 90% may be"),
        ({"generator": Generator(late_ms=25.04)}, "generator_late", "25.0 ms late or more; 10 ms may be"),
        ({"generator": Generator(dropped=3)}, "generator_late", "3 planned requests were never sent"),
        (
            {"quiet": HostActivity(others_ratio=0.11)},
            "machine_busy",
            "other processes used 11.0% of all cores; 10.0% may be",
        ),
        ({"quiet": HostActivity(steal_ratio=0.06)}, "machine_busy", "the hypervisor took 6.0% of all cores; 5% may be"),
        ({"quiet": HostActivity(clock_jump_s=3.5)}, "clock_jump", "moved 3.500 s"),
        ({"workers_after": None}, "server_died", "ended while"),
        ({"workers_after": [11, 13]}, "worker_replaced", "worker 12 ended"),
        ({"workers_after": [11, 12, 13]}, "worker_replaced", "worker 13 began"),
    ],
)
def test_problem(changed: dict[str, Any], code: str, told: str) -> None:
    """Each disturbance has its code, and tells the figure and what may be."""
    (found,) = problems(**VALID | changed)
    assert found.code == code
    assert told in found.told


def test_one_burning_core_of_many() -> None:
    """On a large machine a tenth of all cores are several: half a core is what others may use there."""
    assert problems(**VALID | {"cores": 64, "quiet": HostActivity(others_ratio=0.4 / 64)}) == []
    (found,) = problems(**VALID | {"cores": 64, "quiet": HostActivity(others_ratio=1 / 64)})
    assert found == Problem("machine_busy", "other processes used 1.6% of all cores; 0.8% may be")


def test_closed_model() -> None:
    """Clients that wait for their answers have no plan to be late for."""
    assert problems(**VALID | {"model": "closed", "generator": Generator(late_ms=500, dropped=3)}) == []


def test_all_are_told() -> None:
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
