"""Cost of the lab's watcher for the service: slices with and without it, in pairs, on one deployment.

    .venv/bin/python benchmarks/watcher/measure.py [PROFILE] [PAIRS]

Uses 10,000 generated books, five clients that never pause, and one k9 run over all slices. The order within each pair
is random. Throughput counts the requests completed within a slice, without its first tenth of a second; CPU is that
of the workers. The result is the median of the pairs' ratios: a virtual machine's cores may be half as fast for some
seconds, and such pairs would dominate a mean. Its interval comes from the sign test, which assumes only that the pairs
are independent.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import psycopg
from scipy.stats import binom

from bookstore.catalog import datasets
from bookstore.database import embedded, migrations
from bookstore.database.url import conninfo
from bookstore.lab.record.run_record import Interval
from bookstore.lab.telemetry import processes
from bookstore.lab.telemetry.watcher import Cost, Watcher, describe_cost
from bookstore.lab.testbed.process import deploy
from bookstore.reaper import Reaper, end_process

PAIRS: Final = 200
FEWEST_PAIRS: Final = 6
"""With fewer pairs, all may be on one side by chance in more than 5 % of cases, so the sign test gives no interval."""
SLICE_S: Final = 1.0
SETTLE_S: Final = 0.1
WARM_UP_S: Final = 4.0
CLIENTS: Final = 5
PATH: Final = "/books?limit=100"
SETTINGS: Final = {
    "shared_buffers": "256MB",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "off",
    "autovacuum_naptime": "1d",
}


class Slice(NamedTuple):
    """A part of the run, bounded by time.time() values, and the CPU seconds that the workers used in it."""

    begin_s: float
    end_s: float
    cpu_s: float


def main() -> None:
    profile = sys.argv[1] if len(sys.argv) > 1 else "asyncpg-json"
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else PAIRS
    if pairs < FEWEST_PAIRS:
        sys.exit(f"{pairs} pairs are too few for an interval; use at least {FEWEST_PAIRS}")
    with ExitStack() as stack:
        reaper = stack.enter_context(Reaper())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bookstore-watcher-")))
        cluster = stack.enter_context(embedded.temporary_cluster(reaper, SETTINGS))
        migrations.upgrade(cluster.url().set(drivername="postgresql+psycopg"))
        with psycopg.connect(conninfo(cluster.url())) as connection:
            datasets.generate(connection, books=10_000, seed=1)
            connection.execute("CREATE EXTENSION pg_stat_statements")
        watcher_connection = stack.enter_context(
            psycopg.connect(conninfo(cluster.url()), autocommit=True, application_name="bookstore-lab")
        )
        deployment = stack.enter_context(deploy(profile, cluster.url(), folder, reaper))
        pids = deployment.verify_identity()
        load = start_load(deployment.base + PATH, folder, reaper)
        costs: list[Cost] = []

        def measure_slice(watched: bool) -> Slice:
            if not watched:
                return take_slice(pids)
            with Watcher(pids, connection=watcher_connection, postmaster=cluster.pid(), database="postgres") as watcher:
                watcher.load_pid = load.pid
                measured = take_slice(pids)
            costs.append(watcher.cost)
            return measured

        try:
            time.sleep(WARM_UP_S)
            slices: list[dict[bool, Slice]] = []
            for number in range(pairs):
                print(f"pair {number + 1}/{pairs}", file=sys.stderr)
                order = random.sample([True, False], 2)
                slices.append({watched: measure_slice(watched) for watched in order})
        finally:
            end_process(load, grace_s=2)
            reaper.forget("group", load.pid)
        done = done_s(folder / "samples.jsonl")
    report(profile, slices, done)
    print(describe_cost(costs))


def start_load(url: str, folder: Path, reaper: Reaper) -> subprocess.Popen[bytes]:
    plan = folder / "plan.json"
    options = {"vus": CLIENTS, "duration": "1h"}  # stopped when all slices are done
    plan.write_text(json.dumps({"options": options, "flows": {"default": [{"request": {"url": url}}]}}))
    process = subprocess.Popen(
        [
            sys.executable, "-P", "-m", "k9", "run", "--quiet", "--no-color", "--no-summary",
            "--discard-response-bodies", "--system-tags", "status", "--out", f"json={folder / 'samples.jsonl'}", plan,
        ],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    reaper.watch("group", process.pid)
    return process


def take_slice(pids: list[int]) -> Slice:
    time.sleep(SETTLE_S)
    begin_s, used_s = time.time(), sum(map(processes.cpu_s, pids))
    time.sleep(SLICE_S)
    return Slice(begin_s, time.time(), sum(map(processes.cpu_s, pids)) - used_s)


def done_s(file: Path) -> list[float]:
    """Return the completion times of the requests (as time.time()), in ascending order. Exit if one failed."""
    moments = []
    for line in file.read_text().splitlines():
        if '"metric":"http_reqs"' not in line or '"Point"' not in line or not line.endswith("}"):
            continue
        data = json.loads(line)["data"]
        if data["tags"]["status"] != "200":
            sys.exit(f"a request failed with status {data['tags']['status']}")
        moments.append(datetime.fromisoformat(data["time"]).timestamp())
    return sorted(moments)


def report(profile: str, pairs: list[dict[bool, Slice]], done: list[float]) -> None:
    def count(part: Slice) -> int:
        return bisect_left(done, part.end_s) - bisect_left(done, part.begin_s)

    def compare(figure: Callable[[Slice], float]) -> Interval:
        ratios = sorted(figure(pair[True]) / figure(pair[False]) for pair in pairs)
        rank = int(binom.ppf(0.025, len(ratios), 0.5))  # bounds: rank-th from either end, counted from 1
        return Interval(statistics.median(ratios), ratios[rank - 1], ratios[-rank])

    rates = [count(pair[False]) / (pair[False].end_s - pair[False].begin_s) for pair in pairs]
    print(f"{profile}: {len(pairs)} pairs of {SLICE_S:g} s, {statistics.median(rates):.0f} req/s unwatched")
    print("watched / unwatched, with 95 % interval:")
    ratios_by_figure = {
        "throughput": compare(lambda part: count(part) / (part.end_s - part.begin_s)),
        "CPU a request": compare(lambda part: part.cpu_s / count(part)),
    }
    for name, interval in ratios_by_figure.items():
        print(f"  {name:<14}{interval.estimate:.4f} ({interval.low:.4f} to {interval.high:.4f})")


if __name__ == "__main__":
    main()
