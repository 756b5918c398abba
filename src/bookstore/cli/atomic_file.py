"""Atomic file creation: the file appears complete or not at all, and replaces another only with --force."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bookstore.exceptions import ConfigurationError


@contextmanager
def atomic_write(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """Yield a temporary file; rename it to `path` if the block succeeds, delete it if the block raises.

    Raises ConfigurationError before the block if `path` exists without `force`, or cannot be written.
    """
    if path.exists() and not (force and path.is_file()):
        raise ConfigurationError(
            f"{path}: already exists" + (" and is not a file" if force else "; name another file, or add --force")
        )
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        Path(name).replace(path)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
