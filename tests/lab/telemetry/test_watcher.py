from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from bookstore.database import embedded
from bookstore.database.embedded import Cluster
from bookstore.database.url import conninfo
from bookstore.lab.record.run_record import Telemetry
from bookstore.lab.telemetry.processes import IS_LINUX
from bookstore.lab.telemetry.timeline import Column
from bookstore.lab.telemetry.watcher import Cost, Watcher, describe_cost
from bookstore.lab.testbed.process import free_port, wait_until
from bookstore.reaper import Reaper

WITHIN_S = 30
SERVE = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        labels = f'worker="1",pid="{os.getpid()}"'
        body = "".join(f"bookstore_{name}{{{labels}}} {value}\\n" for name, value in {
            "worker_info": 1, "requests_in_flight": 4, "pool_checked_out": 2, "pool_checked_in": 1,
            "pool_overflow": 0, "pool_requests_waiting": 3, "event_loop_lag_max_seconds": 0.002,
            "gc_pause_seconds_total": 0.001 * Handler.asked,
        }.items()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Worker:
    """A process with a metrics port, as a worker of the service."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.pid = process.pid
        self.metrics_url = f"http://127.0.0.1:{port}/metrics"


@contextmanager
def worker() -> Iterator[Worker]:
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", SERVE, str(port)]) as process:
        try:
            yield Worker(process, port)
        finally:
            process.kill()


def values(found: Telemetry, of: str, name: str) -> Column:
    (one,) = [one for one in found.series if (one.of, one.name) == (of, name)]
    assert len(one.values) == len(found.at_s)
    return one.values


def wait_for_looks(watcher: Watcher, more: int) -> None:
    wanted = watcher.polls + more
    assert wait_until(lambda: watcher.polls >= wanted, WITHIN_S)


def test_all_that_is_watched(lab: Cluster, connection: psycopg.Connection) -> None:
    """Every figure that the sources tell has a series under its owner's name."""
    with worker() as one:
        watched = Watcher(
            [one.pid], connection=connection, postmaster=lab.pid(), database="postgres", metrics_url=one.metrics_url
        )
        watched.load_pid = os.getpid()
        with psycopg.connect(conninfo(lab.url()), application_name=f"bookstore/x/{one.pid}"), watched as watcher:
            assert wait_until(lambda: any(watcher.timelines.services[one.pid].readings), WITHIN_S)
            wait_for_looks(watcher, 6)
        found = watcher.telemetry(time.monotonic())
    assert found.at_s == sorted(found.at_s)
    assert found.at_s[-1] < 0
    of_worker = {
        "pss_bytes", "uss_bytes", "rss_bytes", "cpu_ratio", "threads", "descriptors", "loop_lag_ms", "in_flight",
        "gc_pause_ms", "pool_checked_out", "pool_checked_in", "pool_overflow", "pool_waiting",
    }  # fmt: skip
    of_postgres = {
        "sessions_active", "sessions_idle", "sessions_idle_in_transaction", "sessions_other", "sessions_waiting",
        "sessions_foreign", "max_connections", "commits_per_s", "rollbacks_per_s", "cpu_ratio", "pss_bytes",
    }  # fmt: skip
    names: dict[str, set[str]] = {}
    for series in found.series:
        names.setdefault(series.of, set()).add(series.name)
    assert names[f"worker {one.pid}"] == names["workers"]
    assert names["load"] == {"cpu_ratio"}
    if IS_LINUX:
        assert names["workers"] == of_worker
        # The others are there where the server has the extension, and where blocks were read meanwhile.
        assert names["postgres"] - {"statements_per_s", "rows_per_s", "cache_hit_ratio"} == of_postgres
        assert names["machine"] >= {"others_ratio", "steal_ratio", "load1"}
    assert {value for value in values(found, "workers", "pool_waiting") if value is not None} == {3}
    assert {value for value in values(found, "workers", "loop_lag_ms") if value is not None} == {2}
    assert {value for value in values(found, "workers", "gc_pause_ms") if value is not None} == {1}
    assert values(found, "postgres", "sessions_idle")[-1] == 1
    assert watcher.host_activity(-1e9, 1e9).load1 is not None


def test_figures_and_cost() -> None:
    """A request's CPU is of the moments asked about; the watcher knows what it cost itself."""
    with Watcher([os.getpid()]) as watcher:
        watcher.load_pid = os.getpid()
        wait_for_looks(watcher, 2)
        begin_s = time.monotonic()
        while time.monotonic() < begin_s + 0.3:
            pass
        end_s = time.monotonic()
        wait_for_looks(watcher, 2)
    found = watcher.usage(begin_s, end_s, lambda *_: 10)
    assert found.cpu_ms_per_request is not None
    assert found.cpu_ms_per_request > 0
    assert found.connections is None
    ratio = watcher.load_cpu_ratio(begin_s, end_s)
    assert ratio == pytest.approx(found.cpu_ms_per_request * 10 / 1000 / (end_s - begin_s), rel=0.05)
    assert watcher.cost.polls == watcher.polls
    assert watcher.cost.cpu_s > 0
    assert watcher.cost.postgres_s == 0


def test_what_is_not_there() -> None:
    """Without a database and a port, as of a service that is not ours, there are no such series."""
    with Watcher([os.getpid()]) as watcher:
        wait_for_looks(watcher, 2)
    found = watcher.telemetry(0)
    assert {series.of for series in found.series} <= {f"worker {os.getpid()}", "workers", "machine"}
    assert "pool_waiting" not in {series.name for series in found.series}
    assert "rss_bytes" in {series.name for series in found.series}


def test_a_dead_worker_is_a_gap() -> None:
    """From the moment a worker is killed its figures are gaps, and so are those of all workers together (L6)."""
    with worker() as one:
        with Watcher([os.getpid(), one.pid], metrics_url=one.metrics_url) as watcher:
            assert wait_until(lambda: any(watcher.timelines.services[one.pid].readings), WITHIN_S)
            wait_for_looks(watcher, 1)
            one.process.kill()
            os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)
            wait_for_looks(watcher, 2)
            one.process.wait()
            wait_for_looks(watcher, 2)
        found = watcher.telemetry(0)
    for of, name in (
        (f"worker {one.pid}", "rss_bytes"), ("workers", "rss_bytes"), (f"worker {one.pid}", "cpu_ratio"),
        (f"worker {one.pid}", "pool_waiting"),
    ):  # fmt: skip
        assert any(value is not None for value in values(found, of, name))
        assert values(found, of, name)[-3:] == [None, None, None]
    assert None not in values(found, f"worker {os.getpid()}", "rss_bytes")


