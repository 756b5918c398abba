"""Traces of the service as operators start it: what turns them on, where they go, and what they may not do."""

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
# Litestar looks for a plugin of its own, which needs a package that is not there: a few names are loaded on the way.
_LOADED = """
import sys, threading
from bookstore.app import create_app
app = create_app()
from bookstore.http.gate import Gate
print(isinstance(app.asgi_handler, Gate))
print([one for one in sys.modules if one.startswith(("opentelemetry.sdk", "opentelemetry.trace", "requests"))])
print([thread.name for thread in threading.enumerate()])
"""


@pytest.mark.parametrize(
    ("environ", "is_asked"),
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
def test_only_the_environment_asks_for_traces(environ: dict[str, str], is_asked: bool) -> None:
    """Traces are on where OTEL_* asks for them and nothing of it forbids them."""
    assert tracing.is_enabled(environ) == is_asked


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "found 'zipkin'; allowed are otlp, console, none"),
        ("OTEL_TRACES_SAMPLER", "parentbased_ratio", "allowed are always_on, always_off, traceidratio"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096", "found 4096; allowed is no more than OTEL_BSP_MAX_QUEUE_SIZE, 2048"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", "allowed is a whole number from 1 on"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", "allowed is a whole number from 0 on"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "found 'grpc'; allowed is http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "allowed is http://HOST:PORT"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:x", "allowed is http://HOST:PORT"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://me:{CANARY}@collector", "secrets go into"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://collector?key={CANARY}", "secrets go into"),
        ("OTEL_EXPORTER_OTLP_HEADERS", CANARY, "allowed is NAME=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={CANARY}\nx", "allowed is NAME=value"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", f'a=b,authorization="{CANARY}"', "allowed is NAME=value"),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: str, told: str) -> None:
    """A value that the SDK would drop, or log with the secret in it, is refused; what may be a secret is not shown."""
    with pytest.raises(ConfigurationError) as refusal:
        tracing.is_enabled({"OTEL_TRACES_EXPORTER": "otlp", name: value})
    assert str(refusal.value).startswith(f"{name}: ")
    assert told in str(refusal.value)
    assert CANARY not in str(refusal.value)


def test_a_ratio_is_a_number() -> None:
    """The SDK would trace all requests where the share cannot be read."""
    asked = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
    assert tracing.is_enabled(asked | {"OTEL_TRACES_SAMPLER_ARG": "0.01"})
    for wrong in ("1%", "2", "nan", "."):
        with pytest.raises(ConfigurationError, match="allowed is a number from 0 to 1"):
            tracing.is_enabled(asked | {"OTEL_TRACES_SAMPLER_ARG": wrong})


def test_not_installed_is_refused(books_url: sa.URL, tmp_path: Path) -> None:
    """Asked for traces without OpenTelemetry, `bookstore serve` says what to install, and starts nothing."""
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
def test_off_nothing_is_there(books_url: sa.URL, environ: dict[str, str]) -> None:
    """Where nobody asks, no module of OpenTelemetry is imported, no thread runs, and nothing is around the gate."""
    told = subprocess.run(
        [sys.executable, "-c", _LOADED],
        env=_environment(books_url, **environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    ).stdout
    assert told == "True\n[]\n['MainThread']\n"


@pytest.mark.parametrize("driver", get_args(Driver))
def test_the_service_sends_its_spans(deployed: Deployed, books_url: sa.URL, driver: Driver) -> None:
    """`bookstore serve` under two workers sends whole trees with the headers that it was told, the last ones at its
    stop; a problem names the trace of its request."""
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
        span.trace_id for span in requests if span.told["http.response.status_code"] == 404
    }
    for request in requests:
        assert (request.name, request.told["server.address"]) == ("GET /books/{book_id}", "127.0.0.1")
        assert isinstance(request.told["server.port"], int)
        (unit,) = collected.below(request)
        assert unit.kind == INTERNAL
        assert unit.told["bookstore.driver"] == driver
        assert {span.kind for span in collected.below(unit)} == {CLIENT}
    assert {headers["authorization"] for headers in collected.headers} == {f"Bearer {CANARY}"}
    assert not any(CANARY.encode() in body for body in collected.bodies)
    assert {resource["service.name"] for resource in collected.resources} == {"bookstore"}
    assert {resource["bookstore.profile"] for resource in collected.resources} == {given["BOOKSTORE_PROFILE"]}


@contextmanager
def _deaf() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


@contextmanager
def _nobody() -> Iterator[int]:
    """A port on which nobody listens."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]  # bound and not listening: refused, and nobody else's


@pytest.mark.parametrize("port", [_deaf, _nobody])
def test_a_collector_that_is_not_there_is_no_trouble(
    books_url: sa.URL, tmp_path: Path, port: Callable[[], AbstractContextManager[int]]
) -> None:
    """Requests are answered, and the stop is as graceful as ever, whatever becomes of the spans; what the log says of
    a request bears the trace that its problem names."""
    with port() as number, (tmp_path / "log").open("w") as log:
        environment = _environment(
            books_url,
            BOOKSTORE_PROFILE="default@workers=1,loading=lazy",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{number}",
            OTEL_EXPORTER_OTLP_HEADERS=f"authorization={CANARY}",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="8",
            OTEL_BSP_MAX_QUEUE_SIZE="16",
        )
        with _free() as listening:
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
                refused = client.post("/books", json={}, headers={"Authorization": f"Bearer {CANARY}"}).json()
            server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE_S) == 0
        finally:
            server.kill()
            server.wait()
    told = (tmp_path / "log").read_text()
    assert json.loads(told.splitlines()[0])["traces"] == "on"
    (line,) = (one for one in map(json.loads, told.splitlines()) if "unknown token" in one["event"])
    assert line["trace_id"] == refused["trace_id"]
    assert line["span_id"]
    assert any(json.loads(line).get("drained") for line in told.splitlines())
    assert CANARY not in told


@contextmanager
def _free() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def _environment(url: sa.URL, **given: str) -> dict[str, str]:
    ours = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HOME": "/nonexistent"}
    return ours | {"DATABASE_URL": conninfo(url), "BOOKSTORE_API_TOKENS": ""} | given
