"""Reads and edits the tokens file. Edits are atomic, locked, and preserve the rest of the file byte for byte."""

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
    """Read a tokens file; returns as parse() does. A file that cannot be read is one error."""
    try:
        return tokens.parse(_read_bytes(path).decode().split("\n"), str(path))
    except UnicodeDecodeError:
        return (), [f"{path}: is not UTF-8 text"]
    except OSError as error:
        return (), [f"{path}: cannot be read: {error.strerror}"]
    except ValueError as error:
        return (), [f"{path}: {error}"]


def _read_bytes(path: Path) -> bytes:
    """Return the file's contents. Raises OSError, and ValueError if it is too large or not a regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would block
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("found something other than a regular file; allowed is a tokens file")
        content = file.read(_LARGEST_BYTES + 1)
    if len(content) > _LARGEST_BYTES:
        raise ValueError(f"found more than {_LARGEST_BYTES} bytes, which is the limit")
    return content


def add(path: Path, token: Token) -> None:
    """Append `token` to the file. A new file is accessible only to its owner.

    Raises ConfigurationError if the name is in use, or the file has errors or cannot be written.
    """

    def append(before: bytes) -> bytes:
        known, errors = tokens.parse(before.decode().split("\n"), str(path))
        if errors:
            raise ConfigurationError(tokens.describe_errors(errors))
        if token.name in {other.name for other in known}:
            raise ConfigurationError(
                f"{path}: already has a token {token.name}; choose another name, or revoke it first"
            )
        end = b"\n" if before and not before.endswith(b"\n") else b""
        return before + end + token.line().encode() + b"\n"

    _change(path, append)


def revoke(path: Path, name: str) -> None:
    """Remove every line of the token `name` from the file, even if other lines are invalid.

    Raises ConfigurationError if there is no such token or the file cannot be written.
    """

    def remove(before: bytes) -> bytes:
        lines = io.BytesIO(before).readlines()
        kept = [line for line in lines if line.decode(errors="replace").split()[:1] != [name]]
        if len(kept) == len(lines):
            raise ConfigurationError(f"{path}: found no token {name}; bookstore tokens list shows all tokens")
        return b"".join(kept)

    tokens.check_name(name)
    _change(path, remove)


def _change(path: Path, change: Callable[[bytes], bytes]) -> None:
    try:
        target = path.resolve()  # a symbolic link stays one
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            before = target.stat() if target.exists() else None
            _replace(target, change(_read_bytes(target) if before else b""), before)
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8 text") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _replace(path: Path, text: bytes, before: os.stat_result | None) -> None:
    """Replace the file's contents, keeping owner and mode from `before` so that the service can still read it."""
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
