"""A small catalogue of edge cases, in a database and as a Python model that computes the expected results."""

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
    """The sort key of a text: its first 200 characters without accents and case, compared by code point."""
    plain = "".join(letter for letter in unicodedata.normalize("NFD", text[:200]) if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", plain).lower().encode()


def _generate_books() -> list[Row]:
    rng = random.Random(7)  # noqa: S311 - no secret
    start = datetime(2020, 1, 1, 12, tzinfo=UTC)
    return [
        {
            "id": number * 3,  # with gaps
            "title": title,
            "isbn13": ISBNS[number // 5] if number % 5 == 0 and number // 5 < len(ISBNS) else None,
            "publication_year": rng.choice(YEARS),
            "language": rng.choice(LANGUAGES),
            "created_at": start + timedelta(microseconds=rng.choice([0, 0, 1, 500_000, 10**9])),
            "authors": rng.sample(range(1, 5), rng.randrange(4)),
            "genres": sorted(rng.sample(range(1, 4), rng.randrange(4))),
        }
        for number, title in enumerate(TITLES * 2)
    ]


class Shelf(NamedTuple):
    url: sa.URL
    books: list[Row]
    """In the order of their ids; authors and genres as ids, in response order."""

    def matching(self, filters: Row) -> list[Row]:
        return [book for book in self.books if _matches(book, filters)]

    def ordered(self, filters: Row, sort: str) -> list[int]:
        """The expected ids of a list, in order."""
        rows = self.matching(filters)
        keys = sort.split(",")
        if "id" not in (key.removeprefix("-") for key in keys):
            keys.append("-id" if keys[-1].startswith("-") else "id")
        for key in reversed(keys):  # a stable sort by the last key first
            rows.sort(key=_key_function(key.removeprefix("-")), reverse=key.startswith("-"))
            if key.removeprefix("-") == "publication_year":
                rows.sort(key=lambda row: row["publication_year"] is None)
        return [row["id"] for row in rows]


def _key_function(key: str) -> Callable[[Row], Any]:
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
                matches = wanted in book["authors"]
            case "genre":
                wanted_ids = {int(one) if one.isdigit() else slugs.get(one) for one in wanted.split(",")}
                matches = wanted_ids <= set(book["genres"])
            case "id":
                matches = book["id"] in wanted
            case "language":
                matches = book["language"] == wanted or (
                    "-" not in wanted and (book["language"] or "").split("-")[0] == wanted
                )
            case "isbn13":
                matches = book["isbn13"] in wanted
            case "year_from":
                matches = year is not None and year >= wanted
            case _:
                matches = year is not None and year <= wanted
        if not matches:
            return False
    return True


@pytest.fixture(scope="session")
def shelf(own_database: Callable[..., AbstractContextManager[sa.URL]]) -> Iterator[Shelf]:
    with own_database() as url:
        books = _generate_books()
        with psycopg.connect(conninfo(url)) as connection:
            cursor = connection.cursor()
            cursor.executemany("INSERT INTO author (id, name) VALUES (%s, %s)", AUTHORS)
            cursor.executemany("INSERT INTO genre (id, name, slug) VALUES (%s, %s, %s)", GENRES)
            plain = ("id", "title", "isbn13", "publication_year", "language", "created_at")
            cursor.executemany(
                "INSERT INTO book (id, title, isbn13, publication_year, language, created_at)"
                " VALUES (%s, %s, %s, %s, %s, %s)",
                [[book[name] for name in plain] for book in books],
            )
            cursor.executemany(
                "INSERT INTO book_author VALUES (%s, %s, %s)",
                [(book["id"], place, author) for book in books for place, author in enumerate(book["authors"])],
            )
            cursor.executemany(
                "INSERT INTO book_genre VALUES (%s, %s)",
                [(book["id"], genre) for book in books for genre in book["genres"]],
            )
            connection.execute("ALTER TABLE book ALTER id RESTART 1000")
        engine = sa.create_engine(for_driver(url, "psycopg-sync")[0], poolclass=sa.NullPool)
        with Session(engine) as session:
            search.refresh_documents(session, [book["id"] for book in books])
            session.commit()
        yield Shelf(url, books)


@pytest.fixture(scope="session")
def engine(shelf: Shelf) -> Iterator[sa.Engine]:
    created = sa.create_engine(for_driver(shelf.url, "psycopg-sync")[0])
    yield created
    created.dispose()


@pytest.fixture(scope="session")
def session(engine: sa.Engine) -> Iterator[Session]:
    """A session for reading, and for changes that are rolled back."""
    with Session(engine) as new:
        yield new
