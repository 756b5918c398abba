"""Books: reading with the profile's loading strategy by query, id and ISBN; creating, changing and removing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from advanced_alchemy.repository import SQLAlchemySyncRepository
from msgspec import UNSET
from sqlalchemy.orm import Session

from bookstore.catalog import schemas, search
from bookstore.catalog.inputs import BookInput
from bookstore.catalog.loading import BY_ID, BY_ISBN, Selection, fetch, reader, validators
from bookstore.catalog.models import Book
from bookstore.catalog.repositories import book_writes
from bookstore.catalog.repositories.book_query import BookQuery, resolve
from bookstore.profile.engine_profile import Loading

Precondition = Callable[[str], None]

_LOCK: Final = sa.text("SELECT true FROM book WHERE id = :id FOR UPDATE")
_READ_INPUT: Final = sa.text("""
    SELECT title, isbn13, publication_year, language,
        ARRAY(SELECT author_id FROM book_author WHERE book_id = id ORDER BY position) AS author_ids,
        ARRAY(SELECT genre_id FROM book_genre WHERE book_id = id ORDER BY genre_id) AS genre_ids
    FROM book WHERE id = :id""")
_ISBN_TAKEN: Final = sa.text("SELECT true FROM book WHERE isbn13 = :isbn13")
# now() is the start of the transaction, which may have waited for a later one.
_REPLACE: Final = sa.text("""
    UPDATE book SET title = :title, isbn13 = :isbn13, publication_year = :publication_year, language = :language,
        version = version + 1, updated_at = clock_timestamp() WHERE id = :id""")
_UNLINK_AUTHORS: Final = sa.text("DELETE FROM book_author WHERE book_id = :id")
_UNLINK_GENRES: Final = sa.text("DELETE FROM book_genre WHERE book_id = :id")
_REMOVE: Final = sa.text("DELETE FROM book WHERE id = :id")
_ALL_BOOKS: Final[Any] = sa.select(Book)  # advanced-alchemy's type hint is for SQLAlchemy 2.0


class BookRepository(SQLAlchemySyncRepository[Book]):
    """Reads books as response structs and writes validated inputs."""

    model_type = Book

    def __init__(self, session: Session, loading: Loading) -> None:
        super().__init__(session=session, statement=_ALL_BOOKS, wrap_exceptions=False)
        self._session = session
        self._reader = reader(loading)

    def page(self, query: BookQuery) -> schemas.Representation:
        """Return the requested page and the state of the database when it was read."""
        resolved = resolve(self._session, query)
        books, last_key, state = self._reader.page(self._session, resolved.selection, resolved.parameters)
        next_cursor = resolved.next_cursor(self._session, query, last_key)
        # After the books: the state may be older than the response, never newer.
        total = fetch(self._session, resolved.count_statement, resolved.parameters)[0][0] if query.total else UNSET
        tag = state and (resolved.state or state)
        return schemas.Representation(schemas.BookPage(books, next_cursor, total), tag)

    def state(self, **key: Any) -> schemas.Representation | None:
        """Return the validators of the book with this `id` or `isbn13`, without the book; None if there is none."""
        tag_and_time = validators(self._session, _selection(key), key)
        return None if tag_and_time is None else schemas.Representation(None, *tag_and_time)

    def find(self, **key: Any) -> schemas.Representation | None:
        """Return the book with this `id` or `isbn13` and its validators, or None."""
        loaded = self._reader.book(self._session, _selection(key), key)
        return None if loaded is None else schemas.Representation(*loaded)

    def create(self, book: BookInput) -> int:
        """Insert a book and return its id. Raises ApiError as `book_writes.add`."""
        (book_id,) = book_writes.add(self._session, [book], lambda _: "")
        return book_id

    def create_all(self, books: Sequence[BookInput]) -> list[int]:
        """Insert all books or none and return their ids. Raises ApiError as `book_writes.add`."""
        return book_writes.add(self._session, books, lambda index: f"/items/{index}")

    def change(
        self, book_id: int, precondition: Precondition, edit: Callable[[BookInput], BookInput]
    ) -> schemas.Representation | None:
        """Replace the book by the result of `edit`; return the new version, or None if there is no book.

        `precondition` receives the tag of the current state, which is locked until the commit, and raises ApiError if
        the client expected another. An edit without changes makes no new version.
        """
        if not self._lock(book_id, precondition):
            return None
        old = BookInput(**self._session.execute(_READ_INPUT, {"id": book_id}).mappings().one())
        new = edit(old)
        if new != old:
            self._replace(book_id, old, new)
        return self.find(id=book_id)

    def remove(self, book_id: int, precondition: Precondition) -> bool:
        """Delete the book; return False if there is none. `precondition` as for `change`."""
        if not self._lock(book_id, precondition):
            return False
        self._session.execute(_REMOVE, {"id": book_id})
        return True

    def _lock(self, book_id: int, precondition: Precondition) -> bool:
        # A separate statement: only the next one sees what the transactions committed that this one waited for.
        if not self._session.scalar(_LOCK, {"id": book_id}):
            return False
        state = self.state(id=book_id)
        assert state is not None
        assert state.tag is not None
        precondition(state.tag)
        return True

    def _replace(self, book_id: int, old: BookInput, new: BookInput) -> None:
        changed = {name for name in new.__struct_fields__ if getattr(new, name) != getattr(old, name)}
        references = [name for name in book_writes.REFERENCES if name in changed]
        book_writes.check_references(self._session, [new], lambda _: "", references)
        columns = {name: getattr(new, name) for name in ("title", "isbn13", "publication_year", "language")}
        if "isbn13" in changed and new.isbn13 and self._session.scalar(_ISBN_TAKEN, {"isbn13": new.isbn13}):
            raise book_writes.isbn_taken_error(self._session, {new.isbn13: ""})
        self._session.execute(_REPLACE, {"id": book_id, **columns})
        if "author_ids" in changed:
            self._session.execute(_UNLINK_AUTHORS, {"id": book_id})
            book_writes.link_authors(self._session, {book_id: new})
        if "genre_ids" in changed:
            self._session.execute(_UNLINK_GENRES, {"id": book_id})
            book_writes.link_genres(self._session, {book_id: new})
        if changed & {"title", "author_ids"}:
            search.refresh_documents(self._session, [book_id])


def _selection(key: dict[str, Any]) -> Selection:
    return BY_ISBN if "isbn13" in key else BY_ID
