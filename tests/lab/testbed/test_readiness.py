"""Readiness of services, of which some misbehave as real ones do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab.testbed import deployment as deployments
from bookstore.lab.testbed import readiness
from bookstore.lab.testbed.deployment import Deployment, DeploymentError, UnansweredError
from bookstore.lab.testbed.external import External, parse_option
from bookstore.lab.testbed.process import free_port
from bookstore.lab.testbed.readiness import NotReadyError, probe, wait_ready, with_ready_path
from bookstore.lab.workload.spec import RequestSpec, Workload

from ..protocols import raw_service

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer has half a second, so that tests of services that never answer are short."""
    monkeypatch.setattr(Deployment.exchange, "__defaults__", (None, 0.5))


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as process:
        process.wait()
        yield process


def probe_port(port: int, ready: str = "/health", host: str = "127.0.0.1", path: str = "") -> None:
    service = parse_option(f"shop=http://{host}:{port}{path}")
    probe(External(name=service.name, url=service.url, ready=ready))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", "answered 404 Not Found: nope; allowed is a 2xx"),
        (
            b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
            "answered 500 Internal Server Error; allowed is a 2xx status",
        ),
        (b"HTTP/1.1 400 Bad\r\nContent-Length: 7\r\n\r\nno host", "answered 400 Bad Request: no host;"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /health/\r\nContent-Length: 0\r\n\r\n", "a redirect to /health/;"),
        (b"HTTP/1.1 299 \r\nContent-Length: 9\r\n\r\n{}", "closed the connection after 2 bytes of the body; start"),
        (b"", "no answer: the service closed the connection; start the service first"),
        (b"-ERR unknown command\r\n", "no answer: not HTTP: -ERR unknown command"),
    ],
)
def test_a_running_service_that_is_not_ready(answer: bytes, message: str) -> None:
    """The error names the service and its answer, and says what to do."""
    with raw_service(answer) as port, pytest.raises(ConfigurationError) as error:
        probe_port(port)
    assert str(error.value).startswith(f"--external shop: GET http://127.0.0.1:{port}/health")
    assert message in str(error.value)


def test_a_wrong_ready_path_names_the_option() -> None:
    """The remedy is the option that names another path."""
    with (
        raw_service(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as port,
        pytest.raises(ConfigurationError, match=r"with --external-ready PATH$"),
    ):
        probe_port(port)


def test_a_port_without_a_service() -> None:
    """A port on which nothing listens is refused, with both ways to start the service."""
    with pytest.raises(ConfigurationError, match=r"nothing listens there \(.*start the service first, or let the lab"):
        probe_port(free_port())


@pytest.mark.parametrize(
    ("parts", "options"),
    [
        ((), {}),
        ((b"HTTP/1.1 200 OK\r\n", b"X"), {"pause_s": 0.05, "ends": False}),
        ((CHUNKED, b"5\r\nhello\r\n"), {"pause_s": 0.05, "ends": False}),
        ((b"HTTP/1.0 200 OK\r\n\r\n", b"{}"), {"pause_s": 0.05, "ends": False}),
    ],
    ids=["silent", "headers without end", "chunks without end", "a body without end"],
)
def test_a_service_that_never_answers_completely(parts: tuple[bytes, ...], options: dict[str, float]) -> None:
    """The time limit covers the whole answer, however slowly its parts arrive."""
    with (
        raw_service(*parts, **options) as port,  # type: ignore[arg-type] # pause_s and ends
        pytest.raises(ConfigurationError, match=r"no complete answer within 0\.5 s; restart the service"),
    ):
        probe_port(port)


def test_a_body_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading stops at the largest body."""
    monkeypatch.setattr(deployments, "MAX_BODY_BYTES", 2**20)
    with (
        raw_service(CHUNKED, b"1000\r\n%s\r\n" % bytes(4096), ends=False) as port,
        pytest.raises(DeploymentError, match="a body of more than 1 MiB"),
    ):
        Deployment(None, port).get("/")


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
    ids=["HTTP/1.1", "HTTP/1.0", "chunked", "no content"],
)
def test_a_ready_service(answer: bytes) -> None:
    """Any complete 2xx answer is one."""
    with raw_service(answer) as port:
        probe_port(port)


@pytest.mark.parametrize(("host", "path"), [("[::1]", "/api/"), ("localhost", ""), ("127.0.0.1", "/api/v1")])
def test_addresses(host: str, path: str) -> None:
    """A service on IPv6, with a name, and below a path gets a request with that host and path."""
    with raw_service(OK, host=host.strip("[]").replace("localhost", "127.0.0.1")) as port:
        probe_port(port, host=host, path=path)


def test_the_ready_path_is_the_first_get() -> None:
    """It is the service's own path for the workload's first GET, with examples for placeholders, unless it has a ready
    path. Without a GET any answer counts."""
    post = RequestSpec(name="create", method="POST", path="/books")
    get = RequestSpec(name="detail", path="/books/{id}?n={number}")
    reading = Workload(name="it", requests=[post, get])
    assert with_ready_path(External(name="x"), reading).ready == "/books/1?n=1"
    assert with_ready_path(External(name="x", requests={"detail": "/b/{id}"}), reading).ready == "/b/1"
    assert with_ready_path(External(name="x", ready="/up"), reading).ready == "/up"
    writing = with_ready_path(External(name="x"), Workload(name="it", requests=[post]))
    assert writing.ready == ""
    with raw_service(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n") as port:
        probe_port(port, ready="")


def test_waiting() -> None:
    """A 5xx status may pass and is named when the time is over; a 4xx status is final; silence is its own error."""
    with (
        raw_service(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n") as port,
        pytest.raises(NotReadyError, match=r"not ready within 0\.2 s: GET .*answered 503 Service Unavailable"),
    ):
        wait_ready(Deployment(None, port), "/up", within_s=0.2)
    with (
        raw_service(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n") as port,
        pytest.raises(
            NotReadyError, match=r"^GET .*answered 404 Not Found; a service that is ready answers 2xx:\nlog$"
        ),
    ):
        wait_ready(Deployment(None, port), "/up", lambda: "log", within_s=600)
    with raw_service() as port, pytest.raises(UnansweredError, match="not ready within"):
        wait_ready(Deployment(None, port), "/up", within_s=0.2)


def test_an_end_during_startup(process: subprocess.Popen[bytes]) -> None:
    """A service that ended is reported with its exit code and its last lines, or that it wrote none."""
    with pytest.raises(DeploymentError, match=r"ended during startup with exit code 3:\n\(it wrote nothing\)"):
        wait_ready(Deployment(process, free_port()), "/up", lambda: "")
    assert readiness.READY_WITHIN_S > readiness.RUNNING_WITHIN_S
