"""What was found, how bad it is, what to do; and looking itself, which ends in time and never breaks the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final, Literal, get_args

import msgspec
import psycopg

from bookstore.exceptions import ConfigurationError

Level = Literal["problem", "warning", "note", "ok"]
"""A problem stops a start: `serve` refuses for the same reason. The worst comes first."""
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

CHECK_TIMEOUT_S: Final = 10.0
"""How long one look may take: longer than the waits within it (a connect 3 s, a statement 5 s)."""


class Finding(msgspec.Struct, frozen=True):
    """`check` is the noun of what was looked at; `do` is empty where nothing needs to be done."""

    level: Level
    check: str
    found: str
    do: str = ""


def error_findings(check: str, refusal: ConfigurationError, level: Level = "problem") -> list[Finding]:
    """A refusal's lines: what stands behind the last semicolon is what to do."""
    split = [line.rpartition("; ") if "; " in line else (line, "", "") for line in str(refusal).splitlines()]
    return [Finding(level, check, found, do) for found, _, do in split]


def run_check(
    check: str, look: Callable[[], Iterable[Finding]], silence: Level = "warning", within_s: float = CHECK_TIMEOUT_S
) -> list[Finding]:
    """The findings of `look`. A refusal is a problem; what breaks, and what gives no answer in time (its thread is
    left behind), is a finding too."""
    found: list[Finding] = []

    def run() -> None:
        try:
            for one in look():
                found.append(one)  # noqa: PERF402 - those before a failure are kept
        except ConfigurationError as refusal:
            found.extend(error_findings(check, refusal))
        except Exception as error:  # noqa: BLE001 - the other checks go on
            told = f"could not be looked at: {_reason(error)}"
            found.append(Finding("warning", check, told, "mend what stands in the way, and look again"))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(within_s)
    if thread.is_alive():
        return [*found, Finding(silence, check, f"gave no answer within {within_s:g} s", "see why it hangs")]
    return found


def _reason(error: Exception) -> str:
    """The kind of an error, and its words where no secret can be in them."""
    words = ""
    if isinstance(error, psycopg.Error):
        words = error.diag.message_primary or ""
    elif isinstance(error, OSError):
        words = error.strerror or ""
    return ": ".join(filter(None, [type(error).__name__, words]))
