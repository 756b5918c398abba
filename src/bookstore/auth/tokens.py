"""Bearer tokens, which authorise writing. Only a token's SHA-256 digest is stored, never the token."""

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
_MAX_LISTED: Final = 5


class Token(msgspec.Struct, frozen=True):
    """One line of the tokens file: the token's name, its scopes, its digest in hex and its day of creation."""

    name: str
    scopes: tuple[str, ...]
    digest: str
    created: date | None = None

    def allows(self, scope: str) -> bool:
        """Whether the token has `scope`; `admin` includes all scopes."""
        return ADMIN in self.scopes or scope in self.scopes

    def line(self) -> str:
        """Return the token's line in the file, without a line end."""
        return " ".join([self.name, ",".join(self.scopes), self.digest, *([str(self.created)] if self.created else [])])


def create(name: str, scopes: Iterable[str], created: date) -> tuple[str, Token]:
    """Create a token: the secret that its owner sends, and the Token to store.

    Raises ConfigurationError if the name is invalid."""
    requested = set(scopes)
    presented = PREFIX + secrets.token_urlsafe(32)
    ordered = tuple(scope for scope in SCOPES if scope in requested)
    return presented, Token(check_name(name), ordered, sha256_hex(presented), created)


def check_name(name: str) -> str:
    """Return `name`. Raises ConfigurationError, without showing a token, if it is invalid."""
    try:
        return _validate_name(name)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def parse(lines: Iterable[str], origin: str) -> tuple[tuple[Token, ...], list[str]]:
    """Return the tokens in `lines`, and an error per invalid line: `origin:line: found …; allowed is …`.

    A repeated name or digest is an error."""
    tokens: list[Token] = []
    errors = []
    for number, line in enumerate(lines, 1):
        if not (words := line.partition("#")[0].split()):
            continue
        try:
            tokens.append(_require_unique(_parse_token(words), tokens))
        except ValueError as error:
            errors.append(f"{origin}:{number}: {error}")
    return tuple(tokens), errors


def _parse_token(words: Sequence[str]) -> Token:
    if not 3 <= len(words) <= 4:
        raise ValueError(f"found {len(words)} words; allowed is {_FORM}")
    name, scope_list, digest, *created = words
    scopes = tuple(scope_list.split(","))
    if not set(scopes) <= set(SCOPES) or len(set(scopes)) < len(scopes):
        raise ValueError(
            f"scope: found {_redact(scope_list)}; allowed are {' and '.join(SCOPES)}, separated by a comma"
        )
    if not _DIGEST.fullmatch(digest):  # not shown: it may be the token itself
        raise ValueError(
            f"digest: found {len(digest)} characters; allowed are 64 of 0-9 and a-f, the SHA-256 of the token"
        )
    return Token(_validate_name(name), scopes, digest, _parse_day(created[0]) if created else None)


def _require_unique(token: Token, known: Iterable[Token]) -> Token:
    for other in known:
        if other.name == token.name or other.digest == token.digest:
            raise ValueError(f"found the name or the digest of {other.name} again; allowed is once")
    return token


def _validate_name(name: str) -> str:
    if _NAME.fullmatch(name) and PREFIX not in name:
        return name
    raise ValueError(f"name: found {_redact(name)}; allowed are 1 to 64 of a-z, 0-9, _ and -")


def _parse_day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or str(day) != text:
        raise ValueError(f"day of creation: found {_redact(text)}; allowed is YYYY-MM-DD")
    return day


def _redact(word: str) -> str:
    """Quote `word` for a message, unless it could be a token in the wrong place."""
    return "what looks like an access token" if PREFIX in word else f"'{excerpt(word)}'"


def sha256_hex(presented: str) -> str:
    """Return the hex digest of a token from a header, in which each character is one byte."""
    return hashlib.sha256(presented.encode("latin-1", "replace")).hexdigest()


def describe_errors(errors: Sequence[str]) -> str:
    """Join errors in one line, at most the first _MAX_LISTED of them."""
    more = len(errors) - _MAX_LISTED
    return "; ".join(errors[:_MAX_LISTED]) + (f"; and {more} more" if more > 0 else "")
