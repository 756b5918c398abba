"""The tokens that are accepted now: from the environment, or from a file that may change while we serve."""

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
from bookstore.auth.tokens import Token, describe_errors, digest_of, parse
from bookstore.config import settings as settings_
from bookstore.config.settings import Settings
from bookstore.exceptions import ConfigurationError

logger = logging.getLogger("bookstore")

_SETTLED_NS: Final = 10**9


class Keyring:
    """The tokens that are accepted now: `accepted`, or what the file at `path` says where there is one.

    Each look-up first asks whether the file has changed, so a token that is added or revoked needs no
    restart. A file that is gone, unreadable or wrong while the service runs never lets a revoked token go on:
    of the tokens so far those stay whose lines still stand, and no new ones come before the file is right
    again (docs/decisions.md).
    """

    def __init__(self, accepted: tuple[Token, ...] = (), path: Path | None = None) -> None:
        self._accepted = accepted
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._trouble = ""

    def accepted(self) -> tuple[Token, ...]:
        """All of them, as the file has them now."""
        if self._path and (self._accepted or _stat(self._path)):
            self._look(self._path)
        return self._accepted

    def find(self, presented: str) -> Token | None:
        """The token that was sent, None where it is none of ours. Compares with each, and each takes as long."""
        digest = digest_of(presented)
        found = None
        for token in self.accepted():
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found

    def _look(self, path: Path) -> None:
        seen = _stamp(path)
        if seen and seen == self._seen:
            return
        before = self._accepted
        found, mistakes = token_file.read(path)
        self._accepted = tuple(token for token in found if token in before) if mistakes else found
        self._seen = None if mistakes else seen
        self._tell(path, before, describe_errors(mistakes))

    def _tell(self, path: Path, before: tuple[Token, ...], trouble: str) -> None:
        """One line for each change."""
        names = ", ".join(token.name for token in self._accepted) or "none"
        if trouble and trouble != self._trouble:
            logger.error("%s; until it is mended no new token is accepted; accepted are now: %s", trouble, names)
        elif self._accepted != before:
            logger.info("%s: tokens are now: %s", path, names)
        self._trouble = trouble


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What differs once the file was changed. None where that cannot be said, also of a file that was changed
    within the last second: another change within the same tick of its clock would look like this one."""
    found = _stat(path)
    if found is None or time.time_ns() - found.st_ctime_ns < _SETTLED_NS:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _stat(path: Path) -> os.stat_result | None:
    """None where there is no such file, or none that we may know of."""
    try:
        return path.stat()
    except OSError:
        return None


def file(settings: Settings) -> Path:
    """The tokens file: the one of BOOKSTORE_API_TOKENS_FILE, else `tokens` in the data folder."""
    return settings.api_tokens_file or settings.data_dir / "tokens"


def read(settings: Settings) -> Keyring:
    """The tokens that the settings name; the default file may be missing.

    Raises ConfigurationError for a mistake in them, for a file that is named and cannot be read, and for two sources.
    """
    if settings.api_tokens and settings.api_tokens_file:
        raise ConfigurationError(
            "BOOKSTORE_API_TOKENS and BOOKSTORE_API_TOKENS_FILE are both set; allowed is one of them"
        )
    if settings.api_tokens:
        return Keyring(_right(parse(re.split(r"[\n;]", settings.api_tokens), "BOOKSTORE_API_TOKENS")))
    path = file(settings)
    status = _stat(path)
    if status is None and not settings.api_tokens_file:
        return Keyring(path=path)
    found = _right(token_file.read(path))
    # A secret that an orchestrator mounts is another user's, and ours by its group.
    others = 0o077 if status and status.st_uid == os.geteuid() else 0o007
    if status and (mode := stat.S_IMODE(status.st_mode)) & others:
        logger.warning("%s: is not for its owner alone (mode %04o): chmod 600 it", path, mode)
    return Keyring(found, path)


def check_writers(settings: Settings, host: str, *, read_only: bool) -> None:
    """Raises ConfigurationError where others reach the service on `host`, and nothing says who may write, or that
    nobody may."""
    known = read(settings).accepted()
    if not (known or read_only or settings_.is_loopback(host)):
        raise ConfigurationError(
            f"host {host}: other machines may reach it, and no token says who may write; make one with "
            f"bookstore tokens create NAME --scope catalog:write, or serve with --read-only, or on 127.0.0.1"
        )


def _right(parsed: tuple[tuple[Token, ...], list[str]]) -> tuple[Token, ...]:
    found, mistakes = parsed
    if mistakes:
        raise ConfigurationError(describe_errors(mistakes))
    return found
