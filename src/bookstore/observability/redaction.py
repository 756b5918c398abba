"""What a text must not bring into a log: secrets, by their form, values that a database quotes, and characters that
steer a terminal or end a line.

No code of ours logs a secret; this is for the words of others, such as a driver's error that quotes its URL.
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
    """Whether `text` may have a secret in it; quicker than looking for it."""
    lower = text.lower()
    return any([sign in lower for sign in _SIGNS])  # noqa: C419 - the list is quicker


def mask(text: str) -> str:
    """`text` with `***` where a token, a password, an Authorization header or a database's quote of a value shows."""
    return _SECRETS.sub(lambda found: f"{next(filter(None, found.groups()))}{MASK}", text)


def escape_controls(text: str) -> str:
    """`text` on one line, where control and direction characters are written as escapes."""
    return text if text.isprintable() else _UNPRINTABLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else found[0].encode("unicode_escape").decode()
