from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bookstore.lab.telemetry.metrics_port import NoMetrics, Port, by_worker, samples

WITHIN_S = 30

TEXT = r"""# HELP bookstore_requests_total Requests.
# TYPE bookstore_requests_total counter
bookstore_requests_total{worker="1",method="GET",route="/books/{id}",status="200"} 7
bookstore_requests_total{worker="1",method="GET",route="a \"b\", \\ {c} \n d",status="404",} 2.5e1 1700000000000
bookstore_worker_info{worker="1",pid="4711",profile="asyncpg-json",driver="asyncpg",loading="json"} 1
bookstore_worker_info{worker="2",pid="4712",profile="asyncpg-json",driver="asyncpg",loading="json"} 1

bookstore_pool_wait_seconds_bucket{worker="1",le="0.005"} 3
bookstore_pool_wait_seconds_bucket{worker="1",le="+Inf"} 4
bookstore_request_seconds_sum{worker="1",route="/books"} 1.5
bookstore_request_seconds_sum{worker="1",route="/books/{id}"} 0.25
bookstore_requests_in_flight{worker="2"} 3
plain 12
odd{x="1"} NaN
odd{x="2"} -Inf
"""


def test_parses_as_prometheus_does() -> None:
    """Labels with braces, quotes and commas, timestamps and special values are parsed as by Prometheus's own parser."""
    expected = [sample for family in text_string_to_metric_families(TEXT) for sample in family.samples]
    parsed = list(samples(TEXT, {sample.name for sample in expected}))
    assert [(sample.name, dict(sample.labels), repr(sample.value)) for sample in parsed] == [
        (sample.name, sample.labels, repr(float(sample.value))) for sample in expected
    ]
    assert len(parsed) == 12


def test_wanted_names_only() -> None:
    """Names that are not wanted are skipped."""
    (sample,) = samples(TEXT, {"plain"})
    assert sample == ("plain", {}, 12)


@pytest.mark.parametrize(
    "line", ["plain", "plain x", "plain{a=1} 2", 'plain{a="1} 2', "plain{} 1 2 3", "<html>", 'plain{a="1"b} 2']
)
def test_other_formats(line: str) -> None:
    """A line that is not in the format is rejected and named."""
    with pytest.raises(ValueError, match=r"plain|html|could not convert"):
        list(samples(line, {"plain"}))


def test_by_worker() -> None:
    """Figures are per pid and summed over other labels; buckets stay separate. A worker without a request has counted
    0."""
    assert by_worker(TEXT) == {
        4711: {
            "pool_wait_seconds_bucket 0.005": 3,
            "pool_wait_seconds_bucket +Inf": 4,
            "request_seconds_sum": 1.75,
            "request_seconds_count": 0,
        },
        4712: {"requests_in_flight": 3, "request_seconds_sum": 0, "request_seconds_count": 0},
    }


class Service:
    """A metrics port whose text and timing the test controls."""

    def __init__(self) -> None:
        self.text = TEXT
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.connections = 0
        self.url = ""


@contextmanager
def metrics_port() -> Iterator[Service]:
    service = Service()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            service.connections += 1
            super().setup()

        def do_GET(self) -> None:
            service.may_answer.wait(WITHIN_S)
            body = service.text.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # a client that gave up

    with Server(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_port}/metrics"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            service.may_answer.set()
            server.shutdown()
            thread.join()


def test_port() -> None:
    """All polls use one connection."""
    with metrics_port() as service:
        port = Port(service.url)
        for _ in range(3):
            port.send()
            assert port.receive(time.monotonic() + WITHIN_S)[4712]["requests_in_flight"] == 3
        assert service.connections == 1
        port.close()


def test_port_too_late() -> None:
    """A late answer is a timeout, and is not mistaken for the next one."""
    with metrics_port() as service:
        port = Port(service.url)
        service.may_answer.clear()
        port.send()
        with pytest.raises(NoMetrics, match="timed out"):
            port.receive(time.monotonic() + 0.05)
        service.text = TEXT.replace('in_flight{worker="2"} 3', 'in_flight{worker="2"} 5')
        service.may_answer.set()
        port.send()
        assert port.receive(time.monotonic() + WITHIN_S)[4712]["requests_in_flight"] == 5
        port.close()


def test_port_of_another_kind() -> None:
    """A page in another format, and a port that nobody listens on, raise NoMetrics."""
    with metrics_port() as service:
        service.text = "<html>"
        port = Port(service.url)
        port.send()
        with pytest.raises(NoMetrics, match="not Prometheus text format"):
            port.receive(time.monotonic() + WITHIN_S)
        port.close()
    port = Port(service.url)
    port.send()
    with pytest.raises(NoMetrics, match="refused"):
        port.receive(time.monotonic() + WITHIN_S)
