"""One worker's counts: a fixed block of doubles, written only by its worker and read by any process.

Loads and stores of an aligned 8-byte double are atomic, so readers need no lock. An addition is a load and a store, so
counts that several threads of a worker share need a lock (see `pool`).
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, NamedTuple

BOUNDS: Final = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the histograms' buckets in seconds: 1, 2, 5 per decade, up to pool_timeout and deadlines."""
_WIDTH: Final = len(BOUNDS) + 2
"""Cells of a histogram: one count per bound, one for larger values, and the sum in seconds."""

# Gauges, reset when a process ends. SAMPLED_AT_S is the last sample's time on the monotonic clock of all processes.
PID, IN_FLIGHT, CHECKED_OUT, OPEN, OVERFLOW, WAITING, LAG_MAX_S, SAMPLED_AT_S = range(8)
# Counters, which continue when a worker is replaced.
STARTS, REQUESTED, QUEUED, FAILED, SHED, CONNECTS, CONNECT_FAILED, CONNECT_S = range(8, 16)
STATEMENTS, STATEMENT_S, ENCODE_S, GC_PAUSE_S = range(16, 20)
COLLECTIONS: Final = 20
"""The first of three cells, one per generation."""
ROWS_USED: Final = 23
WAIT: Final = 24
HOLD: Final = WAIT + _WIDTH
LAG: Final = HOLD + _WIDTH
_FIXED: Final = LAG + _WIDTH

ROWS: Final = 512
"""The maximum number of combinations of method, route and status. Further ones are counted as `other`."""
_LABEL: Final = 16
"""Cells of a row's label: 128 bytes of text."""
ROW_STATEMENTS: Final = _WIDTH
"""The offset of a row's statement count from the start of its histogram."""
_ROW: Final = _LABEL + _WIDTH + 1

BYTES: Final = 8 * (_FIXED + ROWS * _ROW)
OTHER: Final = "other other 0"


class Row(NamedTuple):
    """The duration histogram of one kind of request, and the number of statements that they sent."""

    times: list[float]
    statements: float


class Block:
    """A worker's cells in `memory`, which has BYTES bytes."""

    def __init__(self, memory: memoryview) -> None:
        self._bytes = memory
        self.cells: memoryview[float] = memory.cast("d")
        self._kinds: dict[tuple[str, str, int], int] = {}
        self._rows = {label: _FIXED + place * _ROW + _LABEL for place, label in enumerate(self._labels())}

    def begin(self, pid: int) -> None:
        """Register a new process: reset the gauges and keep the counters of its predecessor."""
        for gauge in range(SAMPLED_AT_S + 1):
            self.cells[gauge] = 0
        self.cells[PID] = pid
        self.cells[STARTS] += 1

    def observe(self, histogram: int, seconds: float) -> None:
        """Count `seconds` in the histogram that starts at this cell."""
        cells = self.cells
        cells[histogram + bisect_left(BOUNDS, seconds)] += 1
        cells[histogram + _WIDTH - 1] += seconds

    def row(self, method: str, route: str, status: int) -> int:
        """Return the cell where the histogram of these requests starts."""
        return self._kinds.get((method, route, status)) or self._find_or_add_row(method, route, status)

    def _find_or_add_row(self, method: str, route: str, status: int) -> int:
        label = f"{method} {route} {int(status)}"
        row = self._rows.get(label)
        if row is None:
            if len(self._rows) >= ROWS - 1 or len(label.encode()) > 8 * _LABEL:
                label = OTHER
            row = self._rows.get(label) or self._add_row(label)
        if label != OTHER:
            self._kinds[method, route, status] = row
        return row

    def _add_row(self, label: str) -> int:
        used = len(self._rows)
        text = label.encode()
        at = _FIXED + used * _ROW
        self._bytes[8 * at : 8 * at + len(text)] = text
        self._rows[label] = at + _LABEL
        self.cells[ROWS_USED] = used + 1  # written last, so that a reader sees only complete labels
        return at + _LABEL

    def requests(self) -> dict[tuple[str, str, int], Row]:
        """Return a copy of the current counts by (method, route, status)."""
        rows = {}
        for place, label in enumerate(self._labels()):
            method, route, status = label.split(" ")
            at = _FIXED + place * _ROW + _LABEL
            rows[method, route, int(status)] = Row(list(self.cells[at : at + _WIDTH]), self.cells[at + ROW_STATEMENTS])
        return rows

    def fixed(self) -> list[float]:
        """Return a copy of all other cells."""
        return list(self.cells[:_FIXED])

    def _labels(self) -> list[str]:
        starts = [8 * (_FIXED + place * _ROW) for place in range(int(self.cells[ROWS_USED]))]
        return [bytes(self._bytes[at : at + 8 * _LABEL]).rstrip(b"\0").decode() for at in starts]


def histogram(cells: list[float], at: int) -> list[float]:
    """Return the histogram that starts at this cell: its non-cumulative counts, then the sum in seconds."""
    return cells[at : at + _WIDTH]