def test_a_dead_database_is_a_gap(reaper: Reaper) -> None:
    """From the moment the database is stopped its figures are gaps; memory is told on, and nothing is raised (L6)."""
    with (
        embedded.temporary(reaper) as brief,
        psycopg.connect(conninfo(brief.url()), autocommit=True, application_name="bookstore-lab") as own,
    ):
        with Watcher([os.getpid()], connection=own, postmaster=brief.pid(), database="postgres") as watcher:
            wait_for_looks(watcher, 3)
            brief.stop("immediate")
            wait_for_looks(watcher, 3)
        found = watcher.telemetry(0)
        assert watcher.usage(0, 1e9, lambda *_: 10).database_cpu_ms_per_request is None
    for name in ("sessions_foreign", "max_connections", "cpu_ratio"):
        assert any(value is not None for value in values(found, "postgres", name))
        assert values(found, "postgres", name)[-2:] == [None, None]
    assert None not in values(found, "workers", "rss_bytes")


def test_a_late_look_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments at which nobody could look are there, with gaps."""
    watcher = Watcher([os.getpid()])
    read = watcher._machine.read
    held: list[int] = []

    def slow(ours: dict[int, float]) -> dict[str, float]:
        if not held and watcher.polls == 2:
            held.append(watcher.polls)
            time.sleep(0.7)
        return read(ours)

    monkeypatch.setattr(watcher._machine, "read", slow)
    with watcher:
        wait_for_looks(watcher, 7)
    found = watcher.telemetry(0)
    assert None in values(found, "machine", "load1")
    assert found.at_s == sorted(found.at_s)


def test_told() -> None:
    """The sentence at the end of a comparison is over all that was watched."""
    said = describe_cost([Cost(10.0, 0.1, 0.01, 40), Cost(30.0, 0.1, 0.01, 120)])
    assert said == "The watcher looked 160 times in 40 s; that took 0.50% of a core, and 0.05% of one in PostgreSQL."
    assert describe_cost([]) == "Nothing was watched."
