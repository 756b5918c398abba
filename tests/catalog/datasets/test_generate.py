"""Generated books: deterministic and realistic."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from statistics import mean
from typing import Any

import psycopg
import pytest

from bookstore.catalog.datasets import generate
from bookstore.catalog.datasets.generate import book
from bookstore.catalog.datasets.loader import payload
from bookstore.catalog.isbn import is_isbn13
from bookstore.config.text import normalise
from bookstore.exceptions import ConfigurationError

Connection = psycopg.Connection[Any]
Contents = Callable[[], list[tuple[Any, ...]]]

FIRST_THOUSAND = "4d7e3157011d70bc26c5a1c1b2f5b3329f50b04787dc3573825aa3d2dac29a7e"
"""SHA-256 of the first 1000 books of seed 1. Changes only if the vocabulary or the algorithm changes."""

PROGRAM = """
import hashlib
from bookstore.catalog.datasets.generate import book
from bookstore.catalog.datasets.loader import payload
print(hashlib.sha256(payload(book(1, n) for n in range(1, 1001))).hexdigest())
"""


def test_same_seed_same_books() -> None:
    """A seed gives the same books in every process, whatever its hash seed."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert digests == {FIRST_THOUSAND}


def test_other_seed_other_books() -> None:
    """Another seed gives other books."""
    digests = {hashlib.sha256(payload(book(seed, n) for n in range(1, 101))).digest() for seed in range(5)}
    assert len(digests) == 5


def test_books_are_believable() -> None:
    """Books have 1.5 authors and 2 genres on average, mostly unique valid ISBNs, several languages and scripts."""
    books = [book(3, number) for number in range(1, 20_001)]
    isbns = [b.isbn13 for b in books if b.isbn13]
    assert 1.4 < mean(len(b.authors) for b in books) < 1.6
    assert 1.9 < mean(len(b.genres) for b in books) < 2.1
    assert all(map(is_isbn13, isbns))
    assert len(set(isbns)) == len(isbns)
    assert 0.93 < len(isbns) / len(books) < 0.97
    assert 0.25 < len({name for b in books for name in b.authors}) / len(books) < 0.35
    assert len({b.language for b in books}) > 10
    assert 0.03 < mean(not b.title.isascii() and b.language in {"ru", "ja", "zh", "ar", "el"} for b in books) < 0.1
    assert all(1500 < b.publication_year <= 2025 for b in books if b.publication_year is not None)


def test_books_are_clean() -> None:
    """Generated books would pass the import unchanged: normalised and without repeated names."""
    for b in (book(4, number) for number in range(1, 5_001)):
        assert normalise(b.title) == b.title
        assert all(normalise(name) == name for name in b.authors)
        assert len(set(b.genres)) == len(b.genres)
        assert len(set(b.authors)) == len(b.authors)


def test_appending_continues_the_seed(connection: Connection, contents: Contents) -> None:
    """30 books and 20 appended books are the first 50 of the seed."""
    assert generate(connection, books=30, seed=9) == 30
    assert generate(connection, books=20, seed=9, append=True) == 20
    expected = [book(9, number) for number in range(1, 51)]
    stored = contents()
    assert [row[:4] for row in stored] == [(b.isbn13, b.title, b.publication_year, b.language) for b in expected]
    assert [row[5] for row in stored] == [list(b.authors) for b in expected]
    assert [row[6] for row in stored] == [sorted(b.genres) for b in expected]


def test_a_database_with_books_needs_append(connection: Connection, contents: Contents) -> None:
    """Without --append, a database with books is left unchanged."""
    generate(connection, books=5, seed=1)
    before = contents()
    with pytest.raises(ConfigurationError, match=r"already contains books.*--append"):
        generate(connection, books=5, seed=2)
    assert contents() == before


def test_an_emptied_database_is_an_empty_one(connection: Connection, contents: Contents) -> None:
    """After all books are deleted, the seed starts over although the ids continue."""
    generate(connection, books=5, seed=1)
    before = contents()
    with connection.transaction():
        connection.execute("DELETE FROM book")
    generate(connection, books=5, seed=1)
    assert contents() == before


def test_existing_books_are_replaced_by_the_next(connection: Connection, contents: Contents) -> None:
    """If a book of the seed exists already, the next one replaces it, so the requested number is inserted."""
    taken = next(b.isbn13 for b in (book(1, number) for number in range(4, 20)) if b.isbn13)
    with connection.transaction():
        connection.execute("INSERT INTO book (title, isbn13) VALUES ('Real', %s)", [taken])
    assert generate(connection, books=30, seed=1, append=True) == 30
    assert len(contents()) == 31
