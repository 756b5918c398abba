from __future__ import annotations

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
    """The one clock, in nanoseconds, as the test sets it."""
    now = [10**15]
    monkeypatch.setattr("bookstore.http.rate_limit.time.monotonic_ns", lambda: now[0])
    return now


def passed(limit: RateLimit, client: str, count: int) -> int:
    return sum(limit.wait_s(client) == 0 for _ in range(count))


def test_burst_then_rate(clock: list[int]) -> None:
    """Two seconds' worth passes at once; then so many a second, however often one asks."""
    limit = RateLimit(10, table({}))
    assert passed(limit, "192.0.2.1", 100) == 20
    clock[0] += 10**9
    assert passed(limit, "192.0.2.1", 100) == 10
    clock[0] += 3600 * 10**9
    assert passed(limit, "192.0.2.1", 100) == 20


def test_waiting_is_enough(clock: list[int]) -> None:
    """Who waits as long as told passes; being refused costs nothing. The wait is whole seconds, at least 1."""
    for per_s in (1, 3, 50, 100_000):
        limit = RateLimit(per_s, table({}))
        while (wait_s := limit.wait_s("192.0.2.1")) == 0:
            pass
        assert wait_s == 1
        assert {limit.wait_s("192.0.2.1") for _ in range(50)} == {1}
        clock[0] += wait_s * 10**9
        assert limit.wait_s("192.0.2.1") == 0


def test_clients_are_apart(clock: list[int]) -> None:
    """One client's requests are not another's."""
    limit = RateLimit(1, table({}))
    assert passed(limit, "192.0.2.1", 10) == 2
    assert passed(limit, "192.0.2.2", 10) == 2


def test_memory_is_fixed(clock: list[int]) -> None:
    """However many clients there are, the table is as large as at first, and so is the memory of their slots."""
    shared = table({})
    limit = RateLimit(1, shared)
    for number in range(20_000):
        assert limit.wait_s(f"client-{number}") in {0, 1}
    assert len(shared) == rate_limit._SIZE
    assert limit._slot.cache_info().currsize == 4096


def test_the_secret_chooses_the_slots() -> None:
    """Two servers give a client different slots, two workers of one server the same."""
    one, other = table({}), table({})
    slots = [[RateLimit(1, shared)._slot(f"client-{n}") for n in range(4)] for shared in (one, one, other)]
    assert slots[0] == slots[1] != slots[2]


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux has memory that is shared by a path in /proc")
def test_processes_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process counted is counted here; after the block nothing of the table can be found."""
    with shared_table():
        path = Path(os.environ[rate_limit.TABLE])
        asked = (
            "from bookstore.http.rate_limit import RateLimit, table\n"
            "limit = RateLimit(1, table())\n"
            "print([limit.wait_s('192.0.2.1') > 0 for _ in range(3)])"
        )
        done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[False, False, True]"
        here = table()
        assert isinstance(here, mmap.mmap)
        assert RateLimit(1, here).wait_s("192.0.2.1") > 0
        assert RateLimit(1, here).wait_s("192.0.2.2") == 0
    assert rate_limit.TABLE not in os.environ
    assert not path.exists()
