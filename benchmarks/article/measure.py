"""The article's async design compared with profiles of this service, interleaved, in one run.

Uses the same database, catalogue, load generator and rounds as `bookstore compare`. The design has its own Python
environment beside this file. Before each measurement, the response is checked to contain the same books.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
import sqlalchemy as sa

from bookstore.catalog import datasets
from bookstore.database import embedded, migrations
from bookstore.database.url import conninfo
from bookstore.lab.analysis.statistics import percentile, ratio
from bookstore.lab.load import k9
from bookstore.lab.testbed.deployment import HOST, Deployment, DeploymentError
from bookstore.lab.testbed.process import deploy, free_port, wait_until
from bookstore.lab.workload import file as workload_file
from bookstore.reaper import Reaper, end_group

DESIGN: Final = "article's design"
PROFILES: Final = ("asyncpg-joined", "asyncpg-json")
ROUNDS: Final = 5
HERE: Final = Path(__file__).parent


@contextmanager
def article(url: sa.URL, folder: Path, reaper: Reaper) -> Iterator[Deployment]:
    """Run the article's design in one uvicorn worker until it is ready."""
    port = free_port()
    asyncpg_url = url.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    with (folder / "article.log").open("wb") as log:
        process = subprocess.Popen(
            [HERE / ".venv/bin/uvicorn", "app:app", "--host", HOST, "--port", str(port), "--no-access-log"],
            cwd=HERE,
            env={"PATH": os.environ["PATH"], "ARTICLE_DATABASE_URL": asyncpg_url},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    reaper.watch("group", process.pid)
    deployment = Deployment(process, port)

    def ready() -> bool:
        if process.poll() is not None:
            sys.exit((folder / "article.log").read_text())
        try:
            return deployment.get("/books?limit=1")[0] == 200
        except DeploymentError:
            return False

    try:
        if not wait_until(ready, 30):
            sys.exit("the article's design did not become ready within 30 s")
        yield deployment
    finally:
        end_group(process.pid)
        process.wait()
        reaper.forget("group", process.pid)


def main() -> None:
    workload = workload_file.load("list-100")
    figures: dict[str, list[float]] = {name: [] for name in (DESIGN, *PROFILES)}
    latencies: dict[str, list[float]] = {name: [] for name in figures}
    with Reaper() as reaper, tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        with embedded.temporary_cluster(reaper, {"autovacuum_naptime": "1d"}) as cluster:
            url = cluster.url()
            migrations.upgrade(url.set(drivername="postgresql+psycopg"))
            with psycopg.connect(conninfo(url)) as connection:
                datasets.import_file(connection, datasets.sample_path())
            expected: object = None
            for number in range(1, ROUNDS + 1):
                for name in random.sample(list(figures), len(figures)):
                    print(f"round {number}/{ROUNDS} {name}", file=sys.stderr)
                    running = article(url, folder, reaper) if name == DESIGN else deploy(name, url, folder, reaper)
                    with running as deployment:
                        body = json.loads(deployment.get("/books?limit=100")[1])
                        items = body if name == DESIGN else body["items"]
                        expected = expected or items
                        if items != expected:
                            sys.exit(f"{name}: the response contains different books")
                        target = k9.Target(deployment.base, [])
                        outcome = k9.send(workload, target, folder, reaper, lambda *_: None, seed=number)
                    measured = outcome.samples.measured(workload.duration, workload.model)
                    if not measured.ok.all():
                        sys.exit(f"{name}: requests failed")
                    figures[name].append(len(measured) / workload.duration)
                    latencies[name] += measured.latency_ms.tolist()
    path = workload.requests[0].path
    print(f"GET {path}, {workload.concurrency} clients, {ROUNDS} interleaved rounds of {workload.duration:g} s")
    for name, throughput in figures.items():
        speedup = ratio(throughput, figures[DESIGN])
        ordered = sorted(latencies[name])
        interval = "" if speedup.low == speedup.high else f" ({speedup.low:.2f} to {speedup.high:.2f})"
        print(
            f"{name:<18}{sum(throughput) / ROUNDS:8.1f} req/s  x {speedup.estimate:.2f}{interval}"
            f"  p50 {percentile(ordered, 0.5):.1f} ms  p99 {percentile(ordered, 0.99):.1f} ms"
        )


if __name__ == "__main__":
    main()
