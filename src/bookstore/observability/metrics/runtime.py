"""Samples event-loop lag and pool size every 100 ms, and records garbage-collection pauses."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic, perf_counter
from typing import Any, Final

import sqlalchemy as sa

from bookstore.observability.metrics.block import (
    COLLECTIONS,
    GC_PAUSE_S,
    LAG,
    LAG_MAX_S,
    OPEN,
    OVERFLOW,
    SAMPLED_AT_S,
    Block,
)

TICK_S: Final = 0.1
_TICKS: Final = 10
"""The number of samples over which the maximum lag is taken: one second."""


@asynccontextmanager
async def sample_runtime(block: Block, pool: sa.Pool) -> AsyncIterator[None]:
    """Sample the event loop, the garbage collector and `pool` into `block` while the `async with` block runs."""
    pauses = _Pauses(block)
    gc.callbacks.append(pauses)
    task = asyncio.create_task(_tick(block, pool))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        gc.callbacks.remove(pauses)


async def _tick(block: Block, pool: sa.Pool) -> None:
    cells = block.cells
    lags: deque[float] = deque(maxlen=_TICKS)
    while True:
        if isinstance(pool, sa.QueuePool):
            cells[OPEN] = pool.checkedin() + pool.checkedout()
            cells[OVERFLOW] = max(0, pool.overflow())  # below 0 until pool_size connections have been opened
        cells[SAMPLED_AT_S] = began = monotonic()
        await asyncio.sleep(TICK_S)
        lags.append(max(0.0, monotonic() - began - TICK_S))
        cells[LAG_MAX_S] = max(lags)
        block.observe(LAG, lags[-1])


class _Pauses:
    """A callback of the garbage collector. The interpreter runs one collection at a time, in any thread."""

    def __init__(self, block: Block) -> None:
        self._cells = block.cells
        self._began: float | None = None

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began = perf_counter()
        elif self._began is not None:
            self._cells[GC_PAUSE_S] += perf_counter() - self._began
            self._cells[COLLECTIONS + info["generation"]] += 1
