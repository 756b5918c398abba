"""A small awkward catalogue, in a database and as plain Python that says what a query has to find."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog import search
from bookstore.database.url import conninfo, for_driver

Row = dict[str, Any]

TITLES = [
    "Émile", "emile", "EMILE", "Zoë", "zoe", "Zz", "10", "9", "'quoted'", "a%b", "a_b", "a\\b", "Война и мир",
    "ВОЙНА", "源氏物語", "The Hobbit", "the hobbit", "Same", "Same", "Same", "same", " ", "x" * 1000, "x" * 1000,
]  # fmt: skip
ISBNS = ["9780439023481", "9791090648524", "9780000000002"]
YEARS = [None, None, -3000, -1, 0, 1937, 1937, 1984, 9999]
LANGUAGES = [None, "en", "en-US", "en-GB", "eng", "de", "fr-CA"]
GENRES = [(1, "Drama", "drama"), (2, "Sci-Fi", "sci-fi"), (3, "1984 and all that", "1984-and"), (4, "None", "none")]
AUTHORS = [(1, "J.R.R. Tolkien"), (2, "Émile Zola"), (3, "emile zola"), (4, "O'Brien, Flann"), (5, "Nobody")]


def sort_key(text: str) -> bytes:
    """The order of texts: no accents, no case, the first 200 letters, by code point."""
    plain = "".join(letter for letter in unicodedata.normalize("NFD", text[:200]) if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", plain).lower().encode()


def _shelve() -> list[Row]:
    chance = random.Random(7)  # noqa: S311 - no secret
    start = datetime(2020, 1, 1, 12, tzinfo=UTC)
    return [
        {
            "id": number * 3,  # with gaps
            "title": title,
            "isbn13": ISBNS[number // 5] if number % 5 == 0 and number // 5 < len(ISBNS) else None,
            "publication_year": chance.choice(YEARS),
            "language": chance.choice(LANGUAGES),
            "created_at": start + timedelta(microseconds=chance.choice([0, 0, 1, 500_000, 10**9])),
            "authors": chance.sample(range(1, 5), chance.randrange(4)),
            "genres": sorted(chance.sample(range(1, 4), chance.randrange(4))),
        }
        for number, title in enumerate(TITLES * 2)
    ]


class Shelf(NamedTuple):
    url: sa.URL
    books: list[Row]
    """In the order of their ids; authors and genres as ids, in the order of the wire."""

    def found(self, filters: Row) -> list[Row]:
        return [book for book in self.books if _matches(book, filters)]

    def ordered(self, filters: Row, sort: str) -> list[int]:
        """The ids that a list has to have, in its order."""
        rows = self.found(filters)
        keys = sort.split(",")
        if "id" not in (key.removeprefix("-") for key in keys):
            keys.append("-id" if keys[-1].startswith("-") else "id")
        for key in reversed(keys):  # a stable sort by the last key first
            rows.sort(key=_value(key.removeprefix("-")), reverse=key.startswith("-"))
            if key.removeprefix("-") == "publication_year":
                rows.sort(key=lambda row: row["publication_year"] is None)
        return [row["id"] for row in rows]


def _value(key: str) -> Callable[[Row], Any]:
    if key == "title":
        return lambda row: sort_key(row["title"])
    if key == "publication_year":
        return lambda row: 0 if row[key] is None else row[key]
    return lambda row: row[key]


def _matches(book: Row, filters: Row) -> bool:
    slugs = {slug: number for number, _, slug in GENRES}
    for name, wanted in filters.items():
        year = book["publication_year"]
        match name:
            case "author_id":
                holds = wanted in book["authors"]
            case "genre":
                holds = (int(wanted) if wanted.isdigit() else slugs.get(wanted)) in book["genres"]
            case "language":
                holds = book["language"] == wanted or (
                    "-" not in wanted and (book["language"] or "").split("-")[0] == wanted
                )
            case "isbn13":
                holds = book["isbn13"] == wanted
            case "year_from":
                holds = year is not None and year >= wanted
            case _:
                holds = year is not None and year <= wanted
        if not holds:
            return False
    return True


@pytest.fixture(scope="session")
def shelf(own_database: Callable[..., AbstractContextManager[sa.URL]]) -> Iterator[Shelf]:
    with own_database() as url:
        books = _shelve()
        with psycopg.connect(conninfo(url)) as connection:
            into = connection.cursor()
            into.executemany("INSERT INTO author (id, name) VALUES (%s, %s)", AUTHORS)
            into.executemany("INSERT INTO genre (id, name, slug) VALUES (%s, %s, %s)", GENRES)
            plain = ("id", "title", "isbn13", "publication_year", "language", "created_at")
            into.executemany(
                "INSERT INTO book (id, title, isbn13, publication_year, language, created_at)"
                " VALUES (%s, %s, %s, %s, %s, %s)",
                [[book[name] for name in plain] for book in books],
            )
            into.executemany(
                "INSERT INTO book_author VALUES (%s, %s, %s)",
                [(book["id"], place, one) for book in books for place, one in enumerate(book["authors"])],
            )
            into.executemany(
                "INSERT INTO book_genre VALUES (%s, %s)",
                [(book["id"], one) for book in books for one in book["genres"]],
            )
            connection.execute("ALTER TABLE book ALTER id RESTART 1000")
        engine = sa.create_engine(for_driver(url, "psycopg-sync")[0], poolclass=sa.NullPool)
        with Session(engine) as session:
            search.refresh_documents(session, [book["id"] for book in books])
            session.commit()
        yield Shelf(url, books)


@pytest.fixture(scope="session")
def engine(shelf: Shelf) -> Iterator[sa.Engine]:
    made = sa.create_engine(for_driver(shelf.url, "psycopg-sync")[0])
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def session(engine: sa.Engine) -> Iterator[Session]:
    """For reading, and for writing what is rolled back."""
    with Session(engine) as opened:
        yield opened
