"""What the processes of a service write: read as an operator's collector does, line by line."""

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
SAY = """
import logging, sys, threading, warnings
from pathlib import Path
import structlog
from bookstore.http import request_id as correlation
from bookstore.observability import logs
from bookstore.config.settings import Settings

logs.configure(Settings(data_dir=Path("/"), log_format=sys.argv[1], log_level=sys.argv[2]), "default")
logger = logging.getLogger("bookstore")
"""

Say = Callable[..., list[str]]


@pytest.fixture
def say() -> Say:
    """The lines that a process writes that is configured and then does something."""

    def said(code: str, form: str = "json", level: str = "info", **env: str) -> list[str]:
        there = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        command = [sys.executable, "-c", SAY + code, form, level]
        made = subprocess.run(command, env=there | env, capture_output=True, text=True, check=False)
        assert made.stdout == ""
        return made.stderr.splitlines()

    return said


def read(lines: list[str]) -> list[dict[str, Any]]:
    """All lines, each of which has to be an object."""
    events = [json.loads(line) for line in lines]
    assert all(isinstance(event, dict) for event in events)
    return events


def test_keys(say: Say) -> None:
    """An event has its place and time in front, then what was said with it and what is bound to the context."""
    (event,) = read(
        say(
            'correlation.begin(b"id-1", {"path_template": "/books"})\n'
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


def test_others_speak_the_same(say: Say) -> None:
    """What libraries, warnings, threads and a crash have to say comes as an event too, the crash with its traceback."""
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
    """The level holds for the service; of others' debug lines, which show rows, none comes at any level."""
    code = """
for name in ("bookstore", "sqlalchemy.engine.Engine", "sqlalchemy.pool", "asyncpg", "_granian"):
    for level in (10, 20, 30, 40):
        logging.getLogger(name).log(level, name)
"""
    heard = {
        level: [(one["logger"], one["level"]) for one in read(say(code, level=level))] for level in ("debug", "error")
    }
    assert heard["error"] == [(name, "error") for name in dict(heard["debug"])]
    assert [level for name, level in heard["debug"] if name == "bookstore"] == ["debug", "info", "warning", "error"]
    assert {level for name, level in heard["debug"] if name != "bookstore"} == {"info", "warning", "error"}
    assert {level for name, level in heard["debug"] if name.startswith("sqlalchemy")} == {"warning", "error"}


HOSTILE = """
evil = "\\r\\n2026-01-01T00:00:00Z [info] forged\\x1b[2J\\u2028\\u202e"
logger.warning("path %s", evil, extra={"path": evil, "list": [evil]})
try:
    raise ValueError(evil)
except ValueError:
    logger.exception("failed")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_nothing_can_be_forged(say: Say, form: str) -> None:
    """Line ends and control characters in what a client sent make no line and steer no terminal."""
    lines = say(HOSTILE, form)
    assert "".join(lines).isprintable()
    if form == "json":
        assert len(read(lines)) == 2
    else:
        assert [line[:2] for line in lines if not line.startswith("    ")] == ["20", "20"]
        assert [line for line in lines if line.startswith("2026-01-01")] == []


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_secret(say: Say, form: str) -> None:
    """A password in a URL, a token and a header are masked wherever they stand; local variables are not shown."""
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
    told = "\n".join(say(code, form, "debug"))
    assert "postgresql://me:***@db/x" in told
    assert "SystemError" in told
    assert "c4nry" not in told.replace('hidden = "c4nry"', "")


def test_no_flood(say: Say) -> None:
    """Of a thousand refusals one of each code is written, and how many more there were; errors are all written."""
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
    """Text that goes to no terminal has no colour, whatever is asked for; nor at a terminal with NO_COLOR."""
    (line,) = say('logger.info("hello", extra={"status": 200})', "text", FORCE_COLOR=color)
    assert "\x1b" not in line
    assert "hello" in line
    assert "status=200" in line


def test_at_a_terminal() -> None:
    """By itself a log at a terminal is text in colour, and without colour where NO_COLOR is set."""
    told = {}
    for value in ("", "1"):
        primary, secondary = os.openpty()
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "NO_COLOR": value}
        command = [sys.executable, "-c", SAY + 'logger.info("hello")', "auto", "info"]
        subprocess.run(command, env=env, stderr=secondary, check=True)
        os.close(secondary)
        told[value] = os.read(primary, 10_000).decode()
        os.close(primary)
    assert "\x1b[" in told[""]
    assert "\x1b" not in told["1"]
    assert "hello" in told["1"]
    assert not told["1"].startswith("{")


def test_configured_again(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Who configures twice gets each line once, and others' handlers stay."""
    from bookstore.config.settings import Settings  # noqa: PLC0415
    from bookstore.observability import logs  # noqa: PLC0415 - after capfd has taken stderr

    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        for _ in range(2):
            logs.configure(Settings(data_dir=Path("/"), log_format="json"), "default")
        logging.getLogger("bookstore").warning("once")
        assert [one["event"] for one in read(capfd.readouterr().err.splitlines())] == ["once"]
        assert caplog.messages == ["once"]
    finally:
        root.handlers, root.level = before, level
