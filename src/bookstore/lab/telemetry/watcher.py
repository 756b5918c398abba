"""Watches a deployment under load every 250 ms: workers, connection pool, PostgreSQL, load generator, machine.

A single thread polls. It first sends its requests to the two sources that answer over a socket, the metrics port and
PostgreSQL, then reads /proc, and finally collects the answers that arrived in time. A failed or late source makes a
gap.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Final, NamedTuple, TypeVar

import psycopg

from bookstore.lab.record.run_record import HostActivity, Series, Telemetry
from bookstore.lab.record.samples import Samples
from bookstore.lab.telemetry import processes, series
from bookstore.lab.telemetry.host_activity import MachineCounters, host_activity
from bookstore.lab.telemetry.metrics_port import NoMetrics, Port
from bookstore.lab.telemetry.processes import Family, Gone, Pace
from bookstore.lab.telemetry.sessions import NoAnswer, Sessions
from bookstore.lab.telemetry.timeline import Column, Reading, Timeline
from bookstore.lab.telemetry.usage import Answered, Timelines, Usage, usage

INTERVAL_S: Final = 0.25
MAX_LATE_S: Final = INTERVAL_S / 2
"""A poll that starts later than this is recorded as a gap."""
ANSWER_TIMEOUT_S: Final = 0.2
"""For the answers of one poll; the rest of the interval is for /proc."""
MEMORY_RATIO: Final = 0.005
"""Share of one core for reading the workers' PSS and USS, and as much for PostgreSQL's. Where reading is expensive (3
ms for a busy worker of 100 MB), only every second, third … poll has memory, and the polls between are gaps in those
series."""
MEMORY_INTERVAL_S: Final = 1.0
"""Memory is read at least this often at any cost, so that a measurement of a few seconds sees the peak."""
_Value = TypeVar("_Value")


class Cost(NamedTuple):
    """Cost of watching for `seconds`: the thread's CPU seconds, and PostgreSQL's for its query (0 if unknown)."""

    seconds: float
    cpu_s: float
    postgres_s: float
    polls: int


class Watcher:
    """Polls every INTERVAL_S in a thread while its `with` block runs.

    `workers` are the pids of the service's workers; `own_pids` maps them to the pids the workers report, if these
    differ. `connection` is an otherwise unused autocommit connection of a superuser to PostgreSQL, `database` the
    name of the service's database there, `postmaster` the server's pid, `metrics_url` the service's metrics port.
    Sources that are None are not watched. `named` is false for a service that does not name its sessions
    `bookstore/<profile>/<pid>`: all sessions in `database` then count as its own. CPU of the processes `beside`, such
    as a pooler, belongs to the run and is no interference. The load generator is watched once `load_pid` is set.

    Moments are of time.monotonic(). A process, port or database that goes away makes gaps, not errors.
    """

    def __init__(
        self,
        workers: Sequence[int],
        *,
        own_pids: Mapping[int, int] | None = None,
        connection: psycopg.Connection | None = None,
        postmaster: int | None = None,
        database: str | None = None,
        metrics_url: str | None = None,
        named: bool = True,
        beside: Sequence[int] = (),
    ) -> None:
        self.load_pid: int | None = None
        self.timelines = Timelines(
            processes={pid: Timeline() for pid in workers},
            services={pid: Timeline() for pid in workers} if metrics_url else {},
            sessions=Timeline(),
            postgres=Timeline(),
            load=Timeline(),
            machine=Timeline(),
        )
        self._moments: list[float] = []
        self._workers = {pid: processes.process(pid) for pid in workers}
        above = {processes.parent(pid) for pid in workers} - {None, os.getpid()}
        self._ours = [pid for pid in above if pid is not None and pid != 1]
        self._ours += [os.getpid(), *beside]
        self._own_pids = own_pids or {pid: pid for pid in workers}
        own = list(self._own_pids.values())
        self._sessions = Sessions(connection, own, database, named) if connection and database else None
        self._family = Family(postmaster) if postmaster else None
        self._port = Port(metrics_url) if metrics_url else None
        self._machine = MachineCounters()
        self._paces = {whose: Pace(MEMORY_RATIO, MEMORY_INTERVAL_S) for whose in ("workers", "postgres")}
        self._cpu_s = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        parts = [*self._workers.values(), self._family, self._port, self._sessions]
        for part in parts:
            if part:
                part.close()

    @property
    def polls(self) -> int:
        return len(self._moments)

    @property
    def cost(self) -> Cost:
        seconds = self._moments[-1] - self._moments[0] if self._moments else 0.0
        own_ms = self.timelines.sessions.within("own_ms", -math.inf, math.inf) or [0.0]
        return Cost(seconds, self._cpu_s, (own_ms[-1] - own_ms[0]) / 1000, len(self._moments))

    def usage(self, begin_s: float, end_s: float, answered: Answered, mean_ms: float | None = None) -> Usage:
        """Return the usage per request, for the requests `answered` from `begin_s` to `end_s`.

        Without their mean latency `mean_ms` there is no split.
        """
        return usage(self.timelines, begin_s, end_s, answered, mean_ms)

    def host_activity(self, begin_s: float, end_s: float) -> HostActivity:
        return host_activity(self.timelines.machine, begin_s, end_s)

    def load_cpu_ratio(self, begin_s: float, end_s: float) -> float | None:
        """Return the load generator's CPU as a share of one core."""
        used = self.timelines.load.increase("cpu_s", begin_s, end_s)
        return None if used is None else used / (end_s - begin_s)

    def telemetry(self, begin_s: float, samples: Samples | None = None) -> Telemetry:
        """Return all series that have a value, with those of `samples`, at seconds since `begin_s`."""
        at_s = [round(moment - begin_s, 3) for moment in self._moments]
        lines = [*series.from_timelines(self.timelines), *(series.from_samples(samples, at_s) if samples else [])]
        known = [line for line in lines if any(value is not None for value in line.values)]
        return Telemetry(at_s=at_s, series=[Series(line.name, line.of, _rounded(line.values)) for line in known])

    def _watch(self) -> None:
        begin_s = time.monotonic()
        planned = 0
        while True:
            self._poll(time.monotonic())
            self._cpu_s = time.thread_time()
            if self._done.is_set():
                return  # this poll after the end closes the last interval
            planned += 1
            while (late_s := time.monotonic() - begin_s - planned * INTERVAL_S) > MAX_LATE_S:
                self._record_gap(begin_s + planned * INTERVAL_S)
                planned += 1
            self._done.wait(max(0.0, -late_s))

    def _record_gap(self, moment_s: float) -> None:
        self._moments.append(moment_s)
        for timeline in self._all_timelines():
            timeline.readings.append(None)

    def _poll(self, moment_s: float) -> None:
        until_s = moment_s + ANSWER_TIMEOUT_S
        for source in (self._port, self._sessions):
            if source:
                source.send()
        ours = {}
        for pid in self._ours:
            with suppress(Gone):
                ours[pid] = processes.cpu_s(pid)
        with self._paced("workers") as with_memory:
            for pid, worker in self._workers.items():
                ours |= _cpu_seconds(pid, _record(self.timelines.processes[pid], partial(worker.read, with_memory)))
        with self._paced("postgres") as with_memory:
            read = partial(self._family.read, with_memory) if self._family else None
            ours |= _cpu_seconds(0, _record(self.timelines.postgres, read))
        load_pid = self.load_pid
        ours |= _cpu_seconds(
            -1, _record(self.timelines.load, (lambda: {"cpu_s": processes.cpu_s(load_pid)}) if load_pid else None)
        )
        _record(self.timelines.machine, lambda: self._machine.read(ours))
        sessions, port = self._sessions, self._port
        _record(self.timelines.sessions, (lambda: sessions.receive(until_s)) if sessions else None)
        services = _read_or_gap(lambda: port.receive(until_s)) if port else None
        at_s = time.monotonic()
        for pid, timeline in self.timelines.services.items():
            figures = services.get(self._own_pids[pid]) if services else None
            timeline.readings.append(None if figures is None else Reading(at_s, figures))
        self._moments.append(moment_s)

    @contextmanager
    def _paced(self, whose: str) -> Iterator[bool]:
        """Whether the memory of `whose` processes is read now."""
        pace = self._paces[whose]
        if pace.is_due():
            with pace.timed():
                yield True
        else:
            yield False

    def _all_timelines(self) -> Iterable[Timeline]:
        timelines = self.timelines
        return [
            *timelines.processes.values(),
            *timelines.services.values(),
            timelines.sessions,
            timelines.postgres,
            timelines.load,
            timelines.machine,
        ]


