"""Books: found by query, id and ISBN, by the profile's loading strategy; added, changed, removed."""

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
# Not now(), when the transaction began: it may have waited for a later one.
_REPLACE: Final = sa.text("""
    UPDATE book SET title = :title, isbn13 = :isbn13, publication_year = :publication_year, language = :language,
        version = version + 1, updated_at = clock_timestamp() WHERE id = :id""")
_UNLINK_AUTHORS: Final = sa.text("DELETE FROM book_author WHERE book_id = :id")
_UNLINK_GENRES: Final = sa.text("DELETE FROM book_genre WHERE book_id = :id")
_REMOVE: Final = sa.text("DELETE FROM book WHERE id = :id")
_ALL_BOOKS: Final[Any] = sa.select(Book)  # advanced-alchemy's hint is of SQLAlchemy 2.0


class BookRepository(SQLAlchemySyncRepository[Book]):
    """Books as they go over the wire."""

    model_type = Book

    def __init__(self, session: Session, loading: Loading) -> None:
        super().__init__(session=session, statement=_ALL_BOOKS, wrap_exceptions=False)
        self._session = session
        self._reader = reader(loading)

    def page(self, query: BookQuery) -> schemas.Representation:
        """The page of books that `query` asks for, and the state it was read in."""
        found = resolve(self._session, query)
        books, place, state = self._reader.page(self._session, found.selection, found.parameters)
        # After the books: the state may be older than what is shown, never newer.
        total = fetch(self._session, found.whole, found.parameters)[0][0] if query.total else UNSET
        tag = state and (found.state or state)
        return schemas.Representation(schemas.BookPage(books, found.next_cursor(query, place), total), tag)

    def state(self, **key: Any) -> schemas.Representation | None:
        """The validators of the book of this `id` or `isbn13`, without the book; None where there is none."""
        found = validators(self._session, _selection(key), key)
        return None if found is None else schemas.Representation(None, *found)

    def find(self, **key: Any) -> schemas.Representation | None:
        """The book of this `id` or `isbn13` and its validators, or None."""
        found = self._reader.book(self._session, _selection(key), key)
        return None if found is None else schemas.Representation(*found)

    def create(self, draft: BookInput) -> int:
        """Adds a book and returns its id. Raises ApiError as `shelving.add`."""
        (book_id,) = book_writes.add(self._session, [draft], lambda _: "")
        return book_id

    def create_all(self, drafts: Sequence[BookInput]) -> list[int]:
        """Adds all the books or none, and returns their ids. Raises ApiError as `shelving.add`."""
        return book_writes.add(self._session, drafts, lambda place: f"/items/{place}")

    def change(
        self, book_id: int, check: Precondition, edit: Callable[[BookInput], BookInput]
    ) -> schemas.Representation | None:
        """Makes what `edit` makes of the book, as a draft, its next version; None where there is no book.

        `check` is given the tag of the state that is changed, which nobody else changes until the commit,
        and raises ApiError where it is another one than was meant. Nothing to change is no new version.
        """
        if not self._locked(book_id, check):
            return None
        was = BookInput(**self._session.execute(_READ_INPUT, {"id": book_id}).mappings().one())
        draft = edit(was)
        if draft != was:
            self._replace(book_id, was, draft)
        return self.find(id=book_id)

    def remove(self, book_id: int, check: Precondition) -> bool:
        """Removes the book; False where there is none. `check` as for `change`."""
        if not self._locked(book_id, check):
            return False
        self._session.execute(_REMOVE, {"id": book_id})
        return True

    def _locked(self, book_id: int, check: Precondition) -> bool:
        # A statement of its own: the next one sees what those committed whom this one waited for.
        if not self._session.scalar(_LOCK, {"id": book_id}):
            return False
        state = self.state(id=book_id)
        assert state is not None
        assert state.tag is not None
        check(state.tag)
        return True

    def _replace(self, book_id: int, was: BookInput, draft: BookInput) -> None:
        changed = {name for name in draft.__struct_fields__ if getattr(draft, name) != getattr(was, name)}
        references = [name for name in book_writes.REFERENCES if name in changed]
        book_writes.check_references(self._session, [draft], lambda _: "", references)
        columns = {name: getattr(draft, name) for name in ("title", "isbn13", "publication_year", "language")}
        if "isbn13" in changed and draft.isbn13 and self._session.scalar(_ISBN_TAKEN, {"isbn13": draft.isbn13}):
            raise book_writes.isbn_taken_error(self._session, {draft.isbn13: ""})
        self._session.execute(_REPLACE, {"id": book_id, **columns})
        if "author_ids" in changed:
            self._session.execute(_UNLINK_AUTHORS, {"id": book_id})
            book_writes.link_authors(self._session, {book_id: draft})
        if "genre_ids" in changed:
            self._session.execute(_UNLINK_GENRES, {"id": book_id})
            book_writes.link_genres(self._session, {book_id: draft})
        if changed & {"title", "author_ids"}:
            search.refresh_documents(self._session, [book_id])


def _selection(key: dict[str, Any]) -> Selection:
    return BY_ISBN if "isbn13" in key else BY_ID
