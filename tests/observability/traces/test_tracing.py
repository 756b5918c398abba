"""Tracing of the service as operators start it: enabling it, exporting spans, and its side effects."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import get_args

import httpx
import pytest
import sqlalchemy as sa

from bookstore.database.url import conninfo
from bookstore.exceptions import ConfigurationError
from bookstore.observability import tracing
from bookstore.profile.engine_profile import Driver

from .collector import CLIENT, INTERNAL, SERVER, collector

Deployed = Callable[..., AbstractContextManager[str]]
CANARY = "c4n4ry"
PATIENCE_S = 40.0
HERE = "http://127.0.0.1:4318"
# Litestar probes for its own plugin, which needs a package that is not installed, and loads a few modules on the way.
_LOADED = """
import sys, threading
from bookstore.app import create_app
app = create_app()
from bookstore.http.gate import Gate
print(isinstance(app.asgi_handler._app, Gate))
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.trace", "requests"))])
print([thread.name for thread in threading.enumerate()])
"""


@pytest.mark.parametrize(
    ("environ", "is_enabled"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_SERVICE_NAME": "books"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{HERE}/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_SDK_DISABLED": "false"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_EXPORTER_OTLP_HEADERS": "a=b%20c, authorization=Basic x=="}, True),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "zipkin"}, False),
    ],
)
def test_enabling(environ: dict[str, str], is_enabled: bool) -> None:
    """Tracing is enabled if OTEL_* enables it and does not disable it."""
    assert tracing.is_enabled(environ) == is_enabled


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "found 'zipkin'; allowed are otlp, console, none"),
        ("OTEL_TRACES_SAMPLER", "parentbased_ratio", "allowed are always_on, always_off, traceidratio"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096", "found 4096; allowed is at most OTEL_BSP_MAX_QUEUE_SIZE, 2048"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", "allowed is a whole number of at least 1"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", "allowed is a whole number of at least 0"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "found 'grpc'; allowed is http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "allowed is http://HOST:PORT"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:x", "allowed is http://HOST:PORT"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://me:{CANARY}@collector", "secrets belong in"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://collector?key={CANARY}", "secrets belong in"),
        ("OTEL_EXPORTER_OTLP_HEADERS", CANARY, "allowed is NAME=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={CANARY}\nx", "allowed is NAME=value"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", f'a=b,authorization="{CANARY}"', "allowed is NAME=value"),
    ],
)
def test_invalid_values(name: str, value: str, message: str) -> None:
    """A value that the SDK would drop, or log with a secret, is rejected. Possible secrets are not shown."""
    with pytest.raises(ConfigurationError) as error:
        tracing.is_enabled({"OTEL_TRACES_EXPORTER": "otlp", name: value})
    assert str(error.value).startswith(f"{name}: ")
    assert message in str(error.value)
    assert CANARY not in str(error.value)


def test_a_ratio_is_a_number() -> None:
    """An invalid ratio is rejected, because the SDK would trace all requests."""
    environ = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
    assert tracing.is_enabled(environ | {"OTEL_TRACES_SAMPLER_ARG": "0.01"})
    for wrong in ("1%", "2", "nan", "."):
        with pytest.raises(ConfigurationError, match="allowed is a number from 0 to 1"):
            tracing.is_enabled(environ | {"OTEL_TRACES_SAMPLER_ARG": wrong})


def test_not_installed(books_url: sa.URL, tmp_path: Path) -> None:
    """If tracing is enabled without OpenTelemetry, `bookstore serve` says what to install and does not start."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry.sdk'] = None\n")
    ended = subprocess.run(
        [sys.executable, "-m", "bookstore", "serve"],
        env=_environment(books_url, OTEL_TRACES_EXPORTER="otlp")
        | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "pip install '.[tracing]'" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("environ", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_SDK_DISABLED": "true"}])
def test_disabled(books_url: sa.URL, environ: dict[str, str]) -> None:
    """While disabled, nothing of OpenTelemetry is imported, no thread runs, and the gate is not wrapped."""
    output = subprocess.run(
        [sys.executable, "-c", _LOADED],
        env=_environment(books_url, **environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    ).stdout
    assert output == "True\n[]\n['MainThread']\n"


@pytest.mark.parametrize("driver", get_args(Driver))
def test_the_service_sends_its_spans(deployed: Deployed, books_url: sa.URL, driver: Driver) -> None:
    """`bookstore serve` with two workers sends complete traces with the configured headers, the last ones at shutdown.
    A problem has the trace ID of its request."""
    with collector() as collected:
        given = {
            "BOOKSTORE_PROFILE": f"default@driver={driver},loading=json,workers=2",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collected.endpoint,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {CANARY}",
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",
        }
        with deployed(books_url, **given) as address:
            answers = [httpx.get(f"{address}/books/{number}") for number in range(20, 30)]
            assert collected.bodies == []
    problems = [answer.json() for answer in answers if answer.status_code == 404]
    requests = [span for span in collected.spans if span.kind == SERVER]
    assert len(requests) == 10
    assert len(problems) == 4
    assert {problem["trace_id"] for problem in problems} == {
        span.trace_id for span in requests if span.attributes["http.response.status_code"] == 404
    }
    for request in requests:
        assert (request.name, request.attributes["server.address"]) == ("GET /books/{book_id}", "127.0.0.1")
        assert isinstance(request.attributes["server.port"], int)
        (unit,) = collected.children(request)
        assert unit.kind == INTERNAL
        assert unit.attributes["bookstore.driver"] == driver
        assert {span.kind for span in collected.children(unit)} == {CLIENT}
    assert {headers["authorization"] for headers in collected.headers} == {f"Bearer {CANARY}"}
    assert not any(CANARY.encode() in body for body in collected.bodies)
    assert {resource["service.name"] for resource in collected.resources} == {"bookstore"}
    assert {resource["bookstore.profile"] for resource in collected.resources} == {given["BOOKSTORE_PROFILE"]}


@contextmanager
def _silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


@contextmanager
def _closed_port() -> Iterator[int]:
    """A port that refuses connections."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]  # bound and not listening, so no other process can use it


@pytest.mark.parametrize("port", [_silent_port, _closed_port])
def test_unreachable_collector(
    books_url: sa.URL, tmp_path: Path, port: Callable[[], AbstractContextManager[int]]
) -> None:
    """Without a collector, requests are answered and shutdown is graceful. The log lines of a request have the trace ID
    of its problem."""
    with port() as number, (tmp_path / "log").open("w") as log:
        environment = _environment(
            books_url,
            BOOKSTORE_PROFILE="default@workers=1,loading=lazy",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{number}",
            OTEL_EXPORTER_OTLP_HEADERS=f"authorization={CANARY}",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="8",
            OTEL_BSP_MAX_QUEUE_SIZE="16",
        )
        with _free_port() as listening:
            environment["BOOKSTORE_PORT"] = str(listening)
        server = subprocess.Popen(
            [sys.executable, "-m", "bookstore", "serve"], env=environment, cwd=tmp_path, stdout=log, stderr=log
        )
        try:
            end = time.monotonic() + PATIENCE_S
            while "Started worker" not in (tmp_path / "log").read_text():
                assert time.monotonic() < end
                time.sleep(0.05)
            with httpx.Client(base_url=f"http://127.0.0.1:{listening}", timeout=PATIENCE_S) as client:
                assert [client.get("/books").status_code for _ in range(20)] == [200] * 20
                problem = client.post("/books", json={}, headers={"Authorization": f"Bearer {CANARY}"}).json()
            server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE_S) == 0
        finally:
            server.kill()
            server.wait()
    log_text = (tmp_path / "log").read_text()
    events = [json.loads(line) for line in log_text.splitlines()]
    assert events[0]["traces"] == "on"
    (line,) = (event for event in events if "unknown token" in event["event"])
    assert line["trace_id"] == problem["trace_id"]
    assert line["span_id"]
    assert any(event.get("drained") for event in events)
    assert CANARY not in log_text


@contextmanager
def _free_port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def _environment(url: sa.URL, **given: str) -> dict[str, str]:
    ours = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HOME": "/nonexistent"}
    return ours | {"DATABASE_URL": conninfo(url), "BOOKSTORE_API_TOKENS": ""} | given
