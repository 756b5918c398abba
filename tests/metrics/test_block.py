"""Blocks: what is counted, by whom, and what stays of it."""

from __future__ import annotations

import os

import pytest

from bookstore.metrics import shared
from bookstore.metrics.block import BOUNDS, BYTES, OTHER, PID, ROWS, STATEMENTS, WAIT, Block, histogram


def test_histogram() -> None:
    """A time counts in the first bucket whose bound is not below it, beyond the last in one of its own."""
    block = Block(memoryview(bytearray(BYTES)))
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] * 1.01, BOUNDS[-1], 99.0):
        block.observe(WAIT, seconds)
    *counts, total = histogram(block.fixed(), WAIT)
    assert counts == [2, 1, *[0] * (len(BOUNDS) - 3), 1, 1]
    assert total == pytest.approx(sum((BOUNDS[0] * 2.01, BOUNDS[-1], 99)))


def test_kinds_of_requests_are_bounded() -> None:
    """Beyond ROWS kinds of requests, and for a route that is too long, `other` counts; who reads the same
    memory reads the same kinds."""
    memory = memoryview(bytearray(BYTES))
    block = Block(memory)
    for number in range(ROWS * 2):
        block.observe(block.row("GET", f"/{number}", 200), 0.001)
    block.observe(block.row("GET", "/" + "x" * 200, 200), 0.001)
    found = Block(memory).requests()
    assert len(found) == ROWS
    method, route, status = OTHER.split()
    assert sum(found[method, route, int(status)][:-1]) == ROWS + 2
    assert all(sum(cells[:-1]) == 1 for kind, cells in found.items() if kind[1] != route)
    assert Block(memory).row("GET", "/7", 200) == block.row("GET", "/7", 200)


def test_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker gets a block that no running process counts in, with what was counted there; none where both are
    in use, where it has no number, and where no server made any."""
    with shared.blocks(2) as blocks:
        environment = {shared.BLOCKS: os.environ[shared.BLOCKS], "BOOKSTORE_WORKER": "2"}
        first = shared.claim(environment)
        assert first
        first.cells[STATEMENTS] += 5
        assert [int(one.cells[PID]) for one in blocks] == [0, 0, os.getpid(), 0]
        second = shared.claim(environment)
        assert second
        assert second.cells[STATEMENTS] == 0
        assert shared.claim(environment) is None
        first.cells[PID] = 2**22 + 1  # more than any pid
        again = shared.claim(environment)
        assert again
        assert again.cells[STATEMENTS] == 5
        assert shared.claim({shared.BLOCKS: environment[shared.BLOCKS]}) is None
    assert shared.claim() is None
