"""Rate limit per client, shared by all workers of a server through one small table.

It uses the generic cell rate algorithm: a client's slot holds the time at which all of its requests so far would be
paid off at the steady rate. A request that would be paid off too far in the future is rejected. A slot has 8 bytes,
and the table never grows. The slot is chosen by a hash with a secret that is new at each startup, so that nobody can
aim at another client's slot.

The slots are accessed without a lock, because loads and stores of 8 aligned bytes are atomic. If two workers access a
slot within the same microsecond, both may admit a request and count only one. In the worst case a client therefore
gets the rate once per worker. With a lock, a worker could block its event loop while the holder of the lock is
preempted.
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
from typing import Final, NamedTuple

SLOTS: Final = 2**20
"""Of 1,000 concurrent clients, one or two share a slot and so a rate. Only pages in use take memory."""
BURST_S: Final = 2.0
"""A burst may have as many requests as this number of seconds allows."""

TABLE: Final = "BOOKSTORE_RATE_TABLE"
"""The environment variable that holds the path of the server's table."""

_SECRET_BYTES: Final = 16
_SIZE: Final = _SECRET_BYTES + 8 * SLOTS


class Allowance(NamedTuple):
    """What a client may still send: now `remaining` requests, and the whole burst again in `reset_s` seconds.

    `wait_s` is 0 if the request is admitted, otherwise the whole seconds until the client may retry.
    """

    wait_s: int
    remaining: int
    reset_s: int


class RateLimit:
    """Limits each client to `per_s` requests per second, with bursts of BURST_S seconds' worth.

    `policy` states it as a quota of requests in a window of seconds, for the header RateLimit-Policy.
    """

    def __init__(self, per_s: float, table: mmap.mmap) -> None:
        self.per_s = per_s
        self._cost_ns = round(1e9 / per_s)
        self._tolerance_ns = round(max(0.0, BURST_S * 1e9 - self._cost_ns))
        quota = self._tolerance_ns // self._cost_ns + 1
        self.policy = f"q={quota};w={math.ceil(quota / per_s)}"
        self._slots = memoryview(table)[_SECRET_BYTES:].cast("Q")
        secret = table[:_SECRET_BYTES]

        @lru_cache(maxsize=4096)
        def slot(client: str) -> int:
            digest = hashlib.blake2b(client.encode(), key=secret, digest_size=8).digest()
            return int.from_bytes(digest, "little") % SLOTS

        self._slot = slot

    def admit(self, client: str) -> Allowance:
        """Count a request, unless `client` has to wait, and return what it may send next."""
        slot = self._slot(client)
        now = time.monotonic_ns()  # the same clock in all processes
        paid_off = max(self._slots[slot], now)
        early_ns = paid_off - now - self._tolerance_ns
        if early_ns > 0:
            wait_s = max(1, math.ceil(early_ns / 1e9))
            return Allowance(wait_s, 0, wait_s)
        self._slots[slot] = paid_off + self._cost_ns
        debt_ns = paid_off + self._cost_ns - now
        return Allowance(0, max(0, (self._tolerance_ns - debt_ns) // self._cost_ns + 1), math.ceil(debt_ns / 1e9))


@contextmanager
def shared_table() -> Iterator[None]:
    """Create the table for all workers that start within the block.

    It is anonymous memory that ends with the last process. Without memfd_create (it needs Linux), each worker counts
    on its own.
    """
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
    """Return the server's table, or a private one if there is none."""
    path = environ.get(TABLE)
    if path is None:
        private = mmap.mmap(-1, _SIZE)
        private[:_SECRET_BYTES] = secrets.token_bytes(_SECRET_BYTES)
        return private
    with Path(path).open("r+b") as file:
        return mmap.mmap(file.fileno(), _SIZE)
