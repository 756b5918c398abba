"""Cleaned books, and findings about their rows."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Entry(NamedTuple):
    """A clean book. `row` counts the rows of its file from 1, the header. Texts are in NFC with single spaces. Authors
    are in the order of the title page. Authors and genres do not repeat."""

    row: int
    title: str
    isbn13: str | None
    publication_year: int | None
    language: str | None
    authors: tuple[str, ...]
    genres: tuple[str, ...]


class Outcome(StrEnum):
    """The outcome of a row with a finding: stored with a correction, or not stored."""

    MENDED = "mended"
    REFUSED = "refused"


class Finding(NamedTuple):
    """A violation in `column` of `row`: the value found, the outcome and the reason."""

    row: int
    outcome: Outcome
    column: str
    found: str
    reason: str
