"""Finds our columns in the header of a file. Pure functions.

Names match without regard to case, spaces, underscores and punctuation.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from bookstore.catalog.datasets.parsing.cells import is_missing
from bookstore.exceptions import ConfigurationError

COLUMN_ALIASES: Final = {
    "title": ("title", "book_title"),
    "authors": ("authors", "author+additional_authors", "primary_author+secondary_author", "book_author"),
    "isbn": ("isbn", "isbn10", "isbn_uid"),
    "isbn13": ("isbn13",),
    "publication_year": (
        "publication_year", "original_publication_year+year_published", "year_of_publication", "year",
        "published_year", "pub_year", "publication_date", "pubdate", "publish_date", "published_date", "date_published",
    ),
    "language": ("language", "language_code", "languages", "lang"),
    "genres": ("genres", "genre"),
    "original_title": ("original_title",),
}  # fmt: skip
"""Our columns and the header names that are accepted for them: our own, and those of goodbooks-10k, Goodreads,
LibraryThing, Calibre, StoryGraph, Book-Crossing and Open Library. `+` joins columns that are read together."""

REQUIRED: Final = ("title", "authors")

_LISTS: Final = ("authors", "genres")
_CUTOFF, _SHORT_CUTOFF, _SHORT = 0.86, 0.8, 8
"""Similarity from which a name, or one of at most 8 characters, is taken for a misspelt one: langauge for language,
isbm13 for isbn13; not Publication for its year."""


class Columns(NamedTuple):
    """The positions that feed each of our columns, and the names of the header's other columns."""

    positions: dict[str, tuple[int, ...]]
    unread: list[str]


def recognised(header: list[str], wanted: Mapping[str, str]) -> int:
    """Return how many of our columns a row names; more than any other row if it names all required ones."""
    found = [ours for ours in COLUMN_ALIASES if _positions(header, ours, wanted)]
    return len(found) + len(COLUMN_ALIASES) * all(ours in found for ours in REQUIRED)


def find_columns(place: str, header: list[str], wanted: Mapping[str, str]) -> Columns:
    """Return where our columns are in `header`. `wanted` maps our columns to header names, or to "" to read none.

    Raises ConfigurationError if a required column is missing, one is ambiguous, or a name is nearly that of a column
    that was not found. `place` is the file and line of the header.
    """
    names = [name.strip() for name in header]
    _check_wanted(place, names, wanted)
    positions = {ours: found for ours in COLUMN_ALIASES if (found := _positions(names, ours, wanted))}
    if missing := [ours for ours in REQUIRED if ours not in positions]:
        raise ConfigurationError(_missing_column_message(place, missing[0], names))
    for ours, found in positions.items():
        _check_unique(place, names, ours, found, wanted)
    read = {index for found in positions.values() for index in found}
    unread = [name for index, name in enumerate(names) if index not in read]
    _check_near_misses(place, [ours for ours in COLUMN_ALIASES if ours not in {*positions, *wanted}], unread)
    return Columns(positions, [name for name in unread if name])


def joined(ours: str, cells: list[str], separator: str) -> str:
    """Return one cell for several that feed `ours`: lists joined by `separator`, else the first with a value."""
    present = [cell for cell in cells if not is_missing(cell)]
    return separator.join(present) if ours in _LISTS else next(iter(present), "")


def our_column(text: str) -> str | None:
    """Return the name of our column that `text` means, or None."""
    return next((ours for ours in COLUMN_ALIASES if _key(ours) == _key(text)), None)


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _positions(names: list[str], ours: str, wanted: Mapping[str, str]) -> tuple[int, ...]:
    """Return the positions of the columns that feed `ours`, or none."""
    if ours in wanted:
        return tuple(index for name in _parts(names, wanted[ours]) if (index := _position(names, name)) is not None)
    for alias in COLUMN_ALIASES[ours]:
        found = [_position(names, name) for name in alias.split("+")]
        if present := tuple(index for index in found if index is not None):
            return present
    return ()


def _parts(names: list[str], theirs: str) -> list[str]:
    """Return the header names in `Author+Additional Authors`, each with or without quotes; one may contain a `+`."""
    if _position(names, theirs) is not None or not theirs:
        return [theirs] if theirs else []
    return [part.strip().strip("'\"") for part in theirs.split("+")]


def _position(names: list[str], name: str) -> int | None:
    if name in names:
        return names.index(name)
    keys = [_key(one) for one in names]
    return keys.index(_key(name)) if _key(name) in keys else None


def _check_wanted(place: str, names: list[str], wanted: Mapping[str, str]) -> None:
    for ours, theirs in wanted.items():
        if ours not in COLUMN_ALIASES:
            raise ConfigurationError(
                f"--column {ours}={theirs}: unknown column {ours!r}; known are {', '.join(COLUMN_ALIASES)}"
            )
        if not theirs and ours in REQUIRED:
            raise ConfigurationError(f"--column {ours}=: a book needs {ours}; name the column that has them")
        for name in _parts(names, theirs):
            if _position(names, name) is None:
                raise ConfigurationError(
                    f"--column {ours}={theirs}: {place} has no {name!r}; it has {', '.join(names)}"
                )


def _check_unique(
    place: str, names: list[str], ours: str, positions: tuple[int, ...], wanted: Mapping[str, str]
) -> None:
    for index in positions:
        if names.count(names[index]) > 1:
            raise ConfigurationError(f"{place}: column {names[index]!r} occurs twice; allowed is once")
        alike = [name for name in names if _key(name) == _key(names[index])]
        if len(alike) > 1 and ours not in wanted:
            raise ConfigurationError(
                f"{place}: columns {' and '.join(map(repr, alike))} both match {ours}; choose one, for example:"
                f" --column {ours}={alike[0]!r}"
            )


def _check_near_misses(place: str, absent: list[str], unread: list[str]) -> None:
    known = {_key(name): ours for ours in COLUMN_ALIASES for alias in COLUMN_ALIASES[ours] for name in alias.split("+")}
    aliases = {key: ours for key, ours in known.items() if ours in absent}
    for name in unread:
        key = _key(name)
        if key in known:
            continue
        if near := difflib.get_close_matches(key, aliases, 1, _SHORT_CUTOFF if len(key) <= _SHORT else _CUTOFF):
            ours = aliases[near[0]]
            raise ConfigurationError(
                f"{place}: unknown column {name!r}; did you mean {ours!r}? Pass --column {ours}={name!r} to read it, or"
                f" --column {ours}= to read no {ours}"
            )


def _missing_column_message(place: str, ours: str, names: list[str]) -> str:
    if len(names) == 1:
        return (
            f"{place}: no column {ours!r}; found the single column {names[0]!r}. If that is several, name the character"
            " between them, for example: --delimiter ';'"
        )
    keys = {_key(name): name for name in names if name}
    likely = difflib.get_close_matches(_key(ours), keys, n=1) or list(keys)[:1]
    known = ", ".join(dict.fromkeys(name for names in COLUMN_ALIASES.values() for name in names))
    example = f"--column {ours}={keys[likely[0]]!r}" if likely else f"--column {ours}=NAME"
    return (
        f"{place}: no column {ours!r}; found {', '.join(names)}; known are {known}. "
        f"Name the column, for example: {example}"
    )