def describe_cost(costs: Iterable[Cost]) -> str:
    """Return a sentence on what watching cost in total."""
    every = list(costs)
    seconds = sum(cost.seconds for cost in every)
    if not seconds:
        return "Nothing was watched."
    cpu, postgres = (sum(part) / seconds for part in ([c.cpu_s for c in every], [c.postgres_s for c in every]))
    return (
        f"The watcher polled {sum(cost.polls for cost in every)} times in {seconds:.0f} s, "
        f"which took {cpu:.2%} of a core, plus {postgres:.2%} of a core in PostgreSQL."
    )


def _record(timeline: Timeline, read: Callable[[], Mapping[str, float]] | None) -> Mapping[str, float] | None:
    """Read, and append the reading with its time, or a gap."""
    values = _read_or_gap(read) if read else None
    timeline.readings.append(None if values is None else Reading(time.monotonic(), values))
    return values


def _read_or_gap(read: Callable[[], _Value]) -> _Value | None:
    try:
        return read()
    except (Gone, NoAnswer, NoMetrics):
        return None


def _cpu_seconds(key: int, values: Mapping[str, float] | None) -> dict[int, float]:
    return {key: values["cpu_s"]} if values else {}


def _rounded(column: Column) -> Column:
    """Round to 4 decimals: higher precision only makes the record longer."""
    return [None if value is None else round(value, 4) for value in column]
