"""Removes from log text what must not be there: secrets, values that a database quotes, and control characters.

Our own code never logs a secret. This is for third-party messages, such as a driver's error that quotes its URL.
"""

from __future__ import annotations

import re
from typing import Final

from bookstore.auth.tokens import PREFIX

MASK: Final = "***"

_SECRETS: Final = re.compile(
    rf"(?P<token>{PREFIX})[\w-]+"
    r"|(?P<url>://[^\s/:@]{0,200}:)[^\s@]+(?=@)"
    r"|(?i:(?P<header>\bauthorization['\"]?\W{1,3}(?:b?['\"])?(?:(?:bearer|basic)\s+)?))[^'\",\r\n]+"
    r"|(?i:(?P<scheme>\bbearer\s+))[\w.~+/=-]{8,}"
    r"|(?P<argument>\binvalid input for query argument \$\d+: ).*"  # asyncpg, and the value
    r"|(?P<detail>\bDETAIL: ).*"  # PostgreSQL, and the row
    r"|(?i:(?P<single>password['\"]?\s{0,3}[=:]\s{0,3}'))[^']+"
    r"|(?i:(?P<double>password['\"]?\s{0,3}[=:]\s{0,3}\"))[^\"]+"
    r"|(?i:(?P<setting>password['\"]?\s{0,3}[=:]\s{0,3}['\"]?))[^\s'\",&]+"
)
_SIGNS: Final = (PREFIX, "://", "authorization", "bearer", "password", "query argument", "detail: ")
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")


def has_secret(text: str) -> bool:
    """Return whether `text` may contain a secret. Faster than masking it."""
    lower = text.lower()
    return any([sign in lower for sign in _SIGNS])  # noqa: C419 - the list is faster


def mask(text: str) -> str:
    """Replace tokens, passwords, Authorization headers and values quoted by the database in `text` with `***`."""
    return _SECRETS.sub(lambda match: f"{next(filter(None, match.groups()))}{MASK}", text)


def escape_controls(text: str) -> str:
    """Return `text` on one line, with control characters and bidirectional controls escaped."""
    return text if text.isprintable() else _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0] if match[0].isprintable() else match[0].encode("unicode_escape").decode()
