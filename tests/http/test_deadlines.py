from __future__ import annotations

import asyncio

import pytest

from bookstore.http.deadlines import Deadlines

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _short_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bookstore.http.deadlines.TICK_S", 0.002)


async def test_cancels_expired_tasks() -> None:
    """A task is cancelled at its deadline and can detect that; other tasks continue."""
    deadlines = Deadlines()

    async def wait(within_s: float) -> bool:
        deadline = deadlines.start(within_s)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return deadline.is_over
        finally:
            deadlines.stop(deadline)
        return False

    short, long = asyncio.create_task(wait(0.01)), asyncio.create_task(wait(60))
    assert await short is True
    assert not long.done()
    long.cancel()
    assert await long is False
    assert not deadlines._running


async def test_timer_restarts() -> None:
    """The timer stops when no task is left, and starts again with the next task."""
    deadlines = Deadlines()
    for _ in range(2):
        deadline = deadlines.start(0.01)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
        deadline.task.uncancel()
        assert deadline.is_over
        assert not deadlines._is_scheduled


async def test_moved() -> None:
    """A moved deadline counts from the time of the move."""
    deadlines = Deadlines()
    deadline = deadlines.start(0)
    deadline.move(60)
    await asyncio.sleep(0.02)
    assert not deadline.is_over
    deadlines.stop(deadline)
