"""Logging of all processes of a service: one line per event on stderr, as JSON or as text.

All code logs with the standard library's `logging`. Keys come from `extra={…}`, from structlog's context variables and
from this module. structlog turns the record into the line. stdout is for data.
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
from bookstore.http import request_id
from bookstore.observability.redaction import escape_controls, has_secret, mask

FLOOD_INTERVAL_S: Final = 1.0
"""At most one warning about rejected requests is written per code in this time."""

# Minimum levels for verbose libraries: SQLAlchemy logs each statement at INFO and each row at DEBUG.
_MINIMUM_LEVELS: Final[Mapping[str, int]] = {
    "": logging.INFO, "sqlalchemy": logging.WARNING, "alembic": logging.WARNING, "asyncio": logging.INFO,
}  # fmt: skip
# Loggers to which servers and libraries add their own handlers.
_TAKEN_OVER: Final = ("_granian", "granian.access", "litestar")
_TRACEBACK: Final = "Traceback (most recent call last):\n"
_PLAIN: Final = (int, float, bool, type(None))

GRANIAN: Final[dict[str, Any]] = {"version": 1, "incremental": True, "formatters": {}, "handlers": {}, "loggers": {}}
"""granian's logging configuration, applied in every process. It leaves this module's configuration unchanged."""


def configure(settings: Settings, profile: str) -> None:
    """Configure logging for a service under `profile`, in this process and in those that it forks."""
    handler = _Stderr()
    handler.setFormatter(_formatter(is_json=_is_json(settings), profile=profile))
    handler.addFilter(_FloodFilter())
    handler.addFilter(_is_not_duplicate)
    root = logging.getLogger()
    for old in [other for other in root.handlers if isinstance(other, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    for name in _TAKEN_OVER:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    level = logging.getLevelName(settings.log_level.upper())
    logging.getLogger("bookstore").setLevel(level)
    for name, minimum in _MINIMUM_LEVELS.items():
        logging.getLogger(name).setLevel(max(level, minimum))
    # Otherwise, with a profile's `echo`, SQLAlchemy adds a handler that writes to stdout.
    logging.getLogger("sqlalchemy.engine.Engine").handlers = [logging.NullHandler()]
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _is_json(settings: Settings) -> bool:
    return settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())


def _has_colors() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _formatter(*, is_json: bool, profile: str) -> logging.Formatter:
    last: list[Processor] = [_json]
    if not is_json:
        console = structlog.dev.ConsoleRenderer(
            colors=_has_colors(),
            event_key="event",
            pad_event_to=0,
            exception_formatter=structlog.dev.plain_traceback,  # the others show local variables
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
    """A processor that puts the keys of every line first: time, level, logger, event, process and request."""

    def __init__(self, profile: str) -> None:
        self._profile = profile
        self._worker = os.environ.get("BOOKSTORE_WORKER")

    def __call__(self, _: Any, __: str, values: EventDict) -> EventDict:
        record: logging.LogRecord = values.pop("_record")
        values.pop("_from_structlog")
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "timestamp": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": values.pop("event"),
            "profile": self._profile,
            "pid": record.process,
        }
        if self._worker:
            line["worker"] = int(self._worker)
        if current := request_id.current():
            line["request_id"] = current
        if route := request_id.route():
            line["route"] = route
        line.update(values)
        if _TRACEBACK in line["event"]:  # granian puts an error's traceback into the message
            line["event"], _, line["exception"] = line["event"].partition("\n")
        return line


def _mask(_: Any, __: str, line: EventDict) -> EventDict:
    """Convert all values to plain types and mask secrets."""
    texts = {key: str(value) for key, value in line.items() if not isinstance(value, _PLAIN)}
    if has_secret("\0".join(texts.values())):  # one test for all values, because secrets are rare
        texts = {key: mask(text) for key, text in texts.items()}
    line.update(texts)
    return line


def _json(_: Any, __: str, line: EventDict) -> str:
    """Encode the line as ASCII, because many line readers split at characters that JSON need not escape."""
    try:
        encoded = msgspec.json.encode(line)
        if encoded.isascii():
            return encoded.decode()
    except UnicodeEncodeError:  # a lone surrogate
        pass
    return json.dumps(line, separators=(",", ":"))


def _escape(_: Any, __: str, line: EventDict) -> EventDict:
    """Keep each text on one line, and indent a traceback's lines so that none of them looks like an event."""
    escaped = {
        key: escape_controls(value) if isinstance(value, str) else value
        for key, value in line.items()
        if key != "profile"
    }
    if exception := line.get("exception"):
        escaped["exception"] = "\n".join(f"    {escape_controls(text)}" for text in exception.split("\n"))
    return escaped


class _FloodFilter(logging.Filter):
    """A filter that passes one warning per `code` in FLOOD_INTERVAL_S, so that rejected requests cannot fill the disk.

    The next one that passes has the number of dropped warnings as `suppressed`.
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
    """Return False for granian's report of an error that is in the log already."""
    return record.name != "_granian.utils" or not request_id.is_logged()


class _Stderr(logging.Handler):
    """A handler that writes each line in one piece, so that lines of several processes do not mix."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            rest = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            while rest:
                rest = rest[os.write(sys.stderr.fileno(), rest) :]
        except Exception:  # noqa: BLE001 - like logging's own handlers: a failure to log stops nothing
            self.handleError(record)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, Exception):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("bookstore").critical("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        _log_uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
