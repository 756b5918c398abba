"""What one worker counts: a fixed block of doubles, written by its worker alone and read by anybody.

A double is 8 aligned bytes whose load and store are each whole, so a reader needs no lock. Adding to one is a load
and a store: what several threads of the worker count, they count under a lock of theirs (`pool`).
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, NamedTuple

BOUNDS: Final = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the histograms' buckets in seconds: 1, 2, 5 a decade, as far as pool_timeout and deadlines go."""
_WIDTH: Final = len(BOUNDS) + 2
"""Cells of a histogram: a count for each bound, one for what is beyond them, and the sum in seconds."""

# Gauges, which end with their process. AT_S is the beat's last moment on the clock that all processes share.
PID, IN_FLIGHT, CHECKED_OUT, OPEN, OVERFLOW, WAITING, LAG_MAX_S, SAMPLED_AT_S = range(8)
# Counters, which the worker's successor goes on with.
STARTS, REQUESTED, QUEUED, FAILED, SHED, CONNECTS, CONNECT_FAILED, CONNECT_S = range(8, 16)
STATEMENTS, STATEMENT_S, ENCODE_S, GC_PAUSE_S = range(16, 20)
COLLECTIONS: Final = 20
"""Three of them, one a generation."""
ROWS_USED: Final = 23
WAIT: Final = 24
HOLD: Final = WAIT + _WIDTH
LAG: Final = HOLD + _WIDTH
_FIXED: Final = LAG + _WIDTH

ROWS: Final = 512
"""Most kinds of requests (method, route, status) that are told apart; further ones count as `other`."""
_LABEL: Final = 16
"""Cells of a row's label, 128 bytes of text."""
ROW_STATEMENTS: Final = _WIDTH
"""Where in a row, counted from its histogram, the statements of its requests are."""
_ROW: Final = _LABEL + _WIDTH + 1

BYTES: Final = 8 * (_FIXED + ROWS * _ROW)
OTHER: Final = "other other 0"


class Row(NamedTuple):
    """What requests of one kind took: the cells of their histogram, and the statements that they sent."""

    times: list[float]
    statements: float


class Block:
    """A worker's cells in `memory`, BYTES of it."""

    def __init__(self, memory: memoryview) -> None:
        self._bytes = memory
        self.cells: memoryview[float] = memory.cast("d")
        self._kinds: dict[tuple[str, str, int], int] = {}
        self._rows = {label: _FIXED + place * _ROW + _LABEL for place, label in enumerate(self._labels())}

    def begin(self, pid: int) -> None:
        """A new process goes on where the one before it ended: its gauges are gone, its counters stay."""
        for gauge in range(SAMPLED_AT_S + 1):
            self.cells[gauge] = 0
        self.cells[PID] = pid
        self.cells[STARTS] += 1

    def observe(self, histogram: int, seconds: float) -> None:
        """Counts `seconds` in the histogram that begins at this cell."""
        cells = self.cells
        cells[histogram + bisect_left(BOUNDS, seconds)] += 1
        cells[histogram + _WIDTH - 1] += seconds

    def row(self, method: str, route: str, status: int) -> int:
        """The cell where the histogram of these requests begins."""
        return self._kinds.get((method, route, status)) or self._row_of(method, route, status)

    def _row_of(self, method: str, route: str, status: int) -> int:
        label = f"{method} {route} {int(status)}"
        found = self._rows.get(label)
        if found is None:
            if len(self._rows) >= ROWS - 1 or len(label.encode()) > 8 * _LABEL:
                label = OTHER
            found = self._rows.get(label) or self._new_row(label)
        if label != OTHER:
            self._kinds[method, route, status] = found
        return found

    def _new_row(self, label: str) -> int:
        used = len(self._rows)
        text = label.encode()
        at = _FIXED + used * _ROW
        self._bytes[8 * at : 8 * at + len(text)] = text
        self._rows[label] = at + _LABEL
        self.cells[ROWS_USED] = used + 1  # the last of it: a reader sees whole labels only
        return at + _LABEL

    def requests(self) -> dict[tuple[str, str, int], Row]:
        """(method, route, status) -> what is counted of them, as it is now."""
        found = {}
        for place, label in enumerate(self._labels()):
            method, route, status = label.split(" ")
            at = _FIXED + place * _ROW + _LABEL
            found[method, route, int(status)] = Row(list(self.cells[at : at + _WIDTH]), self.cells[at + ROW_STATEMENTS])
        return found

    def fixed(self) -> list[float]:
        """All other cells, as they are now."""
        return list(self.cells[:_FIXED])

    def _labels(self) -> list[str]:
        starts = [8 * (_FIXED + place * _ROW) for place in range(int(self.cells[ROWS_USED]))]
        return [bytes(self._bytes[at : at + 8 * _LABEL]).rstrip(b"\0").decode() for at in starts]


def histogram(cells: list[float], at: int) -> list[float]:
    """The histogram that begins at this cell: counts, not cumulative, and the sum."""
    return cells[at : at + _WIDTH]
