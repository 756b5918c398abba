"""Ends tasks whose time is over. One timer looks at all of them: a timer for each request, as
asyncio.timeout() sets, costs 14 µs of CPU more under uvloop."""

from __future__ import annotations

import asyncio
from typing import Any, Final

TICK_S: Final = 0.1
"""How often is looked, and so how much later than its time a task may end."""


class Deadline:
    """The end of a task's time: `at` on the loop's clock. `is_over` says that the task was cancelled for it."""

    __slots__ = ("at", "is_over", "task")

    def __init__(self, task: asyncio.Task[Any], at: float) -> None:
        self.at = at
        self.is_over = False
        self.task = task

    def move(self, within_s: float) -> None:
        """Gives the task `within_s` seconds from now."""
        self.at = asyncio.get_running_loop().time() + within_s


class Deadlines:
    """The tasks of one event loop that have a deadline."""

    def __init__(self) -> None:
        self._running: set[Deadline] = set()
        self._is_looking = False

    def start(self, within_s: float) -> Deadline:
        """Gives the current task so many seconds, until `stop`: then it is cancelled."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task
        deadline = Deadline(task, loop.time() + within_s)
        self._running.add(deadline)
        if not self._is_looking:
            self._is_looking = True
            loop.call_later(TICK_S, self._look, loop)
        return deadline

    def stop(self, deadline: Deadline) -> None:
        """The task was done in time, or is over."""
        self._running.discard(deadline)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for deadline in [one for one in self._running if one.at <= now]:
            self._running.remove(deadline)
            deadline.is_over = True
            deadline.task.cancel()
        self._is_looking = bool(self._running)
        if self._is_looking:
            loop.call_later(TICK_S, self._look, loop)
