"""Memory and pauses of a worker under requests that all differ.

    DATABASE_URL=… python benchmarks/variety/measure.py [PROFILE] [REQUESTS]

The database must be migrated and filled. Starts `bookstore serve` with one worker, sends the requests over one
connection on the loopback, and prints the worker's memory, the longest event-loop lag and the garbage collections as
they go. Filters, years, limits, orders, members and cursors vary, so that nearly every request is new to the service.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from typing import Final
from urllib.parse import quote

import psutil

REQUESTS: Final = 20_000
STEPS: Final = 10
MEMORY_TARGET_MB: Final = 25.0
LAG_TARGET_MS: Final = 100.0
WARM_UP: Final = 300

_ORDERS: Final = ("id", "title", "publication_year", "created_at")
_PAIRS: Final = ("publication_year,title", "-publication_year,title")
_MEMBERS: Final = (
    "id", "title", "isbn13", "publication_year", "language", "authors", "genres", "created_at", "updated_at",
)  # fmt: skip
_LANGUAGES: Final = ("en", "de", "fr", "es", "ru", "en-US", "en-GB", "ja", "it")


def path(rng: random.Random, cursor: str | None) -> str:
    """Return a random list; the plain list is continued at `cursor`."""
    parameters: dict[str, object] = {"limit": rng.randint(1, 60)}
    if cursor is not None and rng.random() < 0.1:
        return f"/books?limit={parameters['limit']}&cursor={cursor}"
    if rng.random() < 0.5:
        parameters["year_from"] = rng.randint(1900, 2009)
    if rng.random() < 0.3:
        parameters["year_to"] = rng.randint(1950, 2024)
    for name, share, values in (
        ("language", 0.3, _LANGUAGES),
        ("genre", 0.2, range(1, 50)),
        ("author_id", 0.1, range(1, 5000)),
    ):
        if rng.random() < share:
            parameters[name] = rng.choice(values)
    if rng.random() < 0.5:
        parameters["fields"] = ",".join(rng.sample(_MEMBERS, rng.randint(1, len(_MEMBERS))))
    if rng.random() < 0.1:
        parameters["q"] = f"the {rng.choice(('garden', 'wolf', 'winter', 'king', 'house'))} {rng.randint(1, 10**6)}"
        keys = rng.sample(_ORDERS, rng.randint(1, 4))
        parameters["sort"] = ",".join(rng.choice(("", "-")) + key for key in keys)
    elif rng.random() < 0.5:
        parameters["sort"] = rng.choice([*(sign + key for key in _ORDERS for sign in ("", "-")), *_PAIRS])
    return "/books?" + "&".join(f"{name}={quote(str(value))}" for name, value in parameters.items())


def metrics(port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found: dict[str, float] = {}
    for line in text.splitlines():
        if match := re.match(r"bookstore_(event_loop_lag_max_seconds|gc_\w+_total)(\{.*\})? (\S+)$", line):
            generation = re.search(r'generation="(\d)"', line)
            found[match[1] + (generation[1] if generation else "")] = float(match[3])
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    profile = sys.argv[1] if len(sys.argv) > 1 else "default"
    requests = int(sys.argv[2]) if len(sys.argv) > 2 else REQUESTS
    port, metrics_port = free_port(), free_port()
    settings = {
        "BOOKSTORE_PORT": str(port),
        "BOOKSTORE_PROFILE": f"{profile}@workers=1",
        "BOOKSTORE_METRICS_PORT": str(metrics_port),
    }
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "bookstore", "serve"], env={**os.environ, **settings}, stdout=log, stderr=log
        )
        try:
            measure(server, port, metrics_port, requests)
        finally:
            server.terminate()
            server.wait(30)


def measure(server: subprocess.Popen[bytes], port: int, metrics_port: int, requests: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(300):
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().read():
                break
        except OSError:
            connection.close()
            time.sleep(0.1)
    (worker,) = psutil.Process(server.pid).children()
    rng = random.Random(1)  # noqa: S311 - no secret
    cursor: str | None = None
    statuses: dict[int, int] = {}
    lag_s = slowest_s = 0.0

    def send(count: int) -> None:
        nonlocal cursor, lag_s, slowest_s
        looked = time.monotonic()
        for _ in range(count):
            began = time.monotonic()
            connection.request("GET", path(rng, cursor))
            response = connection.getresponse()
            body = response.read()
            slowest_s = max(slowest_s, time.monotonic() - began)
            statuses[response.status] = statuses.get(response.status, 0) + 1
            if response.status == 200 and cursor is None:
                cursor = json.loads(body)["next_cursor"]
            if time.monotonic() - looked > 0.9:
                lag_s, looked = max(lag_s, metrics(metrics_port)["event_loop_lag_max_seconds"]), time.monotonic()

    connection.request("GET", "/books?limit=1")
    cursor = json.loads(connection.getresponse().read())["next_cursor"]
    send(WARM_UP)
    before = worker.memory_info().rss / 1e6
    lag_s = slowest_s = 0.0
    print(f"{'requests':>9}{'RSS MB':>9}{'growth':>9}{'lag ms':>9}{'slowest ms':>12}  collections (total pause s)")
    grown = 0.0
    for step in range(1, STEPS + 1):
        send(requests // STEPS)
        memory = worker.memory_info().rss / 1e6
        grown = memory - before
        counted = metrics(metrics_port)
        collections = "/".join(f"{counted.get(f'gc_collections_total{generation}', 0):.0f}" for generation in range(3))
        print(
            f"{step * (requests // STEPS):9}{memory:9.1f}{grown:9.1f}{lag_s * 1000:9.1f}{slowest_s * 1000:12.1f}"
            f"  {collections} ({counted['gc_pause_seconds_total']:.2f})",
            flush=True,
        )
    print("statuses:", statuses)
    sys.exit(0 if grown < MEMORY_TARGET_MB and lag_s * 1000 < LAG_TARGET_MS else "target missed")


if __name__ == "__main__":
    main()
