"""How many requests a second a client may send, counted by all workers together in one small table.

The generic cell rate algorithm: a client's slot holds the moment at which all of its requests so far would
be paid off at the steady rate. A request that would be paid off too far in the future is refused. A slot is
8 bytes, the table never grows, and a client has a slot by a hash with a secret of this start, so that nobody
can choose whose slot to fill.

The slots are read and written without a lock: the load and the store of 8 aligned bytes are each whole. Two
workers that look at one slot within the same microsecond may both let a request pass and count one: at worst,
and all the time, a client gets the rate once for each worker. A lock would make each of them wait, in its
event loop, for one that was interrupted while it held it.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final

SLOTS: Final = 2**20
"""Of 1,000 clients at once one or two share a slot, and so a rate; only pages in use take memory."""
BURST_S: Final = 2.0
"""So many seconds' worth of requests may come at once."""

TABLE: Final = "BOOKSTORE_RATE_TABLE"
"""The environment variable by which workers find the table of their server."""

_SECRET_BYTES: Final = 16
_SIZE: Final = _SECRET_BYTES + 8 * SLOTS


class RateLimit:
    """`per_s` requests a second for each client, and BURST_S seconds' worth at once."""

    def __init__(self, per_s: float, table: mmap.mmap) -> None:
        self.per_s = per_s
        self._cost_ns = round(1e9 / per_s)
        self._tolerance_ns = round(max(0.0, BURST_S * 1e9 - self._cost_ns))
        self._slots = memoryview(table)[_SECRET_BYTES:].cast("Q")
        secret = table[:_SECRET_BYTES]

        @lru_cache(maxsize=4096)
        def slot(client: str) -> int:
            digest = hashlib.blake2b(client.encode(), key=secret, digest_size=8).digest()
            return int.from_bytes(digest, "little") % SLOTS

        self._slot = slot

    def wait_s(self, client: str) -> int:
        """Counts a request of `client` and returns 0, or after how many whole seconds it may ask again."""
        slot = self._slot(client)
        now = time.monotonic_ns()  # one clock for all processes
        paid_off = max(self._slots[slot], now)
        early_ns = paid_off - now - self._tolerance_ns
        if early_ns > 0:
            return max(1, math.ceil(early_ns / 1e9))
        self._slots[slot] = paid_off + self._cost_ns
        return 0


@contextmanager
def shared_table() -> Iterator[None]:
    """Makes a table for all workers that are started within the block, as memory without a name: nothing of
    it outlives the last process. Where the system has no such memory, each worker counts alone."""
    if not hasattr(os, "memfd_create"):
        yield
        return
    descriptor = os.memfd_create("bookstore-rate")
    try:
        os.ftruncate(descriptor, _SIZE)
        os.pwrite(descriptor, secrets.token_bytes(_SECRET_BYTES), 0)
        os.environ[TABLE] = f"/proc/{os.getpid()}/fd/{descriptor}"
        yield
    finally:
        os.environ.pop(TABLE, None)
        os.close(descriptor)


def table(environ: Mapping[str, str] = os.environ) -> mmap.mmap:
    """The server's table, or one of this process alone where no server made one."""
    path = environ.get(TABLE)
    if path is None:
        alone = mmap.mmap(-1, _SIZE)
        alone[:_SECRET_BYTES] = secrets.token_bytes(_SECRET_BYTES)
        return alone
    with Path(path).open("r+b") as file:
        return mmap.mmap(file.fileno(), _SIZE)
