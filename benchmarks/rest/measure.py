"""Throughput and CPU of the REST API, reading and writing, under one profile, in interleaved rounds of one run.

    .venv/bin/python benchmarks/rest/measure.py [PROFILE]

Uses the 10,000 real books on an embedded PostgreSQL with fsync on, as in production, one server, and five clients
over kept-alive connections. Each ratio compares a case with the baseline case of its kind. CPU is that of the
workers, in µs per request; on a shared machine it varies less than throughput.
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
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import psycopg
import sqlalchemy as sa

from bookstore.auth import tokens
from bookstore.catalog import datasets
from bookstore.database import embedded, migrations
from bookstore.database.url import conninfo
from bookstore.lab.testbed.deployment import HOST, Deployment, DeploymentError
from bookstore.lab.testbed.process import free_port, wait_until
from bookstore.reaper import Reaper, end_process

ROUNDS: Final = 5
SECONDS: Final = 3.0
CLIENTS: Final = 5
BATCH: Final = 1000

_BOOK: Final = '{"title": "The Silver Garden {{ randomInt(1, 100000) }}", "author_ids": [1, 2], "genre_ids": [1, 3]}'
_TITLE: Final = '{"title": "The Golden Winter {{ randomInt(1, 100000) }}"}'
_ITEMS: Final = ",".join(f'{{"title": "The Wolf of Winter {n}", "author_ids": [{n % 99 + 1}]}}' for n in range(BATCH))
_ANY_ID: Final = "/books/{{ randomInt(1, 10000) }}"
_LIST: Final = "/books?limit=100"


class Case(NamedTuple):
    """A repeated request.

    `of` names the case that it is compared with, `knows` sends the current ETag, and `each` is the number of
    books per request.
    """

    method: str
    path: str
    of: str
    headers: Mapping[str, str] = MappingProxyType({})
    body: str | None = None
    knows: bool = False
    each: int = 1


def cases(token: str) -> dict[str, Case]:
    """Return the cases by name; the writing ones send `token`."""
    write = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "If-Match": "*"}
    return {
        "detail": Case("GET", _ANY_ID, "detail"),
        "list of 20": Case("GET", "/books?limit=20", "list of 20"),
        "search": Case("GET", "/books?q=harry%20poter", "search"),
        "list of 100": Case("GET", _LIST, "list of 100"),
        "list of 100, gzip": Case("GET", _LIST, "list of 100", {"Accept-Encoding": "gzip"}),
        "list of 100, br": Case("GET", _LIST, "list of 100", {"Accept-Encoding": "br"}),
        "list of 100, zstd": Case("GET", _LIST, "list of 100", {"Accept-Encoding": "zstd"}),
        "list of 100, known (304)": Case("GET", _LIST, "list of 100", knows=True),
        "create": Case("POST", "/books", "create", write, _BOOK),
        "create, with a key": Case("POST", "/books", "create", write | {"Idempotency-Key": "{{ uuid() }}"}, _BOOK),
        "update (PATCH)": Case("PATCH", _ANY_ID, "create", write, _TITLE),
        f"batch of {BATCH}, books": Case(
            "POST", "/books:batch", "create", write, f'{{"items": [{_ITEMS}]}}', each=BATCH
        ),
    }


@contextmanager
def serve(profile: str, url: sa.URL, line: str, folder: Path, reaper: Reaper) -> Iterator[Deployment]:
    """Run the service until it is ready; the token in the tokens-file line `line` may write."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BOOKSTORE_")}
    environment |= {"BOOKSTORE_PROFILE": profile, "BOOKSTORE_API_TOKENS": line, "DATABASE_URL": conninfo(url)}
    log = folder / "service.log"
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


def send(case: Case, deployment: Deployment, folder: Path) -> tuple[float, float]:
    """Return (requests per second, µs of worker CPU per request). Exit if a request fails."""
    headers = dict(case.headers)
    if case.knows:
        headers["If-None-Match"] = _etag(deployment, case.path)
    request: dict[str, Any] = {"method": case.method, "url": deployment.base + case.path, "headers": headers}
    if case.body is not None:
        request["body"] = case.body
    plan, samples = folder / "plan.json", folder / "samples.jsonl"
    options = {"vus": CLIENTS, "duration": f"{SECONDS * 1000:.0f}ms"}
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
    if failed := {status for status in statuses if status not in {"200", "201", "304"}}:
        sys.exit(f"{case.method} {case.path}: unexpected status {failed}")
    return len(statuses) / SECONDS, used / len(statuses) * 1e6


def _etag(deployment: Deployment, path: str) -> str:
    headers = subprocess.run(
        ["curl", "-sI", deployment.base + path], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return next(line.partition(":")[2].strip() for line in headers if line.lower().startswith("etag:"))


def _cpu_s(deployment: Deployment) -> float:
    return float(sum(sum(worker.cpu_times()[:2]) for worker in deployment.workers()))


def main() -> None:
    profile = sys.argv[1] if len(sys.argv) > 1 else "default"
    token, entry = tokens.create("benchmark", ["catalog:write"], date.today())  # noqa: DTZ011 - a label
    cases_by_name = cases(token)
    figures_by_name: dict[str, list[tuple[float, float]]] = {name: [] for name in cases_by_name}
    with Reaper() as reaper, tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        durable = {"fsync": "on", "full_page_writes": "on", "max_wal_size": "4GB"}
        with embedded.temporary_cluster(reaper, durable) as cluster:
            url = cluster.url()
            migrations.upgrade(url.set(drivername="postgresql+psycopg"))
            with psycopg.connect(conninfo(url)) as connection:
                datasets.import_file(connection, datasets.sample_path())
            with serve(profile, url, entry.line(), folder, reaper) as deployment:
                for number in range(ROUNDS + 1):  # round 0 is the warm-up
                    for name in random.sample(list(cases_by_name), len(cases_by_name)):
                        print(f"round {number}/{ROUNDS} {name}", file=sys.stderr)
                        figures = send(cases_by_name[name], deployment, folder)
                        if number:
                            figures_by_name[name].append(figures)
    print(f"{profile}: {CLIENTS} clients, {ROUNDS} interleaved rounds of {SECONDS:g} s, medians")
    for name, case in cases_by_name.items():
        rates, costs = zip(*figures_by_name[name], strict=True)
        ratios = [
            cost / base for (_, cost), (_, base) in zip(figures_by_name[name], figures_by_name[case.of], strict=True)
        ]
        compared = f"  CPU x {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(
            f"{name:<26}{statistics.median(rates) * case.each:8.0f}/s  CPU {statistics.median(costs):7.0f} µs"
            f"{'' if case.of == name else compared}"
        )


if __name__ == "__main__":
    main()
