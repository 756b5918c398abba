"""Agreement of the lab's load generator with wrk and ab: all three load one deployment at the same concurrency, in
interleaved rounds.

    .venv/bin/python benchmarks/agreement/measure.py [--apart] [PROFILE] [ROUNDS] [SECONDS]

Uses 10,000 generated books, the workload list-20 and a random order in each round. Prints the throughput and median
latency of each tool, and the ratios of wrk and ab to the lab's generator: the geometric mean over the rounds with its
95 % interval and its range. With --apart, the load runs alone on the machine's last core, and the service and
PostgreSQL run on the others, so that a generator's own CPU use does not slow the service. On Debian, install wrk and
apache2-utils.
"""

from __future__ import annotations

import csv
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import msgspec
import numpy as np
import psycopg

from bookstore.catalog import datasets
from bookstore.database import embedded, migrations
from bookstore.database.url import conninfo
from bookstore.lab.analysis.statistics import ratio
from bookstore.lab.load import k9
from bookstore.lab.load.k9 import Target
from bookstore.lab.testbed.process import deploy
from bookstore.lab.workload import file as workload_file
from bookstore.lab.workload.spec import Workload
from bookstore.reaper import Reaper

PROFILE: Final = "asyncpg-json"
ROUNDS: Final = 5
SECONDS: Final = 5.0
SPARE_S: Final = 60
BOOKS: Final = 10_000
OURS: Final = "bookstore"
MOST_REQUESTS: Final = 500_000
"""ab stops after 50,000 requests by default."""

_TELL: Final = """
done = function(summary, latency, _)
  io.write(string.format("told %f %f\\n", summary.requests * 1e6 / summary.duration, latency:percentile(50) / 1000))
end
"""


class Figure(NamedTuple):
    throughput_per_s: float
    p50_ms: float


def main() -> None:
    given = [argument for argument in sys.argv[1:] if argument != "--apart"]
    profile = given[0] if given else PROFILE
    rounds = int(given[1]) if len(given) > 1 else ROUNDS
    seconds = float(given[2]) if len(given) > 2 else SECONDS
    for tool in ("wrk", "ab"):
        if not shutil.which(tool):
            sys.exit(f"{tool}: not found; install wrk and apache2-utils")
    k9.check()
    cores = sorted(os.sched_getaffinity(0))
    is_apart = "--apart" in sys.argv
    if is_apart and len(cores) == 1:
        sys.exit("--apart needs at least two cores; only one is available")
    if is_apart:
        os.sched_setaffinity(0, cores[:-1])  # PostgreSQL and the service inherit it
    asked = msgspec.structs.replace(workload_file.load("list-20"), duration=seconds)
    figures: dict[str, list[Figure]] = {OURS: [], "wrk": [], "ab": []}
    with Reaper() as reaper, tempfile.TemporaryDirectory(prefix="bookstore-agreement-") as text:
        folder = Path(text)
        reaper.watch("folder", folder)
        with embedded.temporary(reaper, {"autovacuum_naptime": "1d"}) as cluster:
            url = cluster.url()
            migrations.upgrade(url.set(drivername="postgresql+psycopg"))
            with psycopg.connect(conninfo(url)) as connection:
                datasets.generate(connection, books=BOOKS, seed=1)
            with deploy(profile, url, folder, reaper) as deployment:
                if is_apart:
                    os.sched_setaffinity(0, cores[-1:])  # the tools inherit it
                _ours(asked, deployment.base, folder, reaper)  # warm-up
                quick = msgspec.structs.replace(asked, warm_up=0)
                for number in range(1, rounds + 1):
                    for tool in random.sample(list(figures), len(figures)):
                        print(f"round {number}/{rounds} {tool}", file=sys.stderr)
                        if tool == OURS:
                            figure = _ours(quick, deployment.base, folder, reaper)
                        else:
                            figure = (_wrk if tool == "wrk" else _ab)(asked, deployment.base, folder)
                        figures[tool].append(figure)
    _print(profile, asked, rounds, figures)


def _ours(asked: Workload, base: str, folder: Path, reaper: Reaper) -> Figure:
    sent = k9.send(asked, Target(base, []), folder, reaper, lambda *_: None, seed=1)
    counted = sent.samples.measured(asked.duration, asked.model)
    if not counted.ok.all():
        sys.exit("requests failed")
    return Figure(len(counted) / asked.duration, float(np.median(counted.latency_ms)))


def _wrk(asked: Workload, base: str, folder: Path) -> Figure:
    script = folder / "tell.lua"
    script.write_text(_TELL)
    clients, seconds = f"-c{asked.concurrency}", f"-d{asked.duration:.0f}s"
    told = _run(["wrk", "-t1", clients, seconds, "-s", str(script), base + asked.requests[0].path], asked.duration)
    found = re.search(r"^told (\S+) (\S+)$", told, re.MULTILINE)
    if not found or "Non-2xx" in told:
        sys.exit(f"wrk: {told}")
    return Figure(float(found[1]), float(found[2]))


def _ab(asked: Workload, base: str, folder: Path) -> Figure:
    percentiles = folder / "ab.csv"
    command = [
        "ab", "-q", "-k", f"-c{asked.concurrency}", f"-t{asked.duration:.0f}", f"-n{MOST_REQUESTS}",
        "-e", str(percentiles), base + asked.requests[0].path,
    ]  # fmt: skip
    told = _run(command, asked.duration)
    found = re.search(r"^Requests per second: +(\S+)", told, re.MULTILINE)
    if not found or "Non-2xx" in told:
        sys.exit(f"ab: {told}")
    with percentiles.open() as rows:
        p50_ms = next(float(row[1]) for row in csv.reader(rows) if row[0] == "50")
    return Figure(float(found[1]), p50_ms)


def _run(command: list[str], seconds: float) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + SPARE_S)
    if result.returncode:
        sys.exit(f"{command[0]}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def _print(profile: str, asked: Workload, rounds: int, figures: dict[str, list[Figure]]) -> None:
    path = asked.requests[0].path
    print(f"{profile}: GET {path}, {asked.concurrency} clients, {rounds} rounds of {asked.duration:.0f} s\n")
    for tool, found in figures.items():
        throughput, p50_ms = (median(column) for column in zip(*found, strict=True))
        print(f"{tool:<10} {throughput:8.1f} req/s   p50 {p50_ms:7.3f} ms   (medians over the rounds)")
    for name in Figure._fields:
        print(f"\n{name}, ratio to {OURS}")
        ours = [getattr(figure, name) for figure in figures[OURS]]
        for tool in ("wrk", "ab"):
            theirs = [getattr(figure, name) for figure in figures[tool]]
            each = [one / other for one, other in zip(theirs, ours, strict=True)]
            it = ratio(theirs, ours)
            interval = "" if it.low is None else f"  95 % interval: {it.low:.3f} to {it.high:.3f}"
            print(f"{tool:<10} {it.estimate:.3f}{interval}  range: {min(each):.3f} to {max(each):.3f}")


if __name__ == "__main__":
    main()
