"""Generates any number of realistic books.

Book n of a seed is always the same, so a small catalogue is the beginning of a larger one, and appending continues it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import closing
from itertools import accumulate
from typing import Final

from bookstore.catalog.datasets import loader
from bookstore.catalog.datasets.entry import Entry
from bookstore.catalog.datasets.importer import Progress
from bookstore.catalog.datasets.loader import BATCH_ROWS, Connection
from bookstore.catalog.datasets.prefetch import prefetch
from bookstore.catalog.datasets.vocabulary import (
    ADJECTIVES,
    ENGLISH_CODES,
    GENRES,
    GIVEN_NAMES,
    NOUNS,
    PLACES,
    SURNAMES,
    TITLE_LANGUAGES,
    TitleLanguage,
)
from bookstore.catalog.isbn import check_digit13
from bookstore.exceptions import ConfigurationError

MAX_BOOKS: Final = 100_000_000

# 979-2 to 979-7 are not assigned, so generated ISBNs do not collide with real ones.
_ISBN_FIRST: Final = 979_200_000_000
_ISBN_ROOM: Final = 600_000_000
_ISBN_STEP: Final = 370_248_451
"""A prime, so stepping through the range visits every number once."""

_LANGUAGES: Final = tuple((code, None) for code, _ in ENGLISH_CODES) + tuple(
    (item.language, item) for item in TITLE_LANGUAGES
)
_LANGUAGE_ENDS: Final = tuple(
    accumulate([weight for _, weight in ENGLISH_CODES] + [item.weight for item in TITLE_LANGUAGES])
)
_AUTHOR_COUNTS: Final = (1,) * 63 + (2,) * 27 + (3,) * 8 + (4,) * 2  # 1.5 on average
_GENRE_COUNTS: Final = (0,) * 5 + (1,) * 27 + (2,) * 38 + (3,) * 20 + (4,) * 10  # 2.0
_NAME_STEP: Final = 10_007
"""A prime, as above; neighbours in the pool of authors share neither name."""


def generate(
    connection: Connection, *, books: int, seed: int, append: bool = False, progress: Progress | None = None
) -> int:
    """Insert `books` generated books in one transaction and return their number.

    In an empty database, the same `seed` and `books` give the same content. With `append`, inserts the next books of
    the seed. Otherwise raises ConfigurationError if the database has books.
    """
    with loader.bulk_load(connection) as load:
        if not append and loader.has_books(connection):
            raise ConfigurationError(
                "the database already contains books; use an empty database, or --append to add books"
            )
        first = load.last_id["book"] + 1 if append else 1
        with closing(prefetch(_payloads(seed, first, books))) as payloads:
            for payload in payloads:
                load.merge(payload)
                if progress:
                    progress(load.counts.books / books, load.counts.books)
        position = books
        while missing := books - load.counts.books:  # books of the seed existed already: insert the next ones instead
            load.merge(loader.payload(entries(seed, first, position, position + missing)))
            position += missing
    loader.vacuum(connection)
    return load.counts.books


def entries(seed: int, first: int, position: int, end: int) -> Iterator[Entry]:
    """Yield books `first + position` to `first + end - 1` of `seed`, with rows from `position + 2`."""
    for index in range(position, end):
        yield book(seed, first + index, row=index + 2)


def book(seed: int, number: int, *, row: int = 0) -> Entry:
    """Return book `number`, from 1, of `seed`."""
    rng = SeededRandom(seed, number)
    below = rng.below
    language, foreign = _LANGUAGES[bisect_right(_LANGUAGE_ENDS, below(_LANGUAGE_ENDS[-1]))]
    title = _foreign_title(rng, foreign) if foreign else _english_title(rng)
    isbn13 = None if below(20) == 0 else _isbn13(number)
    age = below(64) * below(64) * below(48) // 1000  # most books are young, few are from before 1900
    year = None if below(300) == 0 else 2025 - age
    authors = [_author(seed, below(number * 36 // 100 + 8)) for _ in range(_AUTHOR_COUNTS[below(100)])]
    return Entry(row, title, isbn13, year, language, tuple(dict.fromkeys(authors)), _genres(rng))


def _payloads(seed: int, first: int, books: int) -> Iterator[bytes]:
    for position in range(0, books, BATCH_ROWS):
        yield loader.payload(entries(seed, first, position, min(books, position + BATCH_ROWS)))


def _isbn13(number: int) -> str:
    twelve = str(_ISBN_FIRST + number * _ISBN_STEP % _ISBN_ROOM)
    return twelve + check_digit13(twelve)


def _author(seed: int, index: int) -> str:
    """Return author `index` of the seed's pool. Only large pools need middle initials."""
    tier, place = divmod(index, len(GIVEN_NAMES) * len(SURNAMES))
    place = (place * _NAME_STEP + splitmix64(seed, tier)) % (len(GIVEN_NAMES) * len(SURNAMES))
    surname, given = divmod(place, len(GIVEN_NAMES))
    return f"{GIVEN_NAMES[given]} {_initials(tier)}{SURNAMES[surname]}"


