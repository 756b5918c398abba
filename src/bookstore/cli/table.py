"""Tables for a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in aligned columns; the last column is wrapped to the terminal's width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = max(20, shutil.get_terminal_size((80, 24)).columns - left)
    made: list[str] = []
    for row in rows:
        start = "  ".join(f"{cell:<{width}}" for cell, width in zip(row[:-1], widths[:-1], strict=True))
        for number, part in enumerate(textwrap.wrap(row[-1], room) or [""]):
            made.append(f"{start if number == 0 else ' ' * (left - 2)}  {part}".rstrip())
    return made
