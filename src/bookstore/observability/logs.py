"""The log of all processes of a service: a line an event on stderr, as JSON or for reading.

Everybody logs with the standard library's `logging`; keys come as `extra={…}`, from structlog's context variables
and from here. structlog turns the record into the line. stdout is for data.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from bookstore.config.settings import Settings
from bookstore.http import request_id as correlation
from bookstore.observability.redaction import escape_controls, has_secret, mask

FLOOD_INTERVAL_S: Final = 1.0
"""Of the warnings about refused requests one of each code is written in so long, and how many were not."""

# What others say too much of: SQLAlchemy has each statement at INFO and each row at DEBUG.
_MINIMUM_LEVELS: Final[Mapping[str, int]] = {
    "": logging.INFO, "sqlalchemy": logging.WARNING, "alembic": logging.WARNING, "asyncio": logging.INFO,
}  # fmt: skip
# Servers and libraries give handlers of their own to these.
_TAKEN_OVER: Final = ("_granian", "granian.access", "litestar")
_TRACEBACK: Final = "Traceback (most recent call last):\n"
_PLAIN: Final = (int, float, bool, type(None))

GRANIAN: Final[dict[str, Any]] = {"version": 1, "incremental": True, "formatters": {}, "handlers": {}, "loggers": {}}
"""granian's configuration, which it applies in every process: it leaves all as it is here."""


def configure(found: Settings, profile: str) -> None:
    """Logs as `found` says, of a service under `profile`, from now on and in the processes that are forked."""
    handler = _Stderr()
    handler.setFormatter(_formatter(is_json=_is_json(found), profile=profile))
    handler.addFilter(_FloodFilter())
    handler.addFilter(_is_not_duplicate)
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    for name in _TAKEN_OVER:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    level = logging.getLevelName(found.log_level.upper())
    logging.getLogger("bookstore").setLevel(level)
    for name, least in _MINIMUM_LEVELS.items():
        logging.getLogger(name).setLevel(max(level, least))
    # With a profile's `echo` SQLAlchemy would give it a handler to stdout.
    logging.getLogger("sqlalchemy.engine.Engine").handlers = [logging.NullHandler()]
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _is_json(found: Settings) -> bool:
    return found.log_format == "json" or (found.log_format == "auto" and not sys.stderr.isatty())


def _has_colors() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _formatter(*, is_json: bool, profile: str) -> logging.Formatter:
    last: list[Processor] = [_json]
    if not is_json:
        console = structlog.dev.ConsoleRenderer(
            colors=_has_colors(),
            event_key="event",
            pad_event_to=0,
            exception_formatter=structlog.dev.plain_traceback,  # the pretty ones show local variables
        )
        last = [_escape, console]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.ExtraAdder(),
            structlog.contextvars.merge_contextvars,
            _AddContext(profile),
        ],
        processors=[structlog.processors.format_exc_info, _mask, *last],
    )


class _AddContext:
    """Puts what every line has in front: when, how bad, whose, and in the course of which request."""

    def __init__(self, profile: str) -> None:
        self._profile = profile
        self._worker = os.environ.get("BOOKSTORE_WORKER")

    def __call__(self, _: Any, __: str, said: EventDict) -> EventDict:
        record: logging.LogRecord = said.pop("_record")
        said.pop("_from_structlog")
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "timestamp": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": said.pop("event"),
            "profile": self._profile,
            "pid": record.process,
        }
        if self._worker:
            line["worker"] = int(self._worker)
        if request_id := correlation.current():
            line["request_id"] = request_id
        if route := correlation.route():
            line["route"] = route
        line.update(said)
        if _TRACEBACK in line["event"]:  # granian's record of an error has it in its message
            line["event"], _, line["exception"] = line["event"].partition("\n")
        return line


def _mask(_: Any, __: str, line: EventDict) -> EventDict:
    """Values are plain, and without secrets."""
    texts = {key: str(value) for key, value in line.items() if not isinstance(value, _PLAIN)}
    if has_secret("\0".join(texts.values())):  # once for all, for nearly none has
        texts = {key: mask(text) for key, text in texts.items()}
    line.update(texts)
    return line


def _json(_: Any, __: str, line: EventDict) -> str:
    """In ASCII: what is no line end to JSON is one to many who read lines."""
    try:
        made = msgspec.json.encode(line)
        if made.isascii():
            return made.decode()
    except UnicodeEncodeError:  # half a character
        pass
    return json.dumps(line, separators=(",", ":"))


def _escape(_: Any, __: str, line: EventDict) -> EventDict:
    """Each text on one line; a traceback's lines are indented, none of them can pass for an event."""
    made = {
        key: escape_controls(value) if isinstance(value, str) else value
        for key, value in line.items()
        if key != "profile"
    }
    if exception := line.get("exception"):
        made["exception"] = "\n".join(f"    {escape_controls(one)}" for one in exception.split("\n"))
    return made


class _FloodFilter(logging.Filter):
    """Lets pass one warning of each `code` in FLOOD_S: who is refused often must not fill a disk.

    The next one that passes tells as `suppressed` how many did not.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        code = getattr(record, "code", None)
        if code is None or record.levelno != logging.WARNING:
            return True
        now = time.monotonic()
        last, count = self._kept.get(code, (-FLOOD_INTERVAL_S, 0))
        if now - last < FLOOD_INTERVAL_S:
            self._kept[code] = (last, count + 1)
            return False
        self._kept[code] = (now, 0)
        if count:
            record.suppressed = count
        return True


def _is_not_duplicate(record: logging.LogRecord) -> bool:
    """Whether it is not granian's word on an error that is in the log already, with its causes."""
    return record.name != "_granian.utils" or not correlation.is_logged()


class _Stderr(logging.Handler):
    """Writes a line in one piece, so that those of several processes do not mix."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            rest = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            while rest:
                rest = rest[os.write(sys.stderr.fileno(), rest) :]
        except Exception:  # noqa: BLE001 - as each of logging's handlers: a log that fails stops nothing
            self.handleError(record)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, Exception):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("bookstore").critical("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(it: threading.ExceptHookArgs) -> None:
    if it.exc_value is not None:
        _log_uncaught(it.exc_type, it.exc_value, it.exc_traceback)
