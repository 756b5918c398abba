"""Cleans raw rows into entries, or refuses them, and records each correction. Pure functions."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from bookstore.catalog.csv_cells import GENRE_SEPARATOR, split_names, unprotect
from bookstore.catalog.datasets.entry import Entry, Finding, Outcome
from bookstore.catalog.datasets.parsing.author_names import CELL_BREAK, DEFAULT_FORMAT, AuthorFormat, split_authors
from bookstore.catalog.datasets.parsing.cells import (
    is_damaged,
    is_missing,
    is_missing_title,
    is_missing_year,
    isbn_digits,
    year_of,
)
from bookstore.catalog.datasets.parsing.csv_reader import BadRow, RawRow
from bookstore.catalog.datasets.parsing.languages import short_code
from bookstore.catalog.isbn import to_isbn13
from bookstore.catalog.models import EARLIEST_YEAR, LATEST_YEAR, MAX_NAME_LENGTH, MAX_TITLE_LENGTH
from bookstore.config.text import is_visible, normalise

MAX_NAMES: Final = 1000
"""Authors, or genres, per book. Positions are 2-byte integers, and a longer cell is not a list of names."""


def clean(raw: RawRow | BadRow, findings: list[Finding], written: AuthorFormat = DEFAULT_FORMAT) -> Entry | None:
    """Return the book in `raw`, or None if the row is refused. Appends corrections and refusals to `findings`.

    `written` is how the authors are written. In a file that we exported, no value stands for a missing one.
    """
    if isinstance(raw, BadRow):
        fields, reason = f"{raw.fields} fields", f"the header has {raw.expected}"
        findings.append(Finding(raw.row, Outcome.REFUSED, "row", fields, reason))
        return None
    row = _Row(raw.row, findings, exported=written.exported)
    title = row.title(unprotect(raw.title) if written.exported else raw.title, raw.original_title)
    authors = row.names("authors", raw.authors, *_parse_authors(raw.authors, written))
    genres = row.names("genres", raw.genres, *_parse_genres(raw.genres, written.exported))
    if title is None or authors is None or genres is None:
        return None
    isbn13 = row.isbn13(raw.isbn13, raw.isbn)
    year = row.year(raw.publication_year)
    return Entry(raw.row, title, isbn13, year, row.language(raw.language), authors, genres)


class _Row:
    """Cleans the cells of one row and records findings with its number."""

    __slots__ = ("_exported", "_findings", "_number")

    def __init__(self, number: int, findings: list[Finding], *, exported: bool) -> None:
        self._number = number
        self._exported = exported
        self._findings = findings

    def _record_mended(self, column: str, found: str, reason: str) -> None:
        self._findings.append(Finding(self._number, Outcome.MENDED, column, _truncate(found), reason))

    def _record_refused(self, column: str, found: str, reason: str) -> None:
        self._findings.append(Finding(self._number, Outcome.REFUSED, column, _truncate(found), reason))

    def title(self, cell: str, original: str) -> str | None:
        title = "" if not self._exported and is_missing_title(cell) else normalise(cell)
        if not is_visible(title) and not is_missing(original) and (title := normalise(original)):
            self._record_mended("title", "", "empty, original_title used")
        elif title and title != cell:
            self._record_mended("title", cell, "spaces or accents normalised")
        if not is_visible(title):
            self._record_refused("title", cell.strip(), "a book needs a title")
            return None
        if len(title) > MAX_TITLE_LENGTH:
            self._record_refused("title", title, f"longer than {MAX_TITLE_LENGTH} characters")
            return None
        return title

    def names(
        self, column: str, cell: str, names: tuple[str, ...], repeated: str, longest: int
    ) -> tuple[str, ...] | None:
        if longest > MAX_NAME_LENGTH:
            self._record_refused(column, cell, f"a name is longer than {MAX_NAME_LENGTH} characters")
            return None
        if len(names) > MAX_NAMES:
            self._record_refused(column, f"{len(names)} names", f"more than {MAX_NAMES} names")
            return None
        if repeated:
            self._record_mended(column, repeated, "repeated within the row, dropped")
        return names

    def isbn13(self, long_cell: str, short_cell: str) -> str | None:
        """Return `long_cell` if it is intact, else the ISBN-13 of `short_cell`, else None."""
        long, short = isbn_digits(long_cell), isbn_digits(short_cell)
        computed = to_isbn13(short) if short else None
        if short and computed is None:
            self._record_mended("isbn", short_cell, f"{_isbn_problem(short, 'a valid ISBN')}, dropped")
        chosen = self._long_or_computed(long, long_cell, computed) if long else computed
        if computed is not None and chosen == computed and len(short) < 10:
            self._record_mended("isbn", short, "leading zeros restored")
        return chosen

    def _long_or_computed(self, long: str, cell: str, computed: str | None) -> str | None:
        if (isbn13 := to_isbn13(long)) is None:
            problem = _isbn_problem(long, "a valid ISBN-13")
            self._record_mended("isbn13", cell, f"{problem}, {'dropped' if computed is None else 'computed from isbn'}")
            return computed
        if computed is not None and computed != isbn13:
            self._record_mended("isbn", computed, "not the same book as isbn13, dropped")
        return isbn13

    def year(self, cell: str) -> int | None:
        if not cell or (not self._exported and is_missing_year(cell)):
            return None
        year = year_of(cell)
        if year is None:
            reason = f"not a year from {EARLIEST_YEAR} to {LATEST_YEAR}, dropped"
            self._record_mended("publication_year", cell, reason)
        return year

    def language(self, cell: str) -> str | None:
        if not cell or (not self._exported and is_missing(cell)):
            return None
        written = cell.strip()
        language = short_code(written)
        if language != (written or None):
            reason = "not a language code, dropped" if language is None else "shortest code used"
            self._record_mended("language", cell, reason)
        return language


@lru_cache(4096)
def _parse_authors(cell: str, written: AuthorFormat) -> tuple[tuple[str, ...], str, int]:
    return _distinct(split_authors(cell, written))


@lru_cache(4096)
def _parse_genres(cell: str, exported: bool) -> tuple[tuple[str, ...], str, int]:
    if not exported and is_missing(cell):
        return _distinct([])
    parts = [unprotect(cell)] if exported else cell.split(CELL_BREAK)
    return _distinct([name for part in parts for name in split_names(part, GENRE_SEPARATOR)])


def _distinct(texts: list[str]) -> tuple[tuple[str, ...], str, int]:
    """Return the distinct names in `texts`, the first repeated name or "", and the length of the longest."""
    names = [name for text in texts if is_visible(name := normalise(text))]
    once = tuple(dict.fromkeys(names))
    repeated = "" if len(once) == len(names) else next(name for name in once if names.count(name) > 1)
    return once, repeated, max(map(len, once), default=0)


def _isbn_problem(number: str, expected: str) -> str:
    return "damaged by a spreadsheet" if is_damaged(number) else f"not {expected}"


def _truncate(text: str, most: int = 100) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