def _initials(tier: int) -> str:
    letters = ""
    while tier:
        tier, letter = divmod(tier - 1, 26)
        letters = f"{chr(65 + letter)}." + letters
    return letters and letters + " "


def _genres(rng: SeededRandom) -> tuple[str, ...]:
    count = _GENRE_COUNTS[rng.below(100)]
    if not count:
        return ()
    index = rng.below(50) * rng.below(50) // 50  # favours the first, most used genres
    chosen = []
    for _ in range(count):
        chosen.append(GENRES[index % len(GENRES)])
        index += 1 + rng.below(12)  # four such steps cannot wrap around
    return tuple(chosen)


def _english_title(rng: SeededRandom) -> str:
    below = rng.below
    form = below(8)
    adjective, noun = ADJECTIVES[below(len(ADJECTIVES))], NOUNS[below(len(NOUNS))]
    if form < 2:
        return f"The {adjective} {noun}"
    if form == 2:
        return f"The {noun} of {PLACES[below(len(PLACES))]}"
    if form == 3:
        return f"{adjective} {noun}, {ADJECTIVES[below(len(ADJECTIVES))]} {NOUNS[below(len(NOUNS))]}"
    if form == 4:
        return f"A {noun} in {PLACES[below(len(PLACES))]}" if noun[0] not in "AEIOU" else f"No {noun}"
    if form == 5:
        return f"The {noun} and the {adjective} {NOUNS[below(len(NOUNS))]}"
    series = f"{ADJECTIVES[below(len(ADJECTIVES))]} {NOUNS[below(len(NOUNS))]}"
    return f"The {adjective} {noun} of {PLACES[below(len(PLACES))]} ({series}, #{1 + below(7)})"


def _foreign_title(rng: SeededRandom, language: TitleLanguage) -> str:
    """Join two or three nouns of one language, all but the first with a lower-case first letter."""
    nouns = language.nouns
    index = rng.below(len(nouns))
    picked = []
    for _ in range(3):
        picked.append(nouns[index % len(nouns)])
        index += 1 + rng.below(5)  # three such steps cannot wrap around
    first, *others = picked
    others = [noun[0].lower() + noun[1:] for noun in others]
    return (language.two, language.three)[rng.below(2)].format(first, *others)


_MASK: Final = (1 << 64) - 1


def splitmix64(seed: int, number: int) -> int:
    """Return 64 bits for `number` and `seed`, by SplitMix64 (Steele, Lea, Flood 2014).

    It keeps no state between books, so book 1,000,001 does not depend on computing the million before it."""
    z = (seed * 0xD1342543DE82EF95 + (number + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class SeededRandom:
    """Random numbers for one book; 64 bits last for about 10 small numbers, then it mixes new bits."""

    __slots__ = ("_bits", "_number", "_seed")

    def __init__(self, seed: int, number: int) -> None:
        self._seed = seed
        self._number = number
        self._bits = splitmix64(seed, number)

    def below(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1; `limit` is at most 2**32."""
        if self._bits < 1 << 40:  # too few bits left for a uniform distribution
            self._number ^= 1 << 60
            self._seed ^= self._bits
            self._bits = splitmix64(self._seed, self._number) | 1 << 64
        self._bits, drawn = divmod(self._bits, limit)
        return drawn
