"""Blocks: counting, and claiming a block in a worker."""

from __future__ import annotations

import os

import pytest

from bookstore.observability.metrics import shared_memory
from bookstore.observability.metrics.block import (
    BOUNDS,
    BYTES,
    OTHER,
    PID,
    ROW_STATEMENTS,
    ROWS,
    STARTS,
    STATEMENTS,
    WAIT,
    Block,
    histogram,
)


def test_histogram() -> None:
    """A value is counted in the first bucket whose bound is not below it, or in the overflow bucket."""
    block = Block(memoryview(bytearray(BYTES)))
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] * 1.01, BOUNDS[-1], 99.0):
        block.observe(WAIT, seconds)
    *counts, total = histogram(block.fixed(), WAIT)
    assert counts == [2, 1, *[0] * (len(BOUNDS) - 3), 1, 1]
    assert total == pytest.approx(sum((BOUNDS[0] * 2.01, BOUNDS[-1], 99)))


def test_kinds_of_requests_are_bounded() -> None:
    """Beyond ROWS kinds of requests, and for a route that is too long, `other` counts. A second Block on the same
    memory has the same rows."""
    memory = memoryview(bytearray(BYTES))
    block = Block(memory)
    for number in range(ROWS * 2):
        row = block.row("GET", f"/{number}", 200)
        block.observe(row, 0.001)
        block.cells[row + ROW_STATEMENTS] += 2
    block.observe(block.row("GET", "/" + "x" * 200, 200), 0.001)
    rows = Block(memory).requests()
    assert len(rows) == ROWS
    method, route, status = OTHER.split()
    other = rows[method, route, int(status)]
    assert (sum(other.times[:-1]), other.statements) == (ROWS + 2, 2 * (ROWS + 1))
    assert all((sum(row.times[:-1]), row.statements) == (1, 2) for kind, row in rows.items() if kind[1] != route)
    assert Block(memory).row("GET", "/7", 200) == block.row("GET", "/7", 200)


def test_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker gets a block that no running process uses, with its previous counts. It gets none if both are in use, if
    it has no number, or if the server has no blocks."""
    with shared_memory.blocks(2) as blocks:
        environment = {
            shared_memory.BLOCKS_VARIABLE: os.environ[shared_memory.BLOCKS_VARIABLE],
            "BOOKSTORE_WORKER": "2",
        }
        first = shared_memory.claim(environment)
        assert first
        first.cells[STATEMENTS] += 5
        assert first.cells[STARTS] == 1
        assert [int(block.cells[PID]) for block in blocks] == [0, 0, os.getpid(), 0]
        second = shared_memory.claim(environment)
        assert second
        assert second.cells[STATEMENTS] == 0
        assert shared_memory.claim(environment) is None
        first.cells[PID] = 2**22 + 1  # larger than any pid
        again = shared_memory.claim(environment)
        assert again
        assert (again.cells[STATEMENTS], again.cells[STARTS]) == (5, 2)
        assert shared_memory.claim({shared_memory.BLOCKS_VARIABLE: environment[shared_memory.BLOCKS_VARIABLE]}) is None
    assert shared_memory.claim() is None
