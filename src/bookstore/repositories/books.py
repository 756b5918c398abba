"""Books: found by query, id and ISBN, by the profile's loading strategy."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from advanced_alchemy.repository import SQLAlchemySyncRepository
from msgspec import UNSET
from sqlalchemy.orm import Session

from bookstore import schemas
from bookstore.loading import BY_ID, BY_ISBN, Selection, fetch, reader, validators
from bookstore.models import Book
from bookstore.profile import Loading
from bookstore.repositories.query import BookQuery, understand

_EVERY_BOOK: Final[Any] = sa.select(Book)  # advanced-alchemy's hint is of SQLAlchemy 2.0


class BookRepository(SQLAlchemySyncRepository[Book]):
    """Books as they go over the wire."""

    model_type = Book

    def __init__(self, session: Session, loading: Loading) -> None:
        super().__init__(session=session, statement=_EVERY_BOOK, wrap_exceptions=False)
        self._in = session
        self._reader = reader(loading)

    def page(self, query: BookQuery) -> schemas.Seen:
        """The page of books that `query` asks for, and the state it was read in."""
        found = understand(self._in, query)
        total = fetch(self._in, found.whole, found.parameters)[0][0] if query.total else UNSET
        books, place, state = self._reader.page(self._in, found.selection, found.parameters)
        return schemas.Seen(schemas.BookPage(books, found.next_cursor(query, place), total), state)

    def state(self, **key: Any) -> schemas.Seen | None:
        """The validators of the book of this `id` or `isbn13`, without the book; None where there is none."""
        found = validators(self._in, _one(key), key)
        return None if found is None else schemas.Seen(None, *found)

    def one(self, **key: Any) -> schemas.Seen | None:
        """The book of this `id` or `isbn13` and its validators, or None."""
        found = self._reader.one(self._in, _one(key), key)
        return None if found is None else schemas.Seen(*found)


def _one(key: dict[str, Any]) -> Selection:
    return BY_ISBN if "isbn13" in key else BY_ID
