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
    """A process with a metrics port, like a worker of the service."""

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


def values(telemetry: Telemetry, of: str, name: str) -> Column:
    (line,) = [line for line in telemetry.series if (line.of, line.name) == (of, name)]
    assert len(line.values) == len(telemetry.at_s)
    return line.values


def wait_for_polls(watcher: Watcher, more: int) -> None:
    wanted = watcher.polls + more
    assert wait_until(lambda: watcher.polls >= wanted, WITHIN_S)


def test_all_series(lab: Cluster, connection: psycopg.Connection) -> None:
    """Every figure of every source has a series under its owner's name."""
    with worker() as process:
        watched = Watcher(
            [process.pid],
            connection=connection,
            postmaster=lab.pid(),
            database="postgres",
            metrics_url=process.metrics_url,
        )
        watched.load_pid = os.getpid()
        with psycopg.connect(conninfo(lab.url()), application_name=f"bookstore/x/{process.pid}"), watched as watcher:
            assert wait_until(lambda: any(watcher.timelines.services[process.pid].readings), WITHIN_S)
            wait_for_polls(watcher, 6)
        telemetry = watcher.telemetry(time.monotonic())
    assert telemetry.at_s == sorted(telemetry.at_s)
    assert telemetry.at_s[-1] < 0
    of_worker = {
        "pss_bytes", "uss_bytes", "rss_bytes", "cpu_ratio", "threads", "descriptors", "loop_lag_ms", "in_flight",
        "gc_pause_ms", "pool_checked_out", "pool_checked_in", "pool_overflow", "pool_waiting",
    }  # fmt: skip
    of_postgres = {
        "sessions_active", "sessions_idle", "sessions_idle_in_transaction", "sessions_other", "sessions_waiting",
        "sessions_foreign", "max_connections", "commits_per_s", "rollbacks_per_s", "cpu_ratio", "pss_bytes",
    }  # fmt: skip
    names: dict[str, set[str]] = {}
    for series in telemetry.series:
        names.setdefault(series.of, set()).add(series.name)
    assert names[f"worker {process.pid}"] == names["workers"]
    assert names["load"] == {"cpu_ratio"}
    if IS_LINUX:
        assert names["workers"] == of_worker
        # The other series require the extension, and blocks read in the meantime.
        assert names["postgres"] - {"statements_per_s", "rows_per_s", "cache_hit_ratio"} == of_postgres
        assert names["machine"] >= {"others_ratio", "steal_ratio", "load1"}
    assert {value for value in values(telemetry, "workers", "pool_waiting") if value is not None} == {3}
    assert {value for value in values(telemetry, "workers", "loop_lag_ms") if value is not None} == {2}
    assert {value for value in values(telemetry, "workers", "gc_pause_ms") if value is not None} == {1}
    assert values(telemetry, "postgres", "sessions_idle")[-1] == 1
    assert watcher.host_activity(-1e9, 1e9).load1 is not None


def test_figures_and_cost() -> None:
    """CPU per request is of the requested interval; the watcher reports its own cost."""
    with Watcher([os.getpid()]) as watcher:
        watcher.load_pid = os.getpid()
        wait_for_polls(watcher, 2)
        begin_s = time.monotonic()
        while time.monotonic() < begin_s + 0.3:
            pass
        end_s = time.monotonic()
        wait_for_polls(watcher, 2)
    usage = watcher.usage(begin_s, end_s, lambda *_: 10)
    assert usage.cpu_ms_per_request is not None
    assert usage.cpu_ms_per_request > 0
    assert usage.connections is None
    ratio = watcher.load_cpu_ratio(begin_s, end_s)
    assert ratio == pytest.approx(usage.cpu_ms_per_request * 10 / 1000 / (end_s - begin_s), rel=0.05)
    assert watcher.cost.polls == watcher.polls
    assert watcher.cost.cpu_s > 0
    assert watcher.cost.postgres_s == 0


def test_absent_sources() -> None:
    """Without a database and a metrics port, as for an external service, their series do not exist."""
    with Watcher([os.getpid()]) as watcher:
        wait_for_polls(watcher, 2)
    telemetry = watcher.telemetry(0)
    assert {series.of for series in telemetry.series} <= {f"worker {os.getpid()}", "workers", "machine"}
    assert "pool_waiting" not in {series.name for series in telemetry.series}
    assert "rss_bytes" in {series.name for series in telemetry.series}


def test_a_dead_worker_is_a_gap() -> None:
    """After a worker is killed, its figures and those of all workers together are gaps (L6)."""
    with worker() as process:
        with Watcher([os.getpid(), process.pid], metrics_url=process.metrics_url) as watcher:
            assert wait_until(lambda: any(watcher.timelines.services[process.pid].readings), WITHIN_S)
            wait_for_polls(watcher, 1)
            process.process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            wait_for_polls(watcher, 2)
            process.process.wait()
            wait_for_polls(watcher, 2)
        telemetry = watcher.telemetry(0)
    for of, name in (
        (f"worker {process.pid}", "rss_bytes"), ("workers", "rss_bytes"), (f"worker {process.pid}", "cpu_ratio"),
        (f"worker {process.pid}", "pool_waiting"),
    ):  # fmt: skip
        assert any(value is not None for value in values(telemetry, of, name))
        assert values(telemetry, of, name)[-3:] == [None, None, None]
    assert None not in values(telemetry, f"worker {os.getpid()}", "rss_bytes")


def test_a_dead_database_is_a_gap(reaper: Reaper) -> None:
    """After the database stops, its figures are gaps; memory is still recorded, and nothing is raised (L6)."""
    with (
        embedded.temporary_cluster(reaper) as brief,
        psycopg.connect(conninfo(brief.url()), autocommit=True, application_name="bookstore-lab") as own,
    ):
        with Watcher([os.getpid()], connection=own, postmaster=brief.pid(), database="postgres") as watcher:
            wait_for_polls(watcher, 3)
            brief.stop("immediate")
            wait_for_polls(watcher, 3)
        telemetry = watcher.telemetry(0)
        assert watcher.usage(0, 1e9, lambda *_: 10).database_cpu_ms_per_request is None
    for name in ("sessions_foreign", "max_connections", "cpu_ratio"):
        assert any(value is not None for value in values(telemetry, "postgres", name))
        assert values(telemetry, "postgres", name)[-2:] == [None, None]
    assert None not in values(telemetry, "workers", "rss_bytes")


def test_a_late_poll_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments without a poll are recorded as gaps."""
    watcher = Watcher([os.getpid()])
    read = watcher._machine.read
    delayed: list[int] = []

    def slow(ours: dict[int, float]) -> dict[str, float]:
        if not delayed and watcher.polls == 2:
            delayed.append(watcher.polls)
            time.sleep(0.7)
        return read(ours)

    monkeypatch.setattr(watcher._machine, "read", slow)
    with watcher:
        wait_for_polls(watcher, 7)
    telemetry = watcher.telemetry(0)
    assert None in values(telemetry, "machine", "load1")
    assert telemetry.at_s == sorted(telemetry.at_s)


def test_describe_cost() -> None:
    """The sentence on the cost sums over all watchers."""
    sentence = describe_cost([Cost(10.0, 0.1, 0.01, 40), Cost(30.0, 0.1, 0.01, 120)])
    assert (
        sentence
        == "The watcher polled 160 times in 40 s, which took 0.50% of a core, plus 0.05% of a core in PostgreSQL."
    )
    assert describe_cost([]) == "Nothing was watched."
