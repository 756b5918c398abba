"""Books into the tables: any number of them in the same few statements."""

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


# The lock keeps what is referred to until the commit.
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
"""The members of a draft that refer to something."""
_BY_ISBN: Final = _array_statement("SELECT isbn13, id FROM book WHERE isbn13 = ANY(:isbns)", isbns=_TEXTS)

# A book of the same ISBN that another transaction is adding is waited for; then it is there, and ours is not.
# In the order of the ISBNs, so that no two batches wait for each other.
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
"""Where in the body a draft stands, by its place among the drafts."""


def add(session: Session, drafts: Sequence[BookInput], pointer: Pointer) -> list[int]:
    """Adds the books, all or none, and returns their ids in the same order.

    Raises ApiError: invalid_body for an author or a genre that does not exist, or an ISBN that two drafts
    have; isbn_taken, naming the book that has it, for one that was there.
    """
    check_references(session, drafts, pointer)
    _check_isbns(drafts, pointer)
    values = {
        "titles": [draft.title for draft in drafts],
        "isbns": [draft.isbn13 for draft in drafts],
        "years": [draft.publication_year for draft in drafts],
        "languages": [draft.language for draft in drafts],
    }
    added: dict[int, int] = dict(session.execute(_ADD, values).all())
    if len(added) < len(drafts):
        raise _isbn_taken_error(session, drafts, pointer)
    ids = [added[place] for place in range(len(drafts))]
    books = dict(zip(ids, drafts, strict=True))
    link_authors(session, books)
    link_genres(session, books)
    search.refresh_documents(session, ids)
    return ids


def link_authors(session: Session, books: Mapping[int, BookInput]) -> None:
    """Writes the authors of books that have none yet."""
    rows = [
        (book_id, position, author_id)
        for book_id, draft in books.items()
        for position, author_id in enumerate(draft.author_ids)
    ]
    if rows:
        book_ids, positions, author_ids = map(list, zip(*rows, strict=True))
        session.execute(_ADD_AUTHORS, {"books": book_ids, "positions": positions, "authors": author_ids})


def link_genres(session: Session, books: Mapping[int, BookInput]) -> None:
    """Writes the genres of books that have none yet."""
    rows = [(book_id, genre_id) for book_id, draft in books.items() for genre_id in draft.genre_ids]
    if rows:
        book_ids, genre_ids = map(list, zip(*rows, strict=True))
        session.execute(_ADD_GENRES, {"books": book_ids, "genres": genre_ids})


def check_references(
    session: Session, drafts: Sequence[BookInput], pointer: Pointer, members: Collection[str] = REFERENCES
) -> None:
    """Raises ApiError `invalid_body` with each author and genre of the drafts that does not exist."""
    mistakes: list[FieldError] = []
    for member in members:
        what, known = _KNOWN[member]
        wanted = {one for draft in drafts for one in getattr(draft, member)}
        if not wanted:
            continue
        missing = wanted - set(session.scalars(known, {"ids": sorted(wanted)}))
        mistakes += [
            FieldError(f"There is no {what} {one}.", pointer=f"{pointer(place)}/{member}/{number}")
            for place, draft in enumerate(drafts)
            for number, one in enumerate(getattr(draft, member))
            if one in missing
        ]
    if mistakes:
        raise ApiError("invalid_body", "The body names authors or genres that do not exist.", *mistakes[:100])


def _check_isbns(drafts: Sequence[BookInput], pointer: Pointer) -> None:
    seen: dict[str, int] = {}
    mistakes = []
    for place, draft in enumerate(drafts):
        if draft.isbn13 is not None and (first := seen.setdefault(draft.isbn13, place)) != place:
            mistakes.append(FieldError(f"Item {first} has the same ISBN.", pointer=f"{pointer(place)}/isbn13"))
    if mistakes:
        raise ApiError("invalid_body", f"{len(mistakes)} ISBNs stand in the body twice.", *mistakes[:100])


def _isbn_taken_error(session: Session, drafts: Sequence[BookInput], pointer: Pointer) -> ApiError:
    return isbn_taken_error(
        session, {draft.isbn13: pointer(place) for place, draft in enumerate(drafts) if draft.isbn13}
    )


def isbn_taken_error(session: Session, pointers: dict[str, str]) -> ApiError:
    """The ApiError that names the books which have these ISBNs."""
    found: Iterator[tuple[str, int]] = iter(session.execute(_BY_ISBN, {"isbns": list(pointers)}))
    mistakes = [
        FieldError(f"/books/{book_id} has the ISBN {isbn13}.", pointer=f"{pointers[isbn13]}/isbn13")
        for isbn13, book_id in found
    ]
    detail = mistakes[0].detail if len(mistakes) == 1 else f"{len(mistakes)} of the books are there already."
    return ApiError("isbn_taken", detail, *mistakes[:100])
