from __future__ import annotations

import math
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bookstore.http import rate_limit
from bookstore.http.rate_limit import RateLimit, shared_table, table


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The monotonic clock in nanoseconds, set by the test."""
    now = [10**15]
    monkeypatch.setattr("bookstore.http.rate_limit.time.monotonic_ns", lambda: now[0])
    return now


def count_admitted(limit: RateLimit, client: str, count: int) -> int:
    return sum(limit.admit(client).wait_s == 0 for _ in range(count))


def test_burst_then_rate(clock: list[int]) -> None:
    """Two seconds' worth is admitted at once; then the rate applies, however often the client asks."""
    limit = RateLimit(10, table({}))
    assert count_admitted(limit, "192.0.2.1", 100) == 20
    clock[0] += 10**9
    assert count_admitted(limit, "192.0.2.1", 100) == 10
    clock[0] += 3600 * 10**9
    assert count_admitted(limit, "192.0.2.1", 100) == 20


def test_waiting_is_enough(clock: list[int]) -> None:
    """After the returned wait, a request is admitted; rejections cost nothing. The wait is 1 or more whole seconds."""
    for per_s in (1, 3, 50, 100_000):
        limit = RateLimit(per_s, table({}))
        while (wait_s := limit.admit("192.0.2.1").wait_s) == 0:
            pass
        assert wait_s == 1
        assert {limit.admit("192.0.2.1").wait_s for _ in range(50)} == {1}
        clock[0] += wait_s * 10**9
        assert limit.admit("192.0.2.1").wait_s == 0


@pytest.mark.parametrize(
    ("per_s", "policy"),
    [(10, "q=20;w=2"), (1, "q=2;w=2"), (0.1, "q=1;w=10"), (0.75, "q=1;w=2"), (100_000, "q=200000;w=2")],
)
def test_allowance(clock: list[int], per_s: float, policy: str) -> None:
    """As many requests as the allowance promises are admitted, and after its reset a whole quota is."""
    limit = RateLimit(per_s, table({}))
    assert limit.policy == policy
    quota = int(policy[2:].partition(";")[0])
    first = limit.admit("192.0.2.1")
    assert first.remaining == quota - 1
    assert 1 <= first.reset_s <= max(1, math.ceil(1 / per_s))
    clock[0] += first.reset_s * 10**9
    for left in range(quota - 1, -1, -1):
        last = limit.admit("192.0.2.1")
        assert (last.wait_s, last.remaining) == (0, left)
    refused = limit.admit("192.0.2.1")
    assert (refused.remaining, refused.reset_s) == (0, refused.wait_s)
    assert refused.wait_s > 0
    clock[0] += last.reset_s * 10**9
    assert limit.admit("192.0.2.1").remaining == quota - 1


def test_clients_are_independent(clock: list[int]) -> None:
    """Each client's requests are counted separately."""
    limit = RateLimit(1, table({}))
    assert count_admitted(limit, "192.0.2.1", 10) == 2
    assert count_admitted(limit, "192.0.2.2", 10) == 2


def test_memory_is_fixed(clock: list[int]) -> None:
    """Neither the table nor the slot cache grows with the number of clients."""
    shared = table({})
    limit = RateLimit(1, shared)
    for number in range(20_000):
        assert limit.admit(f"client-{number}").wait_s in {0, 1}
    assert len(shared) == rate_limit._SIZE
    assert limit._slot.cache_info().currsize == 4096


def test_slots_depend_on_the_secret() -> None:
    """A client has the same slot in two workers of a server, but another slot in another server."""
    first, second = table({}), table({})
    slots = [[RateLimit(1, shared)._slot(f"client-{n}") for n in range(4)] for shared in (first, first, second)]
    assert slots[0] == slots[1] != slots[2]


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="memfd_create requires Linux")
def test_processes_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes share the counts; after the block, neither variable nor table remains."""
    with shared_table():
        path = Path(os.environ[rate_limit.TABLE])
        script = (
            "from bookstore.http.rate_limit import RateLimit, table\n"
            "limit = RateLimit(1, table())\n"
            "print([limit.admit('192.0.2.1').wait_s > 0 for _ in range(3)])"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[False, False, True]"
        shared = table()
        assert isinstance(shared, mmap.mmap)
        assert RateLimit(1, shared).admit("192.0.2.1").wait_s > 0
        assert RateLimit(1, shared).admit("192.0.2.2").wait_s == 0
    assert rate_limit.TABLE not in os.environ
    assert not path.exists()
