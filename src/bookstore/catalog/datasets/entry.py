"""A book that is ready to be stored, and what was found on the way to it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Entry(NamedTuple):
    """A clean book. `row` counts the rows of its file, the header being row 1; texts are NFC, single
    spaced; authors are in the order of the title page, neither they nor genres repeat."""

    row: int
    title: str
    isbn13: str | None
    publication_year: int | None
    language: str | None
    authors: tuple[str, ...]
    genres: tuple[str, ...]


class Outcome(StrEnum):
    """What became of the row: stored with a change, or not stored."""

    MENDED = "mended"
    REFUSED = "refused"


class Finding(NamedTuple):
    """Something wrong in `column` of `row`: what stood there, and what was done about it, and why."""

    row: int
    outcome: Outcome
    column: str
    found: str
    reason: str
