"""What a deployment uses while it is under load: memory of its workers, database connections."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final

import psutil
import psycopg

from bookstore.lab.results import Reading

INTERVAL_S: Final = 0.25

_CONNECTIONS = """
    SELECT count(*)::int, (count(*) FILTER (WHERE state LIKE 'idle in transaction%%'))::int
    FROM pg_stat_activity WHERE split_part(application_name, '/', 3) = ANY(%s)
"""


class Watcher:
    """Looks every INTERVAL_S, in a thread, at the workers `pids` and at their database sessions."""

    def __init__(self, pids: list[int], connection: psycopg.Connection) -> None:
        self.readings: list[Reading] = []
        self._pids = pids
        self._workers = [psutil.Process(pid) for pid in pids]
        self._connection = connection
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def __enter__(self) -> Watcher:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL_S):
            connections, idle = self._sessions()
            self.readings.append(
                Reading(
                    at_s=round(time.monotonic() - self._started, 3),
                    pss_bytes=self._pss_bytes(),
                    cpu_s=self._cpu_s(),
                    connections=connections,
                    idle_in_transaction=idle,
                )
            )

    def _pss_bytes(self) -> int | None:
        """PSS counts a page shared by n processes as its n-th part, so it may be summed over workers."""
        try:
            parts = [worker.memory_full_info().pss for worker in self._workers]
        except (psutil.Error, AttributeError):  # only Linux tells PSS
            return None
        return sum(parts) if all(parts) else None  # a worker that has just died has 0

    def _cpu_s(self) -> float | None:
        try:
            times = [worker.cpu_times() for worker in self._workers]
        except psutil.Error:
            return None
        return sum(time.user + time.system for time in times)

    def _sessions(self) -> tuple[int | None, int | None]:
        try:
            row = self._connection.execute(_CONNECTIONS, [[str(pid) for pid in self._pids]]).fetchone()
        except psycopg.Error:
            return None, None
        return row or (None, None)
