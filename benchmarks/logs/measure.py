"""Cost of monitoring a service: metrics port, slow-statement log, JSON log with one line per request; paired.

    .venv/bin/python benchmarks/logs/measure.py [PROFILE] [ROUNDS] [SECONDS]

Runs one server for each kind of monitoring, all at the same time, on the 10,000 real books in one embedded PostgreSQL.
In each round, five clients that request 100 books load the servers one after the other, in random order. Each server
is compared with the unmonitored one of the same round. Throughput is measured at the clients. CPU is that of the
workers per request; on a shared machine it varies less than throughput. The log goes to a file.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psycopg

from bookstore.catalog import datasets
from bookstore.database import embedded, migrations
from bookstore.database.url import conninfo
from bookstore.lab.analysis.statistics import ratio
from bookstore.lab.testbed.deployment import HOST, Deployment, DeploymentError
from bookstore.lab.testbed.process import free_port, wait_until
from bookstore.reaper import Reaper, end_process

ROUNDS: Final = 12
SECONDS: Final = 3.0
CLIENTS: Final = 5
PATH: Final = "/books?limit=100"

UNWATCHED: Final = "none"
Ways = Mapping[str, Mapping[str, str]]


def ways() -> Ways:
    """Return the environment variables for each kind of monitoring."""
    off, requests = {"BOOKSTORE_SLOW_STATEMENT": "off"}, {"BOOKSTORE_LOG_REQUESTS": "on"}
    return {
        UNWATCHED: off,
        "slow statements": {},
        "metrics port": off | {"BOOKSTORE_METRICS_PORT": str(free_port())},
        "request log": off | requests,
        "everything": requests | {"BOOKSTORE_METRICS_PORT": str(free_port())},
    }


@contextmanager
def serve(profile: str, url: str, variables: Mapping[str, str], log: Path, reaper: Reaper) -> Iterator[Deployment]:
    """Run the service until it is ready, with its log in the file `log`."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BOOKSTORE_")}
    environment |= {"BOOKSTORE_PROFILE": profile, "DATABASE_URL": url, "BOOKSTORE_LOG_FORMAT": "json", **variables}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bookstore", "serve", "--host", HOST, "--port", str(port)],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    reaper.watch("group", process.pid)
    deployment = Deployment(process, port)

    def ready() -> bool:
        if process.poll() is not None:
            sys.exit(log.read_text())
        try:
            return deployment.get("/health/ready")[0] == 200
        except DeploymentError:
            return False

    try:
        if not wait_until(ready, 30):
            sys.exit(log.read_text())
        deployment.verify_identity()
        yield deployment
    finally:
        end_process(process, 15)
        reaper.forget("group", process.pid)


def load(deployment: Deployment, seconds: float, folder: Path) -> tuple[float, float]:
    """Return (requests per second, µs of worker CPU per request). Exit if a request fails."""
    plan, samples = folder / "plan.json", folder / "samples.jsonl"
    request = {"method": "GET", "url": deployment.base + PATH}
    options = {"vus": CLIENTS, "duration": f"{seconds * 1000:.0f}ms"}
    plan.write_text(json.dumps({"options": options, "flows": {"default": [{"request": request}]}}))
    before = _cpu_s(deployment)
    subprocess.run(
        [
            sys.executable, "-P", "-m", "k9", "run", "--quiet", "--no-color", "--no-summary",
            "--discard-response-bodies", "--system-tags", "status", "--out", f"json={samples}", str(plan),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    used = _cpu_s(deployment) - before
    lines = [json.loads(line) for line in samples.read_text().splitlines() if '"metric":"http_reqs"' in line]
    statuses = [line["data"]["tags"]["status"] for line in lines if line["type"] == "Point"]
    if failed := set(statuses) - {"200"}:
        sys.exit(f"{PATH}: unexpected status {failed}")
    return len(statuses) / seconds, used / len(statuses) * 1e6


def _cpu_s(deployment: Deployment) -> float:
    return float(sum(sum(worker.cpu_times()[:2]) for worker in deployment.workers()))


def format_row(name: str, figures: list[tuple[float, float]], base: list[tuple[float, float]]) -> str:
    """Return a table row: the medians, and the differences in percent with their 95 % intervals."""
    line = f"{name:<18}"
    for place, unit in ((0, "/s"), (1, " µs")):
        own, others = ([row[place] for row in rows] for rows in (figures, base))
        line += f"{statistics.median(own):9.0f}{unit}"
        comparison = ratio(own, others)
        if name == UNWATCHED:
            line += " " * 24
        elif comparison.low is None or comparison.high is None:
            line += f"{_percent(comparison.estimate):>8}" + " " * 16
        else:
            interval = f"({_percent(comparison.low)} to {_percent(comparison.high)})"
            line += f"{_percent(comparison.estimate):>8} {interval:<15}"
    return line.rstrip()


def _percent(times: float) -> str:
    return f"{(times - 1) * 100:+.1f}"


def main() -> None:
    profile, rounds, seconds = [*sys.argv[1:], *["default", str(ROUNDS), str(SECONDS)][len(sys.argv) - 1 :]]
    variables_by_way = ways()
    figures_by_way: dict[str, list[tuple[float, float]]] = {name: [] for name in variables_by_way}
    with Reaper() as reaper, tempfile.TemporaryDirectory() as text, embedded.temporary_cluster(reaper) as cluster:
        folder, url = Path(text), cluster.url()
        migrations.upgrade(url.set(drivername="postgresql+psycopg"))
        with psycopg.connect(conninfo(url)) as connection:
            datasets.import_file(connection, datasets.sample_path())
        with ExitStack() as stack:
            servers = {
                name: stack.enter_context(serve(profile, conninfo(url), variables, folder / f"{number}.log", reaper))
                for number, (name, variables) in enumerate(variables_by_way.items())
            }
            for number in range(int(rounds) + 1):  # round 0 is the warm-up
                for name in random.sample(list(variables_by_way), len(variables_by_way)):
                    print(f"round {number}/{rounds} {name}", file=sys.stderr)
                    figure = load(servers[name], float(seconds), folder)
                    if number:
                        figures_by_way[name].append(figure)
    print(f"{profile}: GET {PATH}, {CLIENTS} clients, {rounds} interleaved rounds of {seconds} s")
    print("medians; difference in % from the unmonitored server of the same round, with 95 % interval")
    print(f"{'monitoring':<18}{'throughput':>11}{'%':>8}{'CPU per request':>28}{'%':>8}")
    for name, figures in figures_by_way.items():
        print(format_row(name, figures, figures_by_way[UNWATCHED]))


if __name__ == "__main__":
    main()
