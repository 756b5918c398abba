"""Inserting books: a fixed number of statements for any number of books."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog import search
from bookstore.catalog.inputs import BookInput
from bookstore.exceptions import ApiError, FieldError

_IDS: Final = sa.ARRAY(sa.BigInteger)
_INTS: Final = sa.ARRAY(sa.Integer)
_TEXTS: Final = sa.ARRAY(sa.Text)


def _array_statement(statement: str, **kinds: sa.ARRAY[Any]) -> sa.TextClause:
    return sa.text(statement).bindparams(*(sa.bindparam(name, type_=kind) for name, kind in kinds.items()))


# The lock prevents the deletion of referenced rows until the commit.
_KNOWN: Final = {
    "author_ids": (
        "author",
        _array_statement("SELECT id FROM author WHERE id = ANY(:ids) ORDER BY id FOR KEY SHARE", ids=_IDS),
    ),
    "genre_ids": (
        "genre",
        _array_statement("SELECT id FROM genre WHERE id = ANY(:ids) ORDER BY id FOR KEY SHARE", ids=_IDS),
    ),
}
REFERENCES: Final = tuple(_KNOWN)
"""The members of BookInput that contain ids."""
_BY_ISBN: Final = _array_statement("SELECT isbn13, id FROM book WHERE isbn13 = ANY(:isbns)", isbns=_TEXTS)

# ON CONFLICT waits for a concurrent transaction that inserts the same ISBN; if it commits, this book is not inserted.
# Inserting in the order of the ISBNs keeps two batches from deadlocking.
_ADD: Final = _array_statement(
    """
    WITH draft AS (
        SELECT nextval(pg_get_serial_sequence('book', 'id')) AS id, given.*
        FROM unnest(:titles, :isbns, :years, :languages)
        WITH ORDINALITY AS given (title, isbn13, publication_year, language, place)
    ),
    added AS (
        INSERT INTO book (id, title, isbn13, publication_year, language)
        SELECT id, title, isbn13, publication_year, language FROM draft ORDER BY isbn13
        ON CONFLICT (isbn13) DO NOTHING RETURNING id
    )
    SELECT place - 1, id FROM draft JOIN added USING (id) ORDER BY place""",
    titles=_TEXTS,
    isbns=_TEXTS,
    years=_INTS,
    languages=_TEXTS,
)
_ADD_AUTHORS: Final = _array_statement(
    "INSERT INTO book_author (book_id, position, author_id) SELECT * FROM unnest(:books, :positions, :authors)",
    books=_IDS,
    positions=_INTS,
    authors=_IDS,
)
_ADD_GENRES: Final = _array_statement(
    "INSERT INTO book_genre (book_id, genre_id) SELECT * FROM unnest(:books, :genres)", books=_IDS, genres=_IDS
)

Pointer = Callable[[int], str]
"""Returns the JSON Pointer of a book in the request body, given its index."""


def add(session: Session, books: Sequence[BookInput], pointer: Pointer) -> list[int]:
    """Insert the books, all or none, and return their ids in the same order.

    Raises ApiError `invalid_body` for an author or genre that does not exist and for an ISBN that occurs twice, and
    `isbn_taken`, which names the existing book, for an ISBN in use.
    """
    check_references(session, books, pointer)
    _check_isbns(books, pointer)
    values = {
        "titles": [book.title for book in books],
        "isbns": [book.isbn13 for book in books],
        "years": [book.publication_year for book in books],
        "languages": [book.language for book in books],
    }
    added: dict[int, int] = dict(session.execute(_ADD, values).all())
    if len(added) < len(books):
        raise _isbn_taken_error(session, books, pointer)
    ids = [added[index] for index in range(len(books))]
    books_by_id = dict(zip(ids, books, strict=True))
    link_authors(session, books_by_id)
    link_genres(session, books_by_id)
    search.refresh_documents(session, ids)
    return ids


def link_authors(session: Session, books: Mapping[int, BookInput]) -> None:
    """Insert the links to authors of `books` (inputs by id), which have no authors yet."""
    rows = [
        (book_id, position, author_id)
        for book_id, book in books.items()
        for position, author_id in enumerate(book.author_ids)
    ]
    if rows:
        book_ids, positions, author_ids = map(list, zip(*rows, strict=True))
        session.execute(_ADD_AUTHORS, {"books": book_ids, "positions": positions, "authors": author_ids})


def link_genres(session: Session, books: Mapping[int, BookInput]) -> None:
    """Insert the links to genres of `books` (inputs by id), which have no genres yet."""
    rows = [(book_id, genre_id) for book_id, book in books.items() for genre_id in book.genre_ids]
    if rows:
        book_ids, genre_ids = map(list, zip(*rows, strict=True))
        session.execute(_ADD_GENRES, {"books": book_ids, "genres": genre_ids})


def check_references(
    session: Session, books: Sequence[BookInput], pointer: Pointer, members: Collection[str] = REFERENCES
) -> None:
    """Raise ApiError `invalid_body` that lists authors and genres of the books that do not exist."""
    errors: list[FieldError] = []
    for member in members:
        table, known = _KNOWN[member]
        wanted = {id_ for book in books for id_ in getattr(book, member)}
        if not wanted:
            continue
        missing = wanted - set(session.scalars(known, {"ids": sorted(wanted)}))
        errors += [
            FieldError(f"There is no {table} {id_}.", pointer=f"{pointer(index)}/{member}/{number}")
            for index, book in enumerate(books)
            for number, id_ in enumerate(getattr(book, member))
            if id_ in missing
        ]
    if errors:
        raise ApiError("invalid_body", "The body refers to authors or genres that do not exist.", *errors[:100])


def _check_isbns(books: Sequence[BookInput], pointer: Pointer) -> None:
    seen: dict[str, int] = {}
    errors: list[FieldError] = []
    for index, book in enumerate(books):
        if book.isbn13 is not None and (first := seen.setdefault(book.isbn13, index)) != index:
            errors.append(FieldError(f"Item {first} has the same ISBN.", pointer=f"{pointer(index)}/isbn13"))
    if errors:
        raise ApiError("invalid_body", f"ISBNs that occur twice in the body: {len(errors)}.", *errors[:100])


def _isbn_taken_error(session: Session, books: Sequence[BookInput], pointer: Pointer) -> ApiError:
    return isbn_taken_error(session, {book.isbn13: pointer(index) for index, book in enumerate(books) if book.isbn13})


def isbn_taken_error(session: Session, pointers: dict[str, str]) -> ApiError:
    """Return the ApiError that names the books with these ISBNs. `pointers` are JSON Pointers by ISBN."""
    rows: Iterator[tuple[str, int]] = iter(session.execute(_BY_ISBN, {"isbns": list(pointers)}))
    errors = [
        FieldError(f"/books/{book_id} has the ISBN {isbn13}.", pointer=f"{pointers[isbn13]}/isbn13")
        for isbn13, book_id in rows
    ]
    detail = errors[0].detail if len(errors) == 1 else f"{len(errors)} of the books exist already."
    return ApiError("isbn_taken", detail, *errors[:100])
