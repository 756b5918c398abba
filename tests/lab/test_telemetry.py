from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from bookstore.database_url import conninfo
from bookstore.lab.deploy import wait_until
from bookstore.lab.telemetry import Watcher
from bookstore.postgres import Cluster

WITHIN_S = 30
TELLS_PSS = Path("/proc/self/smaps_rollup").exists()


def test_readings(lab: Cluster, connection: psycopg.Connection) -> None:
    """Memory and CPU of a living process, and its own sessions, busy and idle, nobody else's."""
    name, other = f"bookstore/mine/{os.getpid()}", f"bookstore/other/{os.getpid() + 1}"
    with (
        psycopg.connect(conninfo(lab.url()), application_name=name, autocommit=True) as idle,
        psycopg.connect(conninfo(lab.url()), application_name=name) as within,
        psycopg.connect(conninfo(lab.url()), application_name=other) as foreign,
    ):
        for one in (idle, within, foreign):
            one.execute("SELECT 1")
        with Watcher([os.getpid()], connection) as watcher:
            assert wait_until(lambda: len(watcher.readings) >= 2, WITHIN_S)
    first, second, *_ = watcher.readings
    assert (first.connections, first.idle_in_transaction) == (2, 1)
    assert 0 < first.at_s < second.at_s
    assert first.cpu_s is not None
    assert second.cpu_s is not None
    assert 0 < first.cpu_s <= second.cpu_s
    if TELLS_PSS:
        assert first.pss_bytes is not None
        assert first.pss_bytes > 1_000_000


@pytest.mark.parametrize("reaped", [False, True])
def test_a_dead_worker_is_a_gap(reaped: bool, connection: psycopg.Connection) -> None:
    """Of a worker that is gone there is no figure, and so none for both: null, not 0."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    watcher = Watcher([os.getpid(), child.pid], connection)
    child.kill()
    assert wait_until(lambda: watcher._workers[1].status() == "zombie", WITHIN_S)
    if reaped:
        child.wait()
        assert watcher._cpu_s() is None
    assert watcher._pss_bytes() is None
    child.communicate()


def test_a_dead_database_is_a_gap(lab: Cluster) -> None:
    """Without the database nothing is said of connections; memory is told on."""
    with psycopg.connect(conninfo(lab.url()), autocommit=True) as own:
        pass
    with Watcher([os.getpid()], own) as watcher:
        assert wait_until(lambda: bool(watcher.readings), WITHIN_S)
    assert (watcher.readings[0].connections, watcher.readings[0].idle_in_transaction) == (None, None)
    assert (watcher.readings[0].pss_bytes is not None) == TELLS_PSS
