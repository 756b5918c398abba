"""Find and store. Repositories work in the session they are given and never commit."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from advanced_alchemy.repository import SQLAlchemySyncRepository
from sqlalchemy.orm import Session

from bookstore import cursor, schemas
from bookstore.loading import Selection, book, reader
from bookstore.models import Book
from bookstore.profile import Loading

_EVERY_BOOK: Final[Any] = sa.select(Book)  # advanced-alchemy's hint is of SQLAlchemy 2.0
_ONE: Final = Selection(book.c.id == sa.bindparam("id", type_=sa.BigInteger), limit=1)


@lru_cache(maxsize=256)
def _after(limit: int) -> Selection:
    return Selection(book.c.id > sa.bindparam("after", type_=sa.BigInteger), limit=limit)


class BookRepository(SQLAlchemySyncRepository[Book]):
    """Books as they go over the wire, read by the profile's loading strategy."""

    model_type = Book

    def __init__(self, session: Session, loading: Loading) -> None:
        super().__init__(session=session, statement=_EVERY_BOOK)
        self._in = session
        self._read = reader(loading)

    def page(self, after: int, limit: int) -> schemas.BookPage:
        """Up to `limit` books whose ids follow `after`, by the primary key's index: the last page of a
        million costs what the first one costs."""
        books, more = self._read(self._in, _after(limit), {"after": after})
        last = next(reversed(books)) if more else None
        return schemas.BookPage(list(books.values()), cursor.encode(last) if last else None)

    def one(self, book_id: int) -> schemas.Book | None:
        """The book of this id, or None."""
        return self._read(self._in, _ONE, {"id": book_id}).books.get(book_id)
