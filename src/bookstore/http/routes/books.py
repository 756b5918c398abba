"""/books: read the catalogue."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import PathParameter, SkipValidation
from sqlalchemy.orm import Session

from bookstore.catalog import isbn, schemas
from bookstore.catalog.repositories import BookQuery, BookRepository
from bookstore.database.unit_of_work import Database
from bookstore.exceptions import ApiError
from bookstore.http import authorization
from bookstore.http.openapi.operations import ETAG, ISBN, LINK, problems
from bookstore.http.routes import responses

Isbn = Annotated[str, PathParameter(min_length=1, max_length=20, description="ISBN-13 or ISBN-10.", schema_extra=ISBN)]


class BookController(Controller):
    path = "/books"
    tags = ("Books",)

    @get(
        opt=authorization.PUBLIC,
        operation_id="listBooks",
        summary="List books",
        response_headers=[ETAG, LINK],
        dependencies={"asked": Provide(responses.book_query, sync_to_thread=False)},
    )
    async def list_books(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        asked: NamedDependency[SkipValidation[BookQuery]],
        author_id: responses.AuthorId = None,
        genre: responses.Genre = None,
    ) -> Response[schemas.BookPage]:
        """A page of the catalogue. Follow `next_cursor`, or the Link, until there is none."""
        return await responses.books(request, database, asked, author_id=author_id, genre=genre)

    @get(
        "/{book_id:int}",
        opt=authorization.PUBLIC,
        operation_id="getBook",
        summary="Read one book",
        response_headers=[ETAG],
        responses=problems("not_found"),
    )
    async def get_book(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        book_id: responses.Id,
    ) -> Response[schemas.Book]:
        """One book with its authors and genres."""
        return await _single(request, database, f"There is no book {book_id}.", id=book_id)

    @get(
        "/isbn/{number:str}",
        opt=authorization.PUBLIC,
        operation_id="getBookByIsbn",
        summary="Read the book of an ISBN",
        response_headers=[ETAG],
        responses=problems("not_found"),
    )
    async def get_book_by_isbn(
        self, request: Request[Any, Any, Any], database: NamedDependency[SkipValidation[Database]], number: Isbn
    ) -> Response[schemas.Book]:
        """One book with its authors and genres, found by its ISBN-13 or ISBN-10, with or without hyphens."""
        found = isbn.to_isbn13(number, restore_zeros=False)
        if found is None:
            raise ApiError("not_found", "This is no ISBN: its check digit is wrong, or it has not 13 or 10 digits.")
        return await _single(request, database, f"There is no book with the ISBN {found}.", isbn13=found)


async def _single(request: Request[Any, Any, Any], database: Database, missing: str, **key: Any) -> Response[Any]:
    def read(session: Session) -> schemas.Seen | None:
        return BookRepository(session, database.profile.loading).one(**key)

    def state(session: Session) -> schemas.Seen | None:
        return BookRepository(session, database.profile.loading).state(**key)

    return await responses.single(request, database, read, state, missing)
