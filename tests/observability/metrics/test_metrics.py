"""The metrics port of real servers, read with Prometheus's own parser."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import httpx
import psutil
import psycopg
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from bookstore import app
from bookstore.auth import tokens
from bookstore.catalog.models import SCHEMA_REVISION
from bookstore.database.unit_of_work import make_database
from bookstore.database.url import conninfo
from bookstore.http.draining import Draining
from bookstore.http.gate import Gate
from bookstore.observability.metrics import info
from bookstore.profile import loader, rendering
from bookstore.profile.engine_profile import Driver, EngineProfile

PATIENCE_S = 40.0
Deployed = Callable[..., AbstractContextManager[str]]
PAGE = Path(__file__).parents[3] / "docs/metrics.md"
POOL_COUNTS = ("pool_requests_num_total", "pool_wait_seconds_count", "pool_hold_seconds_count")


def until(holds: Callable[[], Any], what: str) -> Any:
    """Wait until `holds` returns a true value, and return it. Fails with `what` after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not (value := holds()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return value


class Port:
    """The metrics port of a server."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.address = f"http://127.0.0.1:{number}/metrics"

    @property
    def text(self) -> str:
        return httpx.get(self.address).raise_for_status().text

    def series(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """Return the values of the samples with this name and these labels, by all of their label values."""
        return {
            tuple(sample.labels.values()): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    def total(self, name: str, **labels: str) -> float:
        return sum(self.series(name, **labels).values())

    def pids(self) -> dict[str, int]:
        """Return the process ID of each worker."""
        return {
            sample.labels["worker"]: int(sample.labels["pid"])
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == "bookstore_worker_info"
        }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def port() -> Port:
    return Port(free_port())


@pytest.fixture(scope="module")
def books(own_database: Callable[..., AbstractContextManager[sa.URL]]) -> Iterator[sa.URL]:
    with own_database("INSERT INTO book (title) SELECT 'Book ' || n FROM generate_series(1, 3) n") as url:
        yield url


def get(address: str) -> int:
    """Return the status of a request on a new connection, which any worker may accept."""
    return httpx.get(address, timeout=PATIENCE_S).status_code


def test_workers_add_up(deployed: Deployed, books: sa.URL, port: Port) -> None:
    """With two workers the counts add up to the requests sent, and every running process is reported. The counts of a
    killed worker are kept, and its successor's are added."""
    spec = "default@workers=2,pool_size=2"
    with deployed(books, BOOKSTORE_PROFILE=spec, BOOKSTORE_METRICS_PORT=str(port.number)) as address:
        before = until(lambda: len(found := port.pids()) == 2 and found, "not all workers are running")
        assert set(before) == {"1", "2"}

        def sent() -> float:
            return port.total("bookstore_requests_total", route="/books", method="GET", status="200")

        for _ in range(30):
            assert get(f"{address}/books") == 200
        until(lambda: sent() == 30, "the requests are not counted")
        assert port.total("bookstore_request_seconds_count", route="/books") == 30
        assert len(port.series("bookstore_requests_total", route="/books")) == 2
        statements = port.total("bookstore_statements_total")
        os.kill(before["1"], signal.SIGKILL)
        after = until(
            lambda: len(found := port.pids()) == 2 and found["1"] != before["1"] and found, "no successor is reported"
        )
        assert after["2"] == before["2"]
        assert all(map(psutil.pid_exists, after.values()))
        assert port.series("bookstore_worker_starts_total") == {("1",): 2, ("2",): 1}
        assert port.series("bookstore_worker_up") == {("1",): 1, ("2",): 1}
        assert sent() == 30
        assert port.total("bookstore_statements_total") >= statements
        assert port.total("bookstore_requests_in_flight") == 0
        for _ in range(10):
            assert get(f"{address}/books") == 200
        until(lambda: sent() == 40, "the successor's requests are not counted")


@pytest.mark.parametrize("driver", get_args(Driver))
def test_two_workers_count_exactly(deployed: Deployed, books: sa.URL, port: Port, driver: Driver) -> None:
    """With two workers and eight clients the sums over the workers are exact: requests, connection requests and
    statements, in total and by route. A lazy list of three books is seven statements, authors are one."""
    spec = f"default@driver={driver},workers=2,pool_size=2,loading=lazy"
    environment = {"BOOKSTORE_PROFILE": spec, "BOOKSTORE_METRICS_PORT": str(port.number)}
    sent = {"/books": (40, 7), "/authors": (30, 1), "/health/live": (20, 0)}
    names = ("requests_total", "request_seconds_count", "request_statements_total")

    def counts() -> dict[str, float]:
        by_route = {f"{name} {route}": port.total(f"bookstore_{name}", route=route) for route in sent for name in names}
        return by_route | {name: port.total(f"bookstore_{name}") for name in ("statements_total", *POOL_COUNTS)}

    def both_answer() -> bool:
        pids.add(httpx.get(f"{address}/health/live").json()["pid"])
        return len(pids) == 2

    with deployed(books, **environment) as address, ThreadPoolExecutor(8) as threads:
        pids: set[int] = set()
        until(both_answer, "not both workers answer")
        until(lambda: port.total("bookstore_requests_in_flight") == 0, "requests are in flight")
        before = counts()
        paths = [path for path, (times, _) in sent.items() for _ in range(times)]
        assert list(threads.map(get, [address + path for path in paths])) == [200] * len(paths)
        until(lambda: port.total("bookstore_requests_in_flight") == 0, "requests are in flight")
        counted = {name: count - before[name] for name, count in counts().items()}
    work = sum(times for times, each in sent.values() if each)
    assert counted == {
        **{f"{name} {route}": times for route, (times, _) in sent.items() for name in names[:2]},
        **{f"request_statements_total {route}": times * each for route, (times, each) in sent.items()},
        "statements_total": sum(times * each for times, each in sent.values()),
        **dict.fromkeys(POOL_COUNTS, work),
    }


@pytest.mark.parametrize("driver", get_args(Driver))
def test_pool_and_statements(deployed: Deployed, books: sa.URL, port: Port, driver: Driver) -> None:
    """A list is one statement. Of three requests on one connection two wait. Afterwards none waits, their wait was
    counted, and the connection was returned."""
    spec = f"default@driver={driver},workers=1,pool_size=1,pool_timeout=30s,statement_timeout=30s"
    with deployed(books, BOOKSTORE_PROFILE=spec, BOOKSTORE_METRICS_PORT=str(port.number)) as address:
        get(f"{address}/books")  # a new connection sends statements of its own
        until(lambda: port.total("bookstore_requests_total", route="/books") == 1, "the request is not counted")
        counted = {
            name: port.total(f"bookstore_{name}")
            for name in ("statements_total", "pool_requests_num_total", "pool_wait_seconds_count")
        }
        with ThreadPoolExecutor(3) as threads, psycopg.connect(conninfo(books)) as blocker:
            blocker.execute("LOCK TABLE book IN ACCESS EXCLUSIVE MODE")
            answers = [threads.submit(get, f"{address}/books") for _ in range(3)]
            until(lambda: port.total("bookstore_pool_requests_waiting") == 2, "fewer than two wait")
            assert port.total("bookstore_pool_checked_out") == 1
            assert port.total("bookstore_requests_in_flight") == 3
            blocker.rollback()
            assert [answer.result() for answer in answers] == [200] * 3
        until(lambda: port.total("bookstore_requests_in_flight") == 0, "requests are in flight")
        assert port.total("bookstore_pool_requests_waiting") == 0
        assert port.total("bookstore_pool_checked_out") == 0
        until(lambda: port.total("bookstore_pool_checked_in") == 1, "the connection is not in the pool")
        assert port.total("bookstore_pool_overflow") == 0
        for name in ("min", "max", "size"):
            assert port.total(f"bookstore_pool_{name}") == 1, name
        assert {name: port.total(f"bookstore_{name}") - was for name, was in counted.items()} == dict.fromkeys(
            counted, 3
        )
        assert port.total("bookstore_pool_requests_queued_total") == 2
        for name in ("wait_ms_total", "errors_total"):
            assert (port.total(f"bookstore_pool_requests_{name}") > 0) == (name == "wait_ms_total")
        for name in ("pool_usage_ms_total", "statement_seconds_total", "encode_seconds_total"):
            assert port.total(f"bookstore_{name}") > 0, name
        assert port.total("bookstore_pool_connections_num_total") == 1
        assert port.total("bookstore_pool_connections_ms_total") > 0
        assert port.total("bookstore_pool_connections_errors_total") == 0
        assert port.total("bookstore_requests_shed_total") == 0
        until(lambda: port.total("bookstore_event_loop_lag_seconds_count") > 0, "the loop's lag is not sampled")


@pytest.mark.parametrize("driver", get_args(Driver))
def test_pool_timeout(deployed: Deployed, books: sa.URL, port: Port, driver: Driver) -> None:
    """A request that waits longer than pool_timeout counts as an error of the pool and no longer as waiting."""
    spec = f"default@driver={driver},workers=1,pool_size=1,pool_timeout=0.2s,statement_timeout=30s"
    with deployed(books, BOOKSTORE_PROFILE=spec, BOOKSTORE_METRICS_PORT=str(port.number)) as address:
        with ThreadPoolExecutor(2) as threads, psycopg.connect(conninfo(books)) as blocker:
            blocker.execute("LOCK TABLE book IN ACCESS EXCLUSIVE MODE")
            answers = [threads.submit(get, f"{address}/books") for _ in range(2)]
            until(lambda: port.total("bookstore_pool_requests_errors_total") == 1, "no error is counted")
            blocker.rollback()
            assert sorted(answer.result() for answer in answers) == [200, 503]
        until(lambda: port.total("bookstore_requests_total", status="503") == 1, "the 503 is not counted")
        until(lambda: port.total("bookstore_pool_checked_out") == 0, "the connection was not returned")
        assert port.total("bookstore_pool_requests_waiting") == 0


def test_documented_metrics(deployed: Deployed, books: sa.URL, port: Port) -> None:
    """The metrics on the page are those in the documentation, with their types and labels. Paths invented by clients
    create no series, and the page contains no secrets. Other paths of the port are 404."""
    secret, entry = tokens.create("test", ["catalog:write"], date(2026, 1, 1))
    environment = {"BOOKSTORE_API_TOKENS": entry.line(), "BOOKSTORE_METRICS_PORT": str(port.number)}
    with deployed(books, **environment) as address:
        for path in ("/books/1", "/books/2", "/made-up/1", "/made-up/2", "/books/1/made-up"):
            get(f"{address}{path}")
        httpx.request("MADEUP", f"{address}/books", headers={"Authorization": f"Bearer {secret}"})
        httpx.head(f"{address}/books")
        until(lambda: port.total("bookstore_requests_total", method="other") == 1, "requests are not counted")
        text = port.text
        assert port.total("bookstore_requests_total", route="/books/{book_id}") == 2
        assert port.total("bookstore_requests_total", route="other", status="404") == 3
        assert port.total("bookstore_requests_total", route="/books", method="HEAD") == 1
        assert httpx.get(f"http://127.0.0.1:{port.number}/").status_code == 404
        assert get(f"{address}/metrics") == 404
    assert "made-up" not in text.lower()
    url = sa.make_url(conninfo(books))
    for hidden in (secret, entry.line(), url.password, conninfo(books)):
        assert not hidden or hidden not in text
    metrics = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        name = family.name + ("_total" if family.type == "counter" else "")
        metrics[name] = (family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
    rows = re.findall(r"^\| `(bookstore_\w+)` \| (\w+) \| ([^|]*) \|", PAGE.read_text(), re.MULTILINE)
    assert {name: (kind, set(re.findall(r"\w+", labels))) for name, kind, labels in rows} == metrics


def test_series_are_bounded(deployed: Deployed, books: sa.URL, port: Port) -> None:
    """A thousand IDs, unknown paths, methods and parameters create no series beyond the first of each kind."""

    def send(number: int) -> None:
        client.get(f"/books/{number}")
        for path in (f"/made-up/{number}", f"/books/{number}/made-up", f"/books/x{number}"):
            client.get(path)
        client.request(f"MADEUP{number}", "/books")
        client.get("/books", params={f"parameter{number}": "x"})
        client.get("/books", headers={"X-Request-ID": f"id-{number}"})

    def answered() -> float:
        return port.total("bookstore_requests_total", route="/books/{book_id}")

    def series() -> set[tuple[str, ...]]:
        return {
            (sample.name, *sample.labels.values())
            for family in text_string_to_metric_families(port.text)
            for sample in family.samples
        }

    with (
        deployed(books, BOOKSTORE_METRICS_PORT=str(port.number)) as address,
        httpx.Client(base_url=address, timeout=PATIENCE_S) as client,
    ):
        for number in (1, 999):  # existing, and not
            send(number)
        until(lambda: answered() == 2, "the requests are not counted")
        before = series()
        for number in range(1, 1001):
            client.get(f"/books/{number}")
        for number in range(1, 51):
            send(number)
        until(lambda: answered() == 1052, "the requests are not counted")
        assert series() == before


def test_info_metrics(deployed: Deployed, books: sa.URL, port: Port) -> None:
    """Build, profile, schema and start time appear once per server, with installed versions, all keys of the profile
    and the schema revision."""
    spec = "psycopg-sync-joined@pool_size=2,max_waiting=7"
    environment = {"BOOKSTORE_PROFILE": spec, "BOOKSTORE_METRICS_PORT": str(port.number)}
    began_s = time.time()
    with deployed(books, **environment):
        infos = {
            family.name: sample
            for family in text_string_to_metric_families(port.text)
            for sample in family.samples
            if "worker" not in sample.labels
        }
    assert {sample.value for name, sample in infos.items() if name.endswith("_info")} == {1}
    build = infos["bookstore_build_info"].labels
    assert (build["driver"], build["driver_version"]) == ("psycopg", version("psycopg"))
    assert {name: build[name] for name in ("litestar", "sqlalchemy", "granian")} == {
        name: version(name) for name in ("litestar", "sqlalchemy", "granian")
    }
    keys = rendering.effective_values(loader.load(spec))
    del keys["description"]
    assert infos["bookstore_profile_info"].labels == {"profile": loader.load(spec).name, **keys}
    assert (keys["max_waiting"], keys["threads"]) == ("7", "2")
    assert infos["bookstore_schema_info"].labels == {"revision": SCHEMA_REVISION, "needed": SCHEMA_REVISION}
    assert began_s - 1 <= infos["bookstore_start_time_seconds"].value <= time.time()
    assert len(infos) == 4


def test_database_without_tables() -> None:
    """If nothing was migrated, the revision is `none`."""
    labels = info.info_labels(EngineProfile(name="test"), None)["bookstore_schema_info"]
    assert labels == {"revision": "none", "needed": SCHEMA_REVISION}


def test_off_by_default(deployed: Deployed, books: sa.URL) -> None:
    """Without a metrics port, a server listens only on its own port."""
    with deployed(books) as address:
        pid = httpx.get(f"{address}/health/live").json()["pid"]
        worker = psutil.Process(pid)
        listening = {
            connection.laddr.port
            for process in (worker, worker.parent())
            if process
            for connection in process.net_connections()
            if connection.status == "LISTEN"
        }
        assert listening == {int(address.rpartition(":")[2])}
        assert "bookstore-metrics" not in Path(f"/proc/{pid}/maps").read_text()


def test_nothing_is_wrapped_without_a_block(books: sa.URL) -> None:
    """Without a block, no part of the service is wrapped."""
    database = make_database(EngineProfile(name="test", gc="default"), books)
    service = app.make_app(database)
    assert isinstance(service.asgi_handler, Draining)
    assert isinstance(service.asgi_handler._app, Gate)
    assert service.after_request is None
    assert "connect" not in vars(database.pool)
    assert not {"connect", "do_execute"} & vars(database.engine.dialect).keys()
    assert not sa.event.contains(database.pool, "checkin", print)
    assert not database.pool.dispatch.checkin


@pytest.mark.parametrize("is_own", [True, False])
def test_port_in_use(books: sa.URL, port: Port, is_own: bool) -> None:
    """A metrics port that is in use, or is the service's own port, prevents startup."""
    service_port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port.number))
        other.listen()
        command = [sys.executable, "-m", "bookstore", "serve", "--port", str(service_port)]
        command += ["--metrics-port", str(service_port if is_own else port.number)]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        done = subprocess.run(
            command,
            env={**environment, "DATABASE_URL": conninfo(books)},
            capture_output=True,
            check=False,
            text=True,
            timeout=PATIENCE_S,
        )
    assert done.returncode == 2, done.stderr
    assert "--metrics-port" in done.stderr
    assert "Traceback" not in done.stderr
    with socket.socket() as probe, suppress(OSError):
        assert probe.connect_ex(("127.0.0.1", service_port)) != 0
