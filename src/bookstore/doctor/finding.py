"""Findings, and running a check so that it ends in time and never breaks the other checks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final, Literal, get_args

import msgspec
import psycopg

from bookstore.exceptions import ConfigurationError

Level = Literal["problem", "warning", "note", "ok"]
"""Most severe first. A problem prevents startup: `serve` refuses to start for the same reason."""
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

CHECK_TIMEOUT_S: Final = 10.0
"""How long one check may take. Longer than the timeouts within it: 3 s for a connect, 5 s for a statement."""
TIMED_OUT: Final = "check did not finish within"


class Finding(msgspec.Struct, frozen=True):
    """`check` is a noun for what was checked; `do` is the fix, empty if there is nothing to do."""

    level: Level
    check: str
    found: str
    do: str = ""


def error_findings(check: str, error: ConfigurationError, level: Level = "problem") -> list[Finding]:
    """Return one finding for each line of `error`. The text after a line's last semicolon is its fix."""
    parts = [line.rpartition("; ") if "; " in line else (line, "", "") for line in str(error).splitlines()]
    return [Finding(level, check, found, do) for found, _, do in parts]


def run_check(
    name: str,
    check: Callable[[], Iterable[Finding]],
    timeout_level: Level = "warning",
    timeout_s: float = CHECK_TIMEOUT_S,
) -> list[Finding]:
    """Return the findings of `check`, which runs in a thread of its own.

    A ConfigurationError is a problem. An unexpected exception is a warning. A check that does not end within
    `timeout_s` is a finding of `timeout_level`, and its thread is abandoned. Findings made before a failure are kept.
    """
    findings: list[Finding] = []

    def run() -> None:
        try:
            for finding in check():
                findings.append(finding)  # noqa: PERF402 - those before a failure are kept
        except ConfigurationError as error:
            findings.extend(error_findings(name, error))
        except Exception as error:  # noqa: BLE001 - the other checks go on
            findings.append(
                Finding("warning", name, f"check failed: {_reason(error)}", "fix the cause and run it again")
            )

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        return [*findings, Finding(timeout_level, name, f"{TIMED_OUT} {timeout_s:g} s", "find out why it hangs")]
    return findings


def _reason(error: Exception) -> str:
    """Return the class of an error, with its message where that cannot contain a secret."""
    message = ""
    if isinstance(error, psycopg.Error):
        message = error.diag.message_primary or ""
    elif isinstance(error, OSError):
        message = error.strerror or ""
    return ": ".join(filter(None, [type(error).__name__, message]))
