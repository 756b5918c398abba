"""A raw row -> a clean Entry, or a refusal; and what was mended on the way. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from bookstore.catalog.datasets.csv_reader import BadRow, RawRow
from bookstore.catalog.datasets.entry import Entry, Finding, Outcome
from bookstore.catalog.datasets.language import short_code
from bookstore.catalog.datasets.name_list import AUTHOR_SEPARATOR, GENRE_SEPARATOR, split
from bookstore.catalog.isbn import is_isbn13, to_isbn13
from bookstore.catalog.models import EARLIEST_YEAR, LATEST_YEAR, LONGEST_NAME, LONGEST_TITLE
from bookstore.config.text import normal

MOST_AUTHORS: Final = 1000
"""On one book; the database counts them in two bytes, and a cell with more is not a list of authors."""

_FLOAT: Final = re.compile(r"\d+(\.\d*)?([eE]\+?\d+)?")
_WHOLE: Final = re.compile(r"([+-]?\d+)(?:\.0*)?")


def clean(raw: RawRow | BadRow, findings: list[Finding]) -> Entry | None:
    """The book in `raw`, or None where the row is refused; `findings` gets what was mended or refused."""
    if isinstance(raw, BadRow):
        found, reason = f"{raw.fields} fields", f"the header has {raw.expected}"
        findings.append(Finding(raw.row, Outcome.REFUSED, "row", found, reason))
        return None
    row = _Row(raw.row, findings)
    title = row.title(raw.title, raw.original_title)
    authors = row.names("authors", raw.authors, AUTHOR_SEPARATOR)
    genres = row.names("genres", raw.genres, GENRE_SEPARATOR)
    if title is None or authors is None or genres is None:
        return None
    isbn13 = row.isbn13(raw.isbn13.strip(), raw.isbn.strip())
    year = row.year(raw.publication_year)
    return Entry(raw.row, title, isbn13, year, row.language(raw.language), authors, genres)


class _Row:
    """One row's cells on their way; keeps what is found with the row's number."""

    __slots__ = ("_findings", "_number")

    def __init__(self, number: int, findings: list[Finding]) -> None:
        self._number = number
        self._findings = findings

    def _mended(self, column: str, found: str, reason: str) -> None:
        self._findings.append(Finding(self._number, Outcome.MENDED, column, found, reason))

    def _refused(self, column: str, found: str, reason: str) -> None:
        self._findings.append(Finding(self._number, Outcome.REFUSED, column, _shortened(found), reason))

    def title(self, cell: str, original: str) -> str | None:
        title = normal(cell)
        if not title and (title := normal(original)):
            self._mended("title", "", "empty, original_title taken")
        elif title != cell:
            self._mended("title", cell, "spaces or accents normalised")
        if not title:
            self._refused("title", "", "a book needs a title")
            return None
        if len(title) > LONGEST_TITLE:
            self._refused("title", title, f"longer than {LONGEST_TITLE} characters")
            return None
        return title

    def names(self, column: str, cell: str, separator: str) -> tuple[str, ...] | None:
        names, repeated, longest = _names(cell, separator)
        if longest > LONGEST_NAME:
            self._refused(column, cell, f"a name is longer than {LONGEST_NAME} characters")
            return None
        if len(names) > MOST_AUTHORS:
            self._refused(column, f"{len(names)} names", f"more than {MOST_AUTHORS} names")
            return None
        if repeated:
            self._mended(column, repeated, "repeated within the row, dropped")
        return names

    def isbn13(self, long: str, short: str) -> str | None:
        """`long` where it is whole; else what `short` gives; else None."""
        computed = to_isbn13(_bare(short)) if short else None
        if short and computed is None:
            self._mended("isbn", short, "not a valid ISBN, dropped")
        chosen = self._long_or_computed(long, computed) if long else computed
        if computed is not None and chosen == computed and len(bare := _bare(short)) < 10:
            self._mended("isbn", bare, "leading zeros restored")
        return chosen

    def _long_or_computed(self, long: str, computed: str | None) -> str | None:
        if is_isbn13(long):
            whole: str | None = long
        elif (whole := to_isbn13(_bare(long))) is not None:
            self._mended("isbn13", long, "written as 13 digits")
        if whole is not None:
            if computed is not None and computed != whole:
                self._mended("isbn", computed, "not the same book as isbn13, dropped")
            return whole
        damaged = _FLOAT.fullmatch(long) and not long.isdigit()
        wrong = "damaged by a spreadsheet" if damaged else "not a valid ISBN-13"
        self._mended("isbn13", long, f"{wrong}, {'dropped' if computed is None else 'computed from isbn'}")
        return computed

    def year(self, cell: str) -> int | None:
        year = _year(cell)
        if year is None and cell.strip():
            allowed = f"no year from {EARLIEST_YEAR} to {LATEST_YEAR}, dropped"
            self._mended("publication_year", _shortened(cell), allowed)
        return year

    def language(self, cell: str) -> str | None:
        written = cell.strip()
        language = short_code(written)
        if language != (written or None):
            reason = "no language code, dropped" if language is None else "shortest code taken"
            self._mended("language", _shortened(cell), reason)
        return language


@lru_cache(4096)
def _names(cell: str, separator: str) -> tuple[tuple[str, ...], str, int]:
    """The names in `cell`, the first of them that repeats, and the length of the longest."""
    names = [name for part in split(cell, separator) if (name := normal(part))]
    once = tuple(dict.fromkeys(names))
    repeated = "" if len(once) == len(names) else next(name for name in once if names.count(name) > 1)
    return once, repeated, max(map(len, once), default=0)


@lru_cache(4096)
def _year(cell: str) -> int | None:
    # Data frames write whole numbers with missing ones between them as floats: 2008.0.
    match = _WHOLE.fullmatch(cell.strip())
    if match is None or len(match[1]) > 6:
        return None
    year = int(match[1])
    return year if EARLIEST_YEAR <= year <= LATEST_YEAR else None


def _bare(number: str) -> str:
    """`number` without what spreadsheets put around it and loses nothing: ="0439023483", 439023483.0."""
    return number.strip('="').removesuffix(".0")


def _shortened(text: str, most: int = 100) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
