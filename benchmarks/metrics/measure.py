"""CPU cost per request of counting for the metrics port, paired, in one run.

    .venv/bin/python benchmarks/metrics/measure.py [PROFILE]

Six processes call the application without a socket: three count, three do not. They take turns in random order with
chunks of 100 requests for 100 books, on 10,000 real books. Ratios are of the quartiles of CPU per chunk. Before that,
the benchmark times the counting of one request alone, in shared-memory cells and with prometheus_client's
multiprocess mode.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import psycopg
import uvloop

from bookstore.app import create_app
from bookstore.catalog import datasets
from bookstore.database import embedded, migrations
from bookstore.database.url import conninfo
from bookstore.observability.metrics import shared_memory
from bookstore.observability.metrics.block import (
    COLLECTIONS,
    HOLD,
    IN_FLIGHT,
    REQUESTED,
    ROW_STATEMENTS,
    STATEMENT_S,
    STATEMENTS,
    WAIT,
    Block,
)
from bookstore.observability.metrics.requests import TALLY, Tally
from bookstore.reaper import Reaper

PAIRS: Final = 3
ROUNDS: Final = 60
CHUNK: Final = 100
CLIENTS: Final = 5
_SCOPE: Final = {
    "type": "http", "method": "GET", "path": "/books", "raw_path": b"/books", "query_string": b"limit=100",
    "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "scheme": "http",
    "http_version": "1.1", "root_path": "", "asgi": {"version": "3.0"},
}  # fmt: skip


async def _serve_chunks() -> None:
    """Serve one chunk for each line on stdin, and print its CPU time in seconds to stdout."""
    import time  # noqa: PLC0415 - only the child process needs it

    app: Any = create_app()

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200, message

    async def client() -> None:
        for _ in range(CHUNK // CLIENTS):
            await app({**_SCOPE, "state": {}}, receive, send)

    async with app.lifespan():
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            began_s = time.process_time()
            await asyncio.gather(*(client() for _ in range(CLIENTS)))
            print(time.process_time() - began_s, flush=True)


def _child(url: str, profile: str, *, counts: bool) -> subprocess.Popen[str]:
    environment = {**os.environ, "DATABASE_URL": url, "BOOKSTORE_PROFILE": profile, "BOOKSTORE_WORKER": "1"}
    return subprocess.Popen(
        [sys.executable, __file__, "counting" if counts else "plain"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _chunk_s(child: subprocess.Popen[str]) -> float:
    assert child.stdin
    assert child.stdout
    child.stdin.write("\n")
    child.stdin.flush()
    return float(child.stdout.readline())


def _measure_requests(url: str, profile: str) -> None:
    children = [(counts, _child(url, profile, counts=counts)) for counts in (False, True) * PAIRS]
    took: dict[bool, list[float]] = {False: [], True: []}
    try:
        for number in range(ROUNDS + 5):
            for counts, child in random.sample(children, len(children)):
                chunk_s = _chunk_s(child)
                if number >= 5:  # the first five are the warm-up
                    took[counts].append(chunk_s / CHUNK * 1e6)
    finally:
        for _, child in children:
            child.communicate()
    off, on = (statistics.quantiles(took[counts], n=4) for counts in (False, True))
    for place, name in enumerate(("first quartile", "median", "third quartile")):
        print(f"{profile}, {name}: off {off[place]:.1f} µs, on {on[place]:.1f} µs; x {on[place] / off[place]:.4f}")


def _count_in_cells() -> Callable[[], None]:
    with shared_memory.blocks(1) as blocks:
        block: Block = blocks[0]
    cells = block.cells

    def count() -> None:
        cells[IN_FLIGHT] += 1
        tally = Tally()
        TALLY.set(tally)
        cells[IN_FLIGHT] -= 1
        row = block.row("GET", "/books", 200)
        block.observe(row, 0.002)
        cells[row + ROW_STATEMENTS] += tally.statements
        cells[REQUESTED] += 1
        block.observe(WAIT, 0.0001)
        block.observe(HOLD, 0.001)
        cells[STATEMENTS] += 1
        cells[STATEMENT_S] += 0.001
        if current := TALLY.get():
            current.statements += 1
        cells[COLLECTIONS] += 1

    return count


def _count_with_library() -> Callable[[], None]:
    from prometheus_client import Counter, Gauge, Histogram  # noqa: PLC0415 - after PROMETHEUS_MULTIPROC_DIR is set

    flight = Gauge("flight", "", multiprocess_mode="livesum")
    total = Counter("requests", "", ["method", "route", "status"])
    seconds = Histogram("seconds", "", ["method", "route"])
    by_route = Counter("by_route", "", ["method", "route"])
    asked, statements, took, runs = (Counter(name, "") for name in ("asked", "statements", "took", "runs"))
    wait, hold = Histogram("wait", ""), Histogram("hold", "")

    def count() -> None:
        flight.inc()
        flight.dec()
        total.labels("GET", "/books", "200").inc()
        seconds.labels("GET", "/books").observe(0.002)
        by_route.labels("GET", "/books").inc()
        asked.inc()
        wait.observe(0.0001)
        hold.observe(0.001)
        statements.inc()
        took.inc(0.001)
        runs.inc()

    return count


def main() -> None:
    if sys.argv[1:] in (["counting"], ["plain"]):
        with ExitStack() as stack:
            if sys.argv[1] == "counting":
                stack.enter_context(shared_memory.blocks(1))
            uvloop.run(_serve_chunks())
        return
    profile = sys.argv[1] if len(sys.argv) > 1 else "default"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(Path(folder))
        for name, prepare in {"shared cells": _count_in_cells, "prometheus_client": _count_with_library}.items():
            best = min(timeit.repeat(prepare(), number=20_000, repeat=5)) / 20_000
            print(f"counting one request with {name}: {best * 1e6:.2f} µs")
    with Reaper() as reaper, embedded.temporary_cluster(reaper) as cluster:
        url = cluster.url()
        migrations.upgrade(url.set(drivername="postgresql+psycopg"))
        with psycopg.connect(conninfo(url)) as connection:
            datasets.import_file(connection, datasets.sample_path())
        _measure_requests(conninfo(url), profile)


if __name__ == "__main__":
    main()
