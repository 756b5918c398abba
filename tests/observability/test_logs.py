"""The log lines of a service's processes, read line by line as a collector does."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BIN = Path(sys.executable).parent
SETUP = """
import logging, sys, threading, warnings
from pathlib import Path
import structlog
from bookstore.http import request_id
from bookstore.observability import logs
from bookstore.config.settings import Settings

logs.configure(Settings(data_dir=Path("/"), log_format=sys.argv[1], log_level=sys.argv[2]), "default")
logger = logging.getLogger("bookstore")
"""

Say = Callable[..., list[str]]


@pytest.fixture
def say() -> Say:
    """Run code in a process with configured logging and return the lines that it writes."""

    def run(code: str, form: str = "json", level: str = "info", **env: str) -> list[str]:
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        command = [sys.executable, "-c", SETUP + code, form, level]
        process = subprocess.run(command, env=base | env, capture_output=True, text=True, check=False)
        assert process.stdout == ""
        return process.stderr.splitlines()

    return run


def read(lines: list[str]) -> list[dict[str, Any]]:
    """Parse all lines, each of which must be a JSON object."""
    events = [json.loads(line) for line in lines]
    assert all(isinstance(event, dict) for event in events)
    return events


def test_keys(say: Say) -> None:
    """An event starts with the keys of every line, followed by its own and by those bound to the context."""
    (event,) = read(
        say(
            'request_id.begin(b"id-1", {"path_template": "/books"})\n'
            'structlog.contextvars.bind_contextvars(trace_id="t1")\n'
            'logger.warning("hello %s", "world", extra={"status": 200})',
            BOOKSTORE_WORKER="2",
        )
    )
    assert event.pop("timestamp").endswith("Z")
    assert event.pop("pid") > 1
    assert event == {
        "level": "warning", "logger": "bookstore", "event": "hello world", "profile": "default", "worker": 2,
        "request_id": "id-1", "route": "/books", "status": 200, "trace_id": "t1",
    }  # fmt: skip


def test_all_sources(say: Say) -> None:
    """Messages of libraries, warnings, and uncaught exceptions with their traceback are events too."""
    events = read(
        say(
            'logging.getLogger("_granian").info("a")\n'
            'logging.getLogger("asyncpg.pool").warning("b")\n'
            'warnings.warn("c")\n'
            "def fail(): raise ValueError('d')\n"
            "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
            "canary = 'c4nry'\n"
            "raise SystemError('e')"
        )
    )
    assert [(event["logger"], event["level"]) for event in events] == [
        ("_granian", "info"), ("asyncpg.pool", "warning"), ("py.warnings", "warning"), ("bookstore", "critical"),
        ("bookstore", "critical"),
    ]  # fmt: skip
    assert events[3]["exception"].endswith("ValueError: d")
    assert events[4]["exception"].startswith("Traceback (most recent call last):\n")


def test_levels(say: Say) -> None:
    """The level applies to the service. Debug lines of libraries, which show rows, are never written."""
    code = """
for name in ("bookstore", "sqlalchemy.engine.Engine", "sqlalchemy.pool", "asyncpg", "_granian"):
    for level in (10, 20, 30, 40):
        logging.getLogger(name).log(level, name)
"""
    logged = {
        level: [(event["logger"], event["level"]) for event in read(say(code, level=level))]
        for level in ("debug", "error")
    }
    assert logged["error"] == [(name, "error") for name in dict(logged["debug"])]
    assert [level for name, level in logged["debug"] if name == "bookstore"] == ["debug", "info", "warning", "error"]
    assert {level for name, level in logged["debug"] if name != "bookstore"} == {"info", "warning", "error"}
    assert {level for name, level in logged["debug"] if name.startswith("sqlalchemy")} == {"warning", "error"}


HOSTILE = """
evil = "\\r\\n2026-01-01T00:00:00Z [info] forged\\x1b[2J\\u2028\\u202e"
logger.warning("path %s", evil, extra={"path": evil, "list": [evil]})
try:
    raise ValueError(evil)
except ValueError:
    logger.exception("failed")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_forged_lines(say: Say, form: str) -> None:
    """Line ends and control characters sent by a client neither create a line nor control a terminal."""
    lines = say(HOSTILE, form)
    assert "".join(lines).isprintable()
    if form == "json":
        assert len(read(lines)) == 2
    else:
        assert [line[:2] for line in lines if not line.startswith("    ")] == ["20", "20"]
        assert [line for line in lines if line.startswith("2026-01-01")] == []


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_secret(say: Say, form: str) -> None:
    """Passwords in URLs, tokens and headers are masked everywhere, and local variables are not shown."""
    code = """
secrets = ["postgresql://me:c4nry@db/x", "bks_c4nry", "Authorization: Bearer c4nry"]
logger.info(secrets[0], extra={"one": secrets[1], "many": secrets, "nested": {"h": secrets[2]}})
def fail(local):
    raise ValueError(local)
try:
    "".join(map(fail, secrets))
except ValueError:
    logger.exception("failed")
hidden = "c4nry"
raise SystemError("end")
"""
    log = "\n".join(say(code, form, "debug"))
    assert "postgresql://me:***@db/x" in log
    assert "SystemError" in log
    assert "c4nry" not in log.replace('hidden = "c4nry"', "")


def test_no_flood(say: Say) -> None:
    """Of a thousand rejections one per code is written, and the number of omitted ones; all errors are written."""
    code = """
import time
for _ in range(1000):
    logger.warning("a", extra={"code": "overloaded"})
    logger.warning("b", extra={"code": "forbidden"})
for _ in range(3):
    logger.error("c", extra={"code": "internal"})
logs.time.monotonic = lambda moment=time.monotonic() + 2: moment
logger.warning("a", extra={"code": "overloaded"})
"""
    events = read(say(code))
    assert [(event["event"], event.get("suppressed")) for event in events] == [
        ("a", None), ("b", None), *[("c", None)] * 3, ("a", 999),
    ]  # fmt: skip


@pytest.mark.parametrize("color", ["", "1"])
def test_text_in_a_file(say: Say, color: str) -> None:
    """Text that does not go to a terminal has no colour, even with FORCE_COLOR."""
    (line,) = say('logger.info("hello", extra={"status": 200})', "text", FORCE_COLOR=color)
    assert "\x1b" not in line
    assert "hello" in line
    assert "status=200" in line


def test_at_a_terminal() -> None:
    """By default the log at a terminal is coloured text, and without colour if NO_COLOR is set."""
    output = {}
    for value in ("", "1"):
        primary, secondary = os.openpty()
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "NO_COLOR": value}
        command = [sys.executable, "-c", SETUP + 'logger.info("hello")', "auto", "info"]
        subprocess.run(command, env=env, stderr=secondary, check=True)
        os.close(secondary)
        output[value] = os.read(primary, 10_000).decode()
        os.close(primary)
    assert "\x1b[" in output[""]
    assert "\x1b" not in output["1"]
    assert "hello" in output["1"]
    assert not output["1"].startswith("{")


def test_configured_again(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """After configuring twice each line is written once, and other handlers stay."""
    from bookstore.config.settings import Settings  # noqa: PLC0415
    from bookstore.observability import logs  # noqa: PLC0415 - after capfd has taken stderr

    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        for _ in range(2):
            logs.configure(Settings(data_dir=Path("/"), log_format="json"), "default")
        logging.getLogger("bookstore").warning("once")
        assert [event["event"] for event in read(capfd.readouterr().err.splitlines())] == ["once"]
        assert caplog.messages == ["once"]
    finally:
        root.handlers, root.level = before, level
