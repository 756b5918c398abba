"""Constraints, indexes and versions that the tables guarantee for every writer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, LiteralString

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from bookstore.catalog import models
from bookstore.catalog.models import EARLIEST_YEAR, LATEST_YEAR, MAX_NAME_LENGTH, MAX_TITLE_LENGTH, Book
from bookstore.database.url import conninfo

Connection = psycopg.Connection[Any]

GOOD_ISBNS = ["9780439023481", "9791090648524", "9780000000002", None]
BAD_ISBNS = {
    "check digit": "9780439023480",
    "two digits swapped": "9780439032481",
    "letter": "978043902348X",
    "letters only": "abcdefghijklm",
    "empty": "",
    "ISBN-10": "0439023483",
    "prefix": "9770439023484",
    "digit that is not ASCII": "978043902348\N{ARABIC-INDIC DIGIT ONE}",
    "line end": "978043902348\n",
}
# Orders that need no sort: the leading columns of an index.
ORDERS = {
    "books by id": ("book", ["id"]),
    "a book's authors in order": ("book_author", ["book_id", "position"]),
    "a book's genres by id": ("book_genre", ["book_id", "genre_id"]),
    "an author's books by id": ("book_author", ["author_id", "book_id"]),
    "a genre's books by id": ("book_genre", ["genre_id", "book_id"]),
    "authors by name": ("author", ["name"]),
    "genres by slug": ("genre", ["slug"]),
}


@pytest.fixture(scope="module")
def shared_url(server_url: sa.URL, template: str) -> Iterator[str]:
    """A database for tests that roll back."""
    name = f"bookstore_test_{os.getpid()}_models"
    with psycopg.connect(conninfo(server_url), autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        yield conninfo(server_url.set(database=name))
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def connection(shared_url: str) -> Iterator[Connection]:
    """A connection in a transaction that is rolled back; a failing statement does not abort it."""
    with psycopg.connect(shared_url) as new, new.transaction(force_rollback=True):
        yield new


@pytest.fixture
def committing(database_url: str) -> Iterator[Connection]:
    """A connection to a separate database, for tests with several sessions."""
    with psycopg.connect(database_url, autocommit=True) as new:
        yield new


@pytest.fixture
def engine(url: sa.URL) -> Iterator[sa.Engine]:
    created = sa.create_engine(url.set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)
    yield created
    created.dispose()


def add_book(connection: Connection, **values: Any) -> int:
    """Insert a book of `values` and return its id."""
    return add(connection, "book", **{"title": "A book", **values})


def add(connection: Connection, table: LiteralString, **values: Any) -> int:
    statement = psycopg.sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING *").format(
        psycopg.sql.Identifier(table),
        psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, values)),
        psycopg.sql.SQL(", ").join(map(psycopg.sql.Placeholder, values)),
    )
    with connection.transaction():
        row = connection.execute(statement, values).fetchone()
    assert row
    return int(row[0])


def test_isbns_of_books_are_stored(connection: Connection) -> None:
    """Valid ISBNs of both prefixes and NULL are stored; several books may have no ISBN."""
    for isbn13 in [*GOOD_ISBNS, None]:
        add_book(connection, isbn13=isbn13)
    stored = connection.execute("SELECT isbn13 FROM book ORDER BY id").fetchall()
    assert [isbn13 for (isbn13,) in stored] == [*GOOD_ISBNS, None]


@pytest.mark.parametrize("isbn13", BAD_ISBNS.values(), ids=BAD_ISBNS)
def test_invalid_isbns_are_rejected(connection: Connection, isbn13: str) -> None:
    """Invalid ISBNs violate the constraint and do not cause an error in its expression."""
    with pytest.raises(errors.CheckViolation) as caught:
        add_book(connection, isbn13=isbn13)
    assert caught.value.diag.constraint_name == "ck_book_isbn13"


def test_every_wrong_check_digit_is_rejected(connection: Connection) -> None:
    """Of the ten check digits only the correct one is accepted."""
    accepted = []
    for digit in range(10):
        with suppress(errors.CheckViolation):
            add_book(connection, isbn13=f"978043902348{digit}")
            accepted.append(digit)
    assert accepted == [1]


def test_isbns_are_unique(connection: Connection) -> None:
    """A second book with the same ISBN is rejected."""
    add_book(connection, isbn13="9780439023481")
    with pytest.raises(errors.UniqueViolation):
        add_book(connection, isbn13="9780439023481")


@pytest.mark.parametrize(
    ("constraint", "column", "good", "bad"),
    [
        ("publication_year", "publication_year", EARLIEST_YEAR, EARLIEST_YEAR - 1),
        ("publication_year", "publication_year", LATEST_YEAR, LATEST_YEAR + 1),
        ("publication_year", "publication_year", None, 32767),
        ("language", "language", "en", "e"),
        ("language", "language", "eng", "engl"),
        ("language", "language", "pt-BR", "pt-br"),
        ("language", "language", "pt-BR", "pt_BR"),
        ("language", "language", None, "EN"),
        ("language", "language", "zh", ""),
        ("language", "language", "de", "de\n"),
        ("title", "title", "T", ""),
        ("title", "title", "T" * MAX_TITLE_LENGTH, "T" * (MAX_TITLE_LENGTH + 1)),
        ("title", "title", "\N{SNOWMAN}" * MAX_TITLE_LENGTH, "\N{SNOWMAN}" * (MAX_TITLE_LENGTH + 1)),
    ],
)
def test_book_columns_have_bounds(connection: Connection, constraint: str, column: str, good: Any, bad: Any) -> None:
    """The last value within a bound is stored and the first one outside is rejected; lengths are in characters."""
    add_book(connection, **{column: good})
    with pytest.raises(errors.CheckViolation) as caught:
        add_book(connection, **{column: bad})
    assert caught.value.diag.constraint_name == f"ck_book_{constraint}"


def test_a_book_needs_a_title(connection: Connection) -> None:
    """A title is never NULL."""
    with pytest.raises(errors.NotNullViolation):
        add_book(connection, title=None)


@pytest.mark.parametrize("table", ["author", "genre"])
def test_names_have_bounds(connection: Connection, table: LiteralString) -> None:
    """Names of minimum and maximum length are stored; NULL, empty and longer names are rejected."""
    slug = {"slug": "a"} if table == "genre" else {}
    for name in ("N", "N" * MAX_NAME_LENGTH):
        add(connection, table, name=name, **(slug and {"slug": f"a{len(name)}"}))
    for name in ("", "N" * (MAX_NAME_LENGTH + 1)):
        with pytest.raises(errors.CheckViolation) as caught:
            add(connection, table, name=name, **slug)
        assert caught.value.diag.constraint_name == f"ck_{table}_name"
    with pytest.raises(errors.NotNullViolation):
        add(connection, table, name=None, **slug)


def test_authors_may_share_a_name(connection: Connection) -> None:
    """Two authors may have the same name."""
    assert add(connection, "author", name="John Smith") != add(connection, "author", name="John Smith")


@pytest.mark.parametrize("slug", ["a", "science-fiction", "20th-century", "a-b-c"])
def test_slugs_of_genres_are_stored(connection: Connection, slug: str) -> None:
    """Slugs of lower-case letters, digits and single hyphens between them are stored."""
    add(connection, "genre", name="Genre", slug=slug)
    assert connection.execute("SELECT slug FROM genre").fetchone() == (slug,)


@pytest.mark.parametrize("slug", ["", "A", "-a", "a-", "a--b", "a b", "a_b", "é", "a/b", "a\n"])
def test_invalid_slugs_are_rejected(connection: Connection, slug: str) -> None:
    """Slugs that need escaping in a URL or are not in canonical form are rejected."""
    with pytest.raises(errors.CheckViolation) as caught:
        add(connection, "genre", name="Genre", slug=slug)
    assert caught.value.diag.constraint_name == "ck_genre_slug"


@pytest.mark.parametrize("twin", [{"name": "Drama", "slug": "other"}, {"name": "Other", "slug": "drama"}])
def test_genres_are_unique(connection: Connection, twin: dict[str, str]) -> None:
    """Names and slugs of genres are unique."""
    add(connection, "genre", name="Drama", slug="drama")
    with pytest.raises(errors.UniqueViolation):
        add(connection, "genre", **twin)


def test_an_author_is_once_on_a_book(connection: Connection) -> None:
    """The same author at a second position and a second author at the same position are rejected."""
    book = add_book(connection)
    first, second = add(connection, "author", name="A"), add(connection, "author", name="B")
    add(connection, "book_author", book_id=book, position=0, author_id=first)
    with pytest.raises(errors.UniqueViolation) as same_author:
        add(connection, "book_author", book_id=book, position=1, author_id=first)
    assert same_author.value.diag.constraint_name == "uq_book_author_author_id_book_id"
    with pytest.raises(errors.UniqueViolation) as same_position:
        add(connection, "book_author", book_id=book, position=0, author_id=second)
    assert same_position.value.diag.constraint_name == "pk_book_author"


def test_positions_are_not_negative(connection: Connection) -> None:
    """Positions count from 0."""
    book, author = add_book(connection), add(connection, "author", name="A")
    with pytest.raises(errors.CheckViolation) as caught:
        add(connection, "book_author", book_id=book, position=-1, author_id=author)
    assert caught.value.diag.constraint_name == "ck_book_author_position"


def linked_book(connection: Connection) -> tuple[int, list[int], list[int]]:
    """Insert a book whose links are stored out of order; return its id and the ids of its authors and genres."""
    book = add_book(connection)
    authors = [add(connection, "author", name=name) for name in ("Z", "A", "M")]
    genres = [add(connection, "genre", name=name, slug=name) for name in ("z", "a")]
    for position in (2, 0, 1):
        add(connection, "book_author", book_id=book, position=position, author_id=authors[position])
    for genre in reversed(genres):
        add(connection, "book_genre", book_id=book, genre_id=genre)
    return book, authors, genres


def test_a_book_has_its_authors_and_genres_in_order(committing: Connection, engine: sa.Engine) -> None:
    """Authors are read by position and genres by id, whatever the order of insertion."""
    book, authors, genres = linked_book(committing)
    with Session(engine) as session:
        stored = session.get_one(Book, book)
        assert [author.id for author in stored.authors] == authors
        assert [genre.id for genre in stored.genres] == genres


def test_deleting_a_book_deletes_its_links(connection: Connection) -> None:
    """Deleting a book deletes its links and keeps its authors and genres."""
    book, _, _ = linked_book(connection)
    connection.execute("DELETE FROM book WHERE id = %s", [book])
    counts = connection.execute("""
        SELECT (SELECT count(*) FROM book_author), (SELECT count(*) FROM book_genre),
               (SELECT count(*) FROM author), (SELECT count(*) FROM genre)
    """).fetchone()
    assert counts == (0, 0, 3, 2)


@pytest.mark.parametrize("table", ["author", "genre"])
def test_referenced_rows_are_not_deleted(connection: Connection, table: LiteralString) -> None:
    """An author or genre with books cannot be deleted; without books it can."""
    book, _, _ = linked_book(connection)
    delete = psycopg.sql.SQL("DELETE FROM {}").format(psycopg.sql.Identifier(table))
    with pytest.raises(errors.ForeignKeyViolation), connection.transaction():
        connection.execute(delete)
    connection.execute("DELETE FROM book WHERE id = %s", [book])
    assert connection.execute(delete).rowcount > 0


@pytest.mark.parametrize(
    ("table", "key", "link"), [("book_author", "author_id", {"position": 0}), ("book_genre", "genre_id", {})]
)
def test_links_refer_to_existing_rows(
    connection: Connection, table: LiteralString, key: str, link: dict[str, int]
) -> None:
    """A link to a missing book, author or genre is rejected; a valid link is stored."""
    _, authors, genres = linked_book(connection)
    valid = {"book_id": add_book(connection), **link, key: (authors if key == "author_id" else genres)[0]}
    for column in ("book_id", key):
        with pytest.raises(errors.ForeignKeyViolation):
            add(connection, table, **{**valid, column: 2**62})
    add(connection, table, **valid)


def test_every_foreign_key_has_an_index(connection: Connection) -> None:
    """The columns of each foreign key lead an index, so deleting a referenced row scans no table."""
    keys = connection.execute("""
        SELECT conrelid::regclass::text, conname,
            EXISTS (SELECT FROM pg_index WHERE indrelid = conrelid AND indpred IS NULL AND indisvalid
                AND (indkey::int2[])[0:cardinality(conkey) - 1] @> conkey)
        FROM pg_constraint WHERE contype = 'f' ORDER BY 1, 2
    """).fetchall()
    assert len(keys) == 5
    assert [name for _, name, has_index in keys if not has_index] == []


@pytest.mark.parametrize(("table", "columns"), ORDERS.values(), ids=ORDERS)
def test_every_order_has_an_index(connection: Connection, table: str, columns: list[str]) -> None:
    """Every order of a list is the order of an index, so lists are not sorted."""
    indexes = connection.execute(
        """
        SELECT ARRAY(SELECT attname::text FROM unnest(indkey::int2[]) WITH ORDINALITY AS key(number, place)
                     JOIN pg_attribute ON attrelid = indrelid AND attnum = number ORDER BY place)
        FROM pg_index WHERE indrelid = %s::regclass AND indpred IS NULL AND indisvalid
        """,
        [table],
    ).fetchall()
    assert any(index[: len(columns)] == columns for (index,) in indexes), indexes


def test_a_change_increments_the_version(engine: sa.Engine) -> None:
    """A book starts at version 1; each change adds one and updates the change time."""
    with Session(engine) as session:
        session.add(Book(title="First"))
        session.commit()
    with Session(engine) as session:
        book = session.scalars(sa.select(Book)).one()
        before = book.updated_at
        assert book.version == 1
        book.title = "Second"
        session.commit()
        assert book.version == 2
        assert book.updated_at > before >= book.created_at


def test_a_stale_write_fails(committing: Connection, engine: sa.Engine) -> None:
    """Changing or deleting a book that was changed concurrently fails, and the first change stays."""
    book = add_book(committing)
    for late in ("change", "delete"):
        with Session(engine) as first, Session(engine) as second:
            current, stale = first.get_one(Book, book), second.get_one(Book, book)
            current.title = f"before the late {late}"
            if late == "change":
                stale.title = "late"
            else:
                second.delete(stale)
            first.commit()
            with pytest.raises(StaleDataError):
                second.commit()
        assert committing.execute("SELECT title FROM book").fetchone() == (f"before the late {late}",)


def test_rows_from_copy_are_complete(connection: Connection) -> None:
    """The database fills id, version and both times of rows that the ORM does not insert."""
    with connection.cursor() as cursor, cursor.copy("COPY book (title) FROM STDIN") as copy:
        copy.write_row(["A book"])
    row = connection.execute("SELECT id > 0, version, created_at = updated_at FROM book").fetchone()
    assert row == (True, 1, True)


def test_two_databases_have_two_states(own_database: Any) -> None:
    """Two idle databases of one server have different states."""
    with (
        own_database() as one_url,
        own_database() as other_url,
        psycopg.connect(conninfo(one_url), autocommit=True) as first,
        psycopg.connect(conninfo(other_url), autocommit=True) as second,
    ):
        states = [
            connection.execute(f"SELECT {models.STATE_SQL}".encode()).fetchone() for connection in (first, second)
        ]
    assert states[0] != states[1]
