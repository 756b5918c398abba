"""Bearer tokens: who may write. What is kept of a token is its SHA-256 digest, never the token."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final

import msgspec

from bookstore.config.text import excerpt
from bookstore.exceptions import ConfigurationError

CATALOG_WRITE: Final = "catalog:write"
ADMIN: Final = "admin"
SCOPES: Final = (CATALOG_WRITE, ADMIN)
PREFIX: Final = "bks_"

_NAME: Final = re.compile(r"[a-z0-9_-]{1,64}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_FORM: Final = "NAME SCOPE[,SCOPE] SHA256HEX [YYYY-MM-DD]"
_MOST_TOLD: Final = 5


class Token(msgspec.Struct, frozen=True):
    """A line of the file: whose token, what it may, its digest in hex, and the day it was made."""

    name: str
    scopes: tuple[str, ...]
    digest: str
    created: date | None = None

    def allows(self, scope: str) -> bool:
        """Whether the token has `scope`; `admin` has all."""
        return ADMIN in self.scopes or scope in self.scopes

    def line(self) -> str:
        """The token as the file has it, without a line end."""
        return " ".join([self.name, ",".join(self.scopes), self.digest, *([str(self.created)] if self.created else [])])


def make(name: str, scopes: Iterable[str], created: date) -> tuple[str, Token]:
    """A new token, as its owner sends it and as it is kept. Raises ConfigurationError for a name that cannot be."""
    wanted = set(scopes)
    presented = PREFIX + secrets.token_urlsafe(32)
    listed = tuple(one for one in SCOPES if one in wanted)
    return presented, Token(check_name(name), listed, digest_of(presented), created)


def check_name(name: str) -> str:
    """`name`. Raises ConfigurationError where it cannot be a token's; its text never shows a token."""
    try:
        return _checked_name(name)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def parse(lines: Iterable[str], origin: str) -> tuple[tuple[Token, ...], list[str]]:
    """The tokens in `lines`, and a sentence for each line that is none: `origin:line: what was found, what is
    allowed`. A name or a digest that comes again is a mistake."""
    tokens: list[Token] = []
    mistakes = []
    for number, line in enumerate(lines, 1):
        if not (words := line.partition("#")[0].split()):
            continue
        try:
            tokens.append(_new(_token(words), tokens))
        except ValueError as error:
            mistakes.append(f"{origin}:{number}: {error}")
    return tuple(tokens), mistakes


def _token(words: Sequence[str]) -> Token:
    if not 3 <= len(words) <= 4:
        raise ValueError(f"found {len(words)} words; allowed is {_FORM}")
    name, scopes, digest, *created = words
    listed = tuple(scopes.split(","))
    if not set(listed) <= set(SCOPES) or len(set(listed)) < len(listed):
        raise ValueError(f"scope: found {_found(scopes)}; allowed are {' and '.join(SCOPES)}, with a comma between")
    if not _DIGEST.fullmatch(digest):  # not shown: it may be the token itself
        raise ValueError(
            f"digest: found {len(digest)} characters; allowed are 64 of 0-9 and a-f, the SHA-256 of the token"
        )
    return Token(_checked_name(name), listed, digest, _day(created[0]) if created else None)


def _new(token: Token, known: Iterable[Token]) -> Token:
    for one in known:
        if one.name == token.name or one.digest == token.digest:
            raise ValueError(f"found the name or the digest of {one.name} again; allowed is once")
    return token


def _checked_name(name: str) -> str:
    if _NAME.fullmatch(name) and PREFIX not in name:
        return name
    raise ValueError(f"name: found {_found(name)}; allowed are 1 to 64 of a-z, 0-9, _ and -")


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or str(day) != text:
        raise ValueError(f"day of creation: found {_found(text)}; allowed is YYYY-MM-DD")
    return day


def _found(word: str) -> str:
    """A word for a message; no message shows what could be a token in the wrong place."""
    return "what looks like a token itself" if PREFIX in word else f"'{excerpt(word)}'"


def digest_of(presented: str) -> str:
    """The digest in hex of a token as a header brought it: each character a byte."""
    return hashlib.sha256(presented.encode("latin-1", "replace")).hexdigest()


def describe_errors(mistakes: Sequence[str]) -> str:
    """Mistakes in one line; the first few of many."""
    more = len(mistakes) - _MOST_TOLD
    return "; ".join(mistakes[:_MOST_TOLD]) + (f"; and {more} more" if more > 0 else "")
