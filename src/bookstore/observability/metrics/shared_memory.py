"""Memory that a server's processes share: two blocks per worker, for an old and a new process of the same number."""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bookstore.exceptions import ConfigurationError
from bookstore.observability.metrics.block import BYTES, PID, Block

logger = logging.getLogger("bookstore")

BLOCKS_VARIABLE: Final = "BOOKSTORE_METRICS_BLOCKS"
"""The environment variable through which workers find their server's blocks."""
BLOCKS_PER_WORKER: Final = 2
"""After SIGHUP the old process keeps serving beside the new one, and two processes must not write to one block."""


@contextmanager
def blocks(workers: int) -> Iterator[list[Block]]:
    """Create BLOCKS_PER_WORKER blocks for each worker that is started within the `with` block, worker 1's first.

    The memory is anonymous: nothing of it outlives the last process. Raises ConfigurationError if the system has no
    memfd_create().
    """
    if not hasattr(os, "memfd_create"):
        raise ConfigurationError("the metrics port needs Linux (memfd_create); on this system omit --metrics-port")
    descriptor = os.memfd_create("bookstore-metrics")
    try:
        os.ftruncate(descriptor, workers * BLOCKS_PER_WORKER * BYTES)
        os.environ[BLOCKS_VARIABLE] = f"/proc/{os.getpid()}/fd/{descriptor}"
        yield _map_blocks(descriptor)
    finally:
        os.environ.pop(BLOCKS_VARIABLE, None)
        os.close(descriptor)


def claim(environ: Mapping[str, str] = os.environ) -> Block | None:
    """Return a block that only this process writes to, with the counts of its predecessors.

    Returns None if the server has no metrics port, or if both blocks of this worker are in use. The latter only happens
    after a third reload within seconds.
    """
    path, worker = environ.get(BLOCKS_VARIABLE), environ.get("BOOKSTORE_WORKER")
    if path is None or worker is None:
        return None
    with Path(path).open("r+b") as file:
        all_blocks = _map_blocks(file.fileno())
    for block in all_blocks[BLOCKS_PER_WORKER * (int(worker) - 1) :][:BLOCKS_PER_WORKER]:
        if not is_alive(block):
            block.begin(os.getpid())
            return block
    logger.warning("worker %s has no metrics: its two predecessors are still serving", worker)
    return None


def is_alive(block: Block) -> bool:
    """Return whether the process that counts in `block` is running."""
    pid = int(block.cells[PID])
    if pid == 0:
        return False
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, 0)
        return True
    return False


def _map_blocks(descriptor: int) -> list[Block]:
    memory = memoryview(mmap.mmap(descriptor, 0))
    return [Block(memory[start : start + BYTES]) for start in range(0, len(memory), BYTES)]
