"""The tokens file: read, and changed by one at a time, whole or not at all, the rest of it byte for byte."""

from __future__ import annotations

import fcntl
import io
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from bookstore.auth import tokens
from bookstore.auth.tokens import Token
from bookstore.exceptions import ConfigurationError

_LARGEST_BYTES: Final = 2**20


def read(path: Path) -> tuple[tuple[Token, ...], list[str]]:
    """As parse() does; a file that cannot be read is one mistake."""
    try:
        return tokens.parse(_content(path).decode().split("\n"), str(path))
    except UnicodeDecodeError:
        return (), [f"{path}: is no UTF-8 text"]
    except OSError as error:
        return (), [f"{path}: cannot be read: {error.strerror}"]
    except ValueError as error:
        return (), [f"{path}: {error}"]


def _content(path: Path) -> bytes:
    """What is in a tokens file. Raises OSError, and ValueError for what is none: a pipe, a device, too large."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would block
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("found what is no regular file")
        found = file.read(_LARGEST_BYTES + 1)
    if len(found) > _LARGEST_BYTES:
        raise ValueError(f"found more than {_LARGEST_BYTES} bytes; allowed are tokens")
    return found


def add(path: Path, token: Token) -> None:
    """Appends `token` to the file, which is made where there is none, for its owner alone.

    Raises ConfigurationError where the name is taken, where the file has mistakes or cannot be written.
    """

    def appended(before: bytes) -> bytes:
        known, mistakes = tokens.parse(before.decode().split("\n"), str(path))
        if mistakes:
            raise ConfigurationError(tokens.describe_errors(mistakes))
        if token.name in {one.name for one in known}:
            raise ConfigurationError(
                f"{path}: has a token {token.name} already; choose another name, or revoke it first"
            )
        end = b"\n" if before and not before.endswith(b"\n") else b""
        return before + end + token.line().encode() + b"\n"

    _change(path, appended)


def revoke(path: Path, name: str) -> None:
    """Takes every line of the token `name` out of the file, whatever else is wrong in it.

    Raises ConfigurationError where there is none, or the file cannot be written.
    """

    def without(before: bytes) -> bytes:
        lines = io.BytesIO(before).readlines()
        kept = [line for line in lines if line.decode(errors="replace").split()[:1] != [name]]
        if len(kept) == len(lines):
            raise ConfigurationError(f"{path}: found no token {name}; bookstore tokens list names those there are")
        return b"".join(kept)

    tokens.check_name(name)
    _change(path, without)


def _change(path: Path, change: Callable[[bytes], bytes]) -> None:
    try:
        target = path.resolve()  # a link stays one
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            before = target.stat() if target.exists() else None
            _replace(target, change(_content(target) if before else b""), before)
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is no UTF-8 text") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _replace(path: Path, text: bytes, before: os.stat_result | None) -> None:
    """Owner and mode stay those of the file `before`: a service that may read it shall go on reading it."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            if before:
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(handle, before.st_uid, before.st_gid)
                os.fchmod(handle, stat.S_IMODE(before.st_mode))
            file.flush()
            os.fsync(handle)
        Path(name).replace(path)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()
