"""rows: Core rows grouped into structs; no ORM object is made."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore import schemas
from bookstore.loading.selection import COLUMNS, Found, Parameters, Selection, author, fetch, genre
from bookstore.models import book_author, book_genre

_IDS: Final = sa.bindparam("ids", type_=sa.ARRAY(sa.BigInteger))

# One statement serves every page: an array is one parameter, IN (…) would be a statement for each length.
_AUTHORS_OF: Final = (
    sa.select(book_author.c.book_id, author.c.id, author.c.name)
    .join_from(book_author, author)
    .where(book_author.c.book_id == sa.any_(_IDS))
    .order_by(book_author.c.book_id, book_author.c.position)
)
_GENRES_OF: Final = (
    sa.select(book_genre.c.book_id, genre.c.id, genre.c.name)
    .join_from(book_genre, genre)
    .where(book_genre.c.book_id == sa.any_(_IDS))
    .order_by(book_genre.c.book_id, book_genre.c.genre_id)
)


class RowsReader:
    """Three statements: the books, all their authors, all their genres."""

    def page(self, session: Session, selection: Selection, parameters: Parameters) -> Found:
        found = fetch(session, _books(selection), parameters)
        rows = found[: selection.limit]
        if not rows:
            return Found([], None)
        ids = {"ids": [row[0] for row in rows]}
        authors = defaultdict[int, list[schemas.Author]](list)
        for book_id, author_id, name in fetch(session, _AUTHORS_OF, ids):
            authors[book_id].append(schemas.Author(author_id, name))
        genres = defaultdict[int, list[schemas.Genre]](list)
        for book_id, genre_id, name in fetch(session, _GENRES_OF, ids):
            genres[book_id].append(schemas.Genre(genre_id, name))
        books = [
            schemas.Book(book_id, title, isbn13, year, language, authors[book_id], genres[book_id])
            for book_id, title, isbn13, year, language in rows
        ]
        return Found(books, books[-1].id if len(found) > selection.limit else None)

    def one(self, session: Session, selection: Selection, parameters: Parameters) -> schemas.Book | None:
        return next(iter(self.page(session, selection, parameters).books), None)


@lru_cache(maxsize=512)
def _books(selection: Selection) -> sa.Select[Any]:
    return selection.apply(sa.select(*COLUMNS))
