"""The log lines of real processes for requests that are served, rejected and fail."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from bookstore.database.url import conninfo

PATIENCE_S = 40.0
CANARY = "c4n4ry"
TRACING = {"trace_id", "span_id"}
TOKEN = f"bks_{CANARY}"
APP = """
from litestar import get
from litestar.response import Stream
from bookstore.http import authorization
from bookstore import app

@get("/broken/{number:int}", opt=authorization.PUBLIC)
async def broken(number: int) -> str:
    hidden = "c4n4" + "ry"
    raise ZeroDivisionError("unexpected")

@get("/torn", opt=authorization.PUBLIC)
async def torn() -> Stream:
    async def parts():
        yield b"begun"
        raise ZeroDivisionError("in the middle")
    return Stream(parts())

def create_app():
    service = app.create_app()
    service.register(broken)
    service.register(torn)
    return service

if __name__ == "__main__":
    from bookstore.http import server
    from granian.server import MPServer
    original_init = MPServer.__init__
    def init(self, target, **options):
        original_init(self, "service:create_app", **options)
    MPServer.__init__ = init
    from bookstore.cli import main
    main()
"""
"""`bookstore serve` with two additional routes that fail."""


class Service:
    def __init__(self, base: str, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.base = base
        self.process = process
        self._log = log

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.base + path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    @property
    def text(self) -> str:
        return self._log.read_text()

    def lines(self, **keys: Any) -> list[dict[str, Any]]:
        """Return the events so far that have these values. Every line must be an event."""
        events = [json.loads(line) for line in self.text.splitlines()]
        return [event for event in events if all(event.get(key) == value for key, value in keys.items())]

    def line(self, **keys: Any) -> dict[str, Any]:
        """Wait for the only event that has these values."""
        end = time.monotonic() + PATIENCE_S
        while not (found := self.lines(**keys)):
            assert time.monotonic() < end, self.text
            time.sleep(0.02)
        (only,) = found
        return only


def documented_keys() -> set[str]:
    """Return the keys in the guide's table."""
    guide = Path(__file__).parents[2] / "docs" / "logs.md"
    table = guide.read_text().partition("## Keys\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


def test_the_guide_names_keys_that_exist() -> None:
    """Some code writes each key of the guide's table."""
    source = "".join(path.read_text() for path in (Path(__file__).parents[2] / "src").rglob("*.py"))
    assert len(documented_keys()) > 30
    assert [key for key in documented_keys() - TRACING if f'"{key}"' not in source and f".{key} =" not in source] == []


Run = Callable[..., AbstractContextManager[Service]]


@pytest.fixture
def run(url: sa.URL, tmp_path: Path) -> Run:
    """Run two workers with JSON lines, a line per request, at level debug."""
    (tmp_path / "service.py").write_text(APP)

    @contextmanager
    def running(profile: str = "default@workers=2,pool_size=2", **env: str) -> Iterator[Service]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        base = {
            "PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
            "HOME": str(tmp_path), "DATABASE_URL": conninfo(url.set(password=CANARY)),
            "BOOKSTORE_PORT": str(port), "BOOKSTORE_PROFILE": profile, "BOOKSTORE_LOG_REQUESTS": "on",
            "BOOKSTORE_LOG_LEVEL": "debug",
        }  # fmt: skip
        log = tmp_path / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, str(tmp_path / "service.py"), "serve"], env=base | env, cwd=tmp_path,
                stdout=file, stderr=file,
            )  # fmt: skip
        service = Service(f"http://127.0.0.1:{port}", log, process)
        try:
            end = time.monotonic() + PATIENCE_S
            while not _is_ready(service):
                assert process.poll() is None, service.text
                assert time.monotonic() < end, service.text
                time.sleep(0.05)
            yield service
        finally:
            process.terminate()
            process.wait(PATIENCE_S)

    return running


