"""The access tokens that are accepted now, from the environment or from a file that may change at run time."""

from __future__ import annotations

import hmac
import logging
import os
import re
import stat
import time
from pathlib import Path
from typing import Final

from bookstore.auth import token_file
from bookstore.auth.tokens import Token, describe_errors, parse, sha256_hex
from bookstore.config.settings import Settings, is_loopback
from bookstore.exceptions import ConfigurationError

logger = logging.getLogger("bookstore")

_SETTLED_NS: Final = 10**9  # 1 s


class Keyring:
    """The tokens that are accepted now: `accepted`, or the contents of the file at `path` if that is given.

    Each lookup first checks whether the file has changed, so adding or revoking a token needs no restart. A file that
    goes missing, unreadable or wrong at run time never keeps a revoked token valid: of the previous tokens only those
    that are still in the file remain, and no new ones are accepted until the file is valid again (docs/decisions.md).
    """

    def __init__(self, accepted: tuple[Token, ...] = (), path: Path | None = None) -> None:
        self._accepted = accepted
        self._path = path
        self._last_stamp: tuple[int, ...] | None = None
        self._last_error = ""

    def tokens(self) -> tuple[Token, ...]:
        """Return all tokens, after reloading a changed file."""
        if self._path and (self._accepted or _stat(self._path)):
            self._reload(self._path)
        return self._accepted

    def find(self, presented: str) -> Token | None:
        """Return the presented token, None if it is unknown. Compares with all tokens, in constant time each."""
        digest = sha256_hex(presented)
        match = None
        for token in self.tokens():
            if hmac.compare_digest(token.digest, digest):
                match = token
        return match

    def _reload(self, path: Path) -> None:
        stamp = _stamp(path)
        if stamp and stamp == self._last_stamp:
            return
        before = self._accepted
        tokens, errors = token_file.read(path)
        self._accepted = tuple(token for token in tokens if token in before) if errors else tokens
        self._last_stamp = None if errors else stamp
        self._log_change(path, before, describe_errors(errors))

    def _log_change(self, path: Path, before: tuple[Token, ...], error: str) -> None:
        """Log one line per change."""
        names = ", ".join(token.name for token in self._accepted) or "none"
        if error and error != self._last_error:
            logger.error("%s; no new token is accepted until the file is fixed; accepted tokens: %s", error, names)
        elif self._accepted != before:
            logger.info("%s: accepted tokens: %s", path, names)
        self._last_error = error


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return values that differ once the file has changed; None if they are not reliable.

    They are not for a file that was changed within the last second: a further change within the same tick of the file
    system's clock would have the same stamp."""
    status = _stat(path)
    if status is None or time.time_ns() - status.st_ctime_ns < _SETTLED_NS:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _stat(path: Path) -> os.stat_result | None:
    """Return the file's status; None if it does not exist or is not accessible."""
    try:
        return path.stat()
    except OSError:
        return None


def tokens_path(settings: Settings) -> Path:
    """Return the path of the tokens file: BOOKSTORE_API_TOKENS_FILE, else `tokens` in the data folder."""
    return settings.api_tokens_file or settings.data_dir / "tokens"


def read(settings: Settings) -> Keyring:
    """Return the Keyring for `settings`; the default tokens file may be missing.

    Raises ConfigurationError for an invalid token line, an explicitly named file that cannot be read, and two sources.
    """
    if settings.api_tokens and settings.api_tokens_file:
        raise ConfigurationError(
            "BOOKSTORE_API_TOKENS and BOOKSTORE_API_TOKENS_FILE are both set; allowed is one of them"
        )
    if settings.api_tokens:
        return Keyring(_require_valid(parse(re.split(r"[\n;]", settings.api_tokens), "BOOKSTORE_API_TOKENS")))
    path = tokens_path(settings)
    status = _stat(path)
    if status is None and not settings.api_tokens_file:
        return Keyring(path=path)
    tokens = _require_valid(token_file.read(path))
    # A secret mounted by an orchestrator may belong to another user and be readable through its group.
    others = 0o077 if status and status.st_uid == os.geteuid() else 0o007
    if status and (mode := stat.S_IMODE(status.st_mode)) & others:
        logger.warning("%s: other users have access (mode %04o): chmod 600 it", path, mode)
    return Keyring(tokens, path)


def check_writers(settings: Settings, host: str, *, read_only: bool) -> None:
    """Raise ConfigurationError if other machines can reach the service on `host`, no token is configured and it is
    not `read_only`."""
    tokens = read(settings).tokens()
    if not (tokens or read_only or is_loopback(host)):
        raise ConfigurationError(
            f"host {host}: other machines may reach it, and no token is configured for writing; create one with "
            f"bookstore tokens create NAME --scope catalog:write, or serve with --read-only, or on 127.0.0.1"
        )


def _require_valid(parsed: tuple[tuple[Token, ...], list[str]]) -> tuple[Token, ...]:
    tokens, errors = parsed
    if errors:
        raise ConfigurationError(describe_errors(errors))
    return tokens
