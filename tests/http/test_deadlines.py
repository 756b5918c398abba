from __future__ import annotations

import asyncio

import pytest

from bookstore.http.deadlines import Deadlines

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bookstore.http.deadlines.TICK_S", 0.002)


async def test_ends_the_one_whose_time_is_over() -> None:
    """A task is cancelled when its time is over, and can tell that it was for that; others go on."""
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


async def test_looks_again_after_a_pause() -> None:
    """When no task is left the looking ends; the next task is looked at again."""
    deadlines = Deadlines()
    for _ in range(2):
        deadline = deadlines.start(0.01)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
        deadline.task.uncancel()
        assert deadline.is_over
        assert not deadlines._is_looking


async def test_moved() -> None:
    """A moved deadline holds from the move."""
    deadlines = Deadlines()
    deadline = deadlines.start(0)
    deadline.move(60)
    await asyncio.sleep(0.02)
    assert not deadline.is_over
    deadlines.stop(deadline)
