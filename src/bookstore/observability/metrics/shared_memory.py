"""The memory that a server's processes share: two blocks a worker, for an old and a new process of one number."""

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
"""The environment variable by which workers find the blocks of their server."""
BLOCKS_PER_WORKER: Final = 2
"""Blocks a worker: on SIGHUP the old process serves on beside the new one, and no two may write into one block."""


@contextmanager
def blocks(workers: int) -> Iterator[list[Block]]:
    """Makes EACH blocks for every worker that is started within the `with` block, worker 1's first, as memory without a
    name: nothing of it outlives the last process. Raises ConfigurationError where the system has no such memory."""
    if not hasattr(os, "memfd_create"):
        raise ConfigurationError("the metrics port needs Linux (memfd_create); serve without --metrics-port here")
    descriptor = os.memfd_create("bookstore-metrics")
    try:
        os.ftruncate(descriptor, workers * BLOCKS_PER_WORKER * BYTES)
        os.environ[BLOCKS_VARIABLE] = f"/proc/{os.getpid()}/fd/{descriptor}"
        yield _map_blocks(descriptor)
    finally:
        os.environ.pop(BLOCKS_VARIABLE, None)
        os.close(descriptor)


def claim(environ: Mapping[str, str] = os.environ) -> Block | None:
    """A block for this process alone, with what the processes before it counted. None where the server counts
    nothing, or where both blocks of this worker are in use, which only a third reload within seconds brings about."""
    path, worker = environ.get(BLOCKS_VARIABLE), environ.get("BOOKSTORE_WORKER")
    if path is None or worker is None:
        return None
    with Path(path).open("r+b") as file:
        everyone = _map_blocks(file.fileno())
    for block in everyone[BLOCKS_PER_WORKER * (int(worker) - 1) :][:BLOCKS_PER_WORKER]:
        if not is_alive(block):
            block.begin(os.getpid())
            return block
    logger.warning("worker %s counts nothing: its two predecessors still serve", worker)
    return None


def is_alive(block: Block) -> bool:
    """Whether the process that counts there runs."""
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