def _is_ready(service: Service) -> bool:
    try:
        return service.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_a_service(run: Run) -> None:
    """From startup to shutdown each event is a line: one per request with its ID, one per rejection, and one with the
    traceback per unexpected error. No line contains a secret, query string, body or local variable."""
    with run() as service:
        answer = service.get(f"/books?q={CANARY}", X_Request_ID="mine-1")
        assert (answer.status_code, answer.headers["x-request-id"]) == (200, "mine-1")
        line = service.line(request_id="mine-1")
        assert line.pop("timestamp")
        assert line.pop("duration_ms") > 0
        assert line.pop("pid") != service.process.pid
        assert line.pop("worker") in {1, 2}
        assert line == {
            "level": "info", "logger": "bookstore.request", "event": "request", "profile": line["profile"],
            "request_id": "mine-1", "route": "/books", "method": "GET", "path": "/books", "status": 200,
            "bytes": len(answer.content), "client": "127.0.0.1",
        }  # fmt: skip

        broken = service.get("/broken/7", X_Request_ID="mine-2")
        assert (broken.status_code, broken.json()["request_id"]) == (500, "mine-2")
        error = service.line(request_id="mine-2", level="error")
        assert error["exception"].startswith("Traceback")
        assert error["exception"].endswith("ZeroDivisionError: unexpected")
        assert service.line(request_id="mine-2", level="info")["route"] == "/broken/{number}"

        url = f"{service.base}/books"
        body = {"title": CANARY}
        refused = httpx.post(url, json=body, headers={"Authorization": f"Bearer {TOKEN}", "X-Request-ID": "mine-3"})
        assert refused.status_code == 401
        assert service.line(request_id="mine-3", level="warning")["code"] == "unauthenticated"
        assert service.line(request_id="mine-3", level="info")["status"] == 401

        hostile = service.get("/a%0D%0A%7B%22level%22%3A%22error%22%7D%1B", X_Request_ID="a b")
        assert service.line(request_id=hostile.headers["x-request-id"])["path"].startswith("/a%0D%0A%7B%22")
        lost = httpx.head(service.base + "/nowhere", headers={"X-Request-ID": "mine-4", "Host": "x y"})
        assert lost.status_code == 400
        line = service.line(request_id="mine-4")
        assert (line["method"], line["status"], line["bytes"], "route" in line) == ("HEAD", 400, 0, False)
        assert service.lines(path="/health/ready", level="info") == []
        assert len(service.lines(path="/health/ready", level="debug")) >= 1

    started = service.line(schema_revision=service.lines(workers=2)[0]["schema_revision"])
    assert (started["driver"], started["pool_size"], started["pid"]) == ("asyncpg", 2, service.process.pid)
    assert service.line(drained=True)["level"] == "info"
    assert CANARY not in service.text
    assert {key for event in service.lines() for key in event} <= documented_keys()
    assert len(service.lines(level="error")) == 1


def test_a_torn_response(run: Run) -> None:
    """An error in the middle of a response is logged once, with its request."""
    with run("default@workers=1") as service:
        with pytest.raises(httpx.TransportError):
            service.get("/torn", X_Request_ID="mine", Accept_Encoding="identity")  # a compressor holds the first part
        assert "ZeroDivisionError: in the middle" in service.line(request_id="mine", level="error")["exception"]
    assert len(service.lines(level="error")) == 1


def test_level(run: Run) -> None:
    """At level error only unexpected errors are logged, with their traceback."""
    with run("default@workers=1", BOOKSTORE_LOG_LEVEL="error") as service:
        service.get("/books")
        service.get("/broken/7", X_Request_ID="mine")
        assert service.line(request_id="mine")["exception"].startswith("Traceback")
    assert len(service.lines()) == 1


def test_statement_count(run: Run) -> None:
    """With a metrics port, a request's line has the number of its statements."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with run("default@workers=1,loading=joined", BOOKSTORE_METRICS_PORT=str(port)) as service:
        service.get("/books", X_Request_ID="mine")
        assert service.line(request_id="mine")["statements"] >= 1
