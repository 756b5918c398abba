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
        self._reader = reader(loading)

    def page(self, after: int, limit: int) -> schemas.BookPage:
        """Up to `limit` books whose ids follow `after`, by the primary key's index: the last page of a
        million costs what the first one costs."""
        books, last_id = self._reader.page(self._in, _after(limit), {"after": after})
        return schemas.BookPage(books, None if last_id is None else cursor.encode(last_id))

    def one(self, book_id: int) -> schemas.Book | None:
        """The book of this id, or None."""
        return self._reader.one(self._in, _ONE, {"id": book_id})
