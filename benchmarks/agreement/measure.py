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

_SCRIPT: Final = """
done = function(summary, latency, _)
  io.write(string.format("result %f %f\\n", summary.requests * 1e6 / summary.duration, latency:percentile(50) / 1000))
end
"""


class Figure(NamedTuple):
    throughput_per_s: float
    p50_ms: float


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--apart"]
    profile = arguments[0] if arguments else PROFILE
    rounds = int(arguments[1]) if len(arguments) > 1 else ROUNDS
    seconds = float(arguments[2]) if len(arguments) > 2 else SECONDS
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
    workload = msgspec.structs.replace(workload_file.load("list-20"), duration=seconds)
    figures: dict[str, list[Figure]] = {OURS: [], "wrk": [], "ab": []}
    with Reaper() as reaper, tempfile.TemporaryDirectory(prefix="bookstore-agreement-") as text:
        folder = Path(text)
        reaper.watch("folder", folder)
        with embedded.temporary_cluster(reaper, {"autovacuum_naptime": "1d"}) as cluster:
            url = cluster.url()
            migrations.upgrade(url.set(drivername="postgresql+psycopg"))
            with psycopg.connect(conninfo(url)) as connection:
                datasets.generate(connection, books=BOOKS, seed=1)
            with deploy(profile, url, folder, reaper) as deployment:
                if is_apart:
                    os.sched_setaffinity(0, cores[-1:])  # the tools inherit it
                _run_lab(workload, deployment.base, folder, reaper)  # warm-up
                quick = msgspec.structs.replace(workload, warm_up=0)
                for number in range(1, rounds + 1):
                    for tool in random.sample(list(figures), len(figures)):
                        print(f"round {number}/{rounds} {tool}", file=sys.stderr)
                        if tool == OURS:
                            figure = _run_lab(quick, deployment.base, folder, reaper)
                        else:
                            figure = (_run_wrk if tool == "wrk" else _run_ab)(workload, deployment.base, folder)
                        figures[tool].append(figure)
    _print(profile, workload, rounds, figures)


def _run_lab(workload: Workload, base: str, folder: Path, reaper: Reaper) -> Figure:
    outcome = k9.send(workload, Target(base, []), folder, reaper, lambda *_: None, seed=1)
    measured = outcome.samples.measured(workload.duration, workload.model)
    if not measured.ok.all():
        sys.exit("requests failed")
    return Figure(len(measured) / workload.duration, float(np.median(measured.latency_ms)))


def _run_wrk(workload: Workload, base: str, folder: Path) -> Figure:
    script = folder / "report.lua"
    script.write_text(_SCRIPT)
    clients, seconds = f"-c{workload.concurrency}", f"-d{workload.duration:.0f}s"
    output = _run_tool(
        ["wrk", "-t1", clients, seconds, "-s", str(script), base + workload.requests[0].path], workload.duration
    )
    match = re.search(r"^result (\S+) (\S+)$", output, re.MULTILINE)
    if not match or "Non-2xx" in output:
        sys.exit(f"wrk: {output}")
    return Figure(float(match[1]), float(match[2]))


def _run_ab(workload: Workload, base: str, folder: Path) -> Figure:
    percentiles = folder / "ab.csv"
    command = [
        "ab", "-q", "-k", f"-c{workload.concurrency}", f"-t{workload.duration:.0f}", f"-n{MOST_REQUESTS}",
        "-e", str(percentiles), base + workload.requests[0].path,
    ]  # fmt: skip
    output = _run_tool(command, workload.duration)
    match = re.search(r"^Requests per second: +(\S+)", output, re.MULTILINE)
    if not match or "Non-2xx" in output:
        sys.exit(f"ab: {output}")
    with percentiles.open() as rows:
        p50_ms = next(float(row[1]) for row in csv.reader(rows) if row[0] == "50")
    return Figure(float(match[1]), p50_ms)


def _run_tool(command: list[str], seconds: float) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + SPARE_S)
    if result.returncode:
        sys.exit(f"{command[0]}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def _print(profile: str, workload: Workload, rounds: int, figures: dict[str, list[Figure]]) -> None:
    path = workload.requests[0].path
    print(f"{profile}: GET {path}, {workload.concurrency} clients, {rounds} rounds of {workload.duration:.0f} s\n")
    for tool, rows in figures.items():
        throughput, p50_ms = (median(column) for column in zip(*rows, strict=True))
        print(f"{tool:<10} {throughput:8.1f} req/s   p50 {p50_ms:7.3f} ms   (medians over the rounds)")
    for name in Figure._fields:
        print(f"\n{name}, ratio to {OURS}")
        ours = [getattr(figure, name) for figure in figures[OURS]]
        for tool in ("wrk", "ab"):
            theirs = [getattr(figure, name) for figure in figures[tool]]
            ratios = [their / our for their, our in zip(theirs, ours, strict=True)]
            comparison = ratio(theirs, ours)
            interval = (
                "" if comparison.low is None else f"  95 % interval: {comparison.low:.3f} to {comparison.high:.3f}"
            )
            print(f"{tool:<10} {comparison.estimate:.3f}{interval}  range: {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
