"""/books: read the catalogue."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter, SkipValidation
from sqlalchemy.orm import Session

from bookstore import cursor as cursors
from bookstore import schemas
from bookstore.database import Database
from bookstore.faults import Fault, Mistake
from bookstore.repositories import BookRepository

DEFAULT_LIMIT = 20
LARGEST_LIMIT = 200
LARGEST_ID = 2**63 - 1

Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_LIMIT, description="How many books at most")]
Cursor = Annotated[str | None, QueryParameter(description="`next_cursor` of the page before")]
BookId = Annotated[int, PathParameter(ge=1, le=LARGEST_ID)]


class BookController(Controller):
    path = "/books"
    tags = ("Books",)

    @get(operation_id="listBooks", summary="List books")
    async def list_books(
        self,
        database: NamedDependency[SkipValidation[Database]],
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> schemas.BookPage:
        """A page of the catalogue, sorted by id. Follow `next_cursor` until it is null."""
        after = _decoded(cursor)

        def work(session: Session) -> schemas.BookPage:
            return BookRepository(session, database.profile.loading).page(after, limit)

        return await database.run(work, reading=True)

    @get("/{book_id:int}", operation_id="getBook", summary="Read one book")
    async def get_book(self, database: NamedDependency[SkipValidation[Database]], book_id: BookId) -> schemas.Book:
        """One book with its authors and genres."""

        def work(session: Session) -> schemas.Book | None:
            return BookRepository(session, database.profile.loading).one(book_id)

        book = await database.run(work, reading=True)
        if book is None:
            raise Fault("not_found", f"There is no book {book_id}.")
        return book


def _decoded(cursor: str | None) -> int:
    if cursor is None:
        return cursors.START
    try:
        return cursors.decode(cursor)
    except ValueError:
        wrong = Mistake("Not a cursor of this service; take next_cursor as it came.", parameter="cursor")
        raise Fault("invalid_parameter", "A parameter of the request is not valid.", wrong) from None
