"""/books: read and change books, one or many at once."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, patch, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import PathParameter, SkipValidation
from sqlalchemy.orm import Session

from bookstore.catalog import isbn, schemas
from bookstore.catalog.inputs import BookBatch, BookInput
from bookstore.catalog.repositories import BookQuery, BookRepository
from bookstore.database.unit_of_work import Database
from bookstore.exceptions import ApiError
from bookstore.http import authorization
from bookstore.http.openapi.operations import ETAG, ISBN, LINK, LOCATION, body, merge_patch, problems
from bookstore.http.request_body import LARGEST_BATCH
from bookstore.http.routes import list_parameters, mutations, responses
from bookstore.http.routes.mutations import Check, IdempotencyKey, IfMatch

Isbn = Annotated[str, PathParameter(min_length=1, max_length=20, description="ISBN-13 or ISBN-10.", schema_extra=ISBN)]


class BookController(Controller):
    path = "/books"
    tags = ("Books",)

    @get(
        opt=authorization.PUBLIC,
        operation_id="listBooks",
        summary="List books",
        response_headers=[ETAG, LINK],
        dependencies={"asked": Provide(list_parameters.book_query, sync_to_thread=False)},
    )
    async def list_books(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        asked: NamedDependency[SkipValidation[BookQuery]],
        author_id: list_parameters.AuthorId = None,
        genre: list_parameters.Genre = None,
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
        book_id: list_parameters.Id,
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
    def read(session: Session) -> schemas.Representation | None:
        return BookRepository(session, database.profile.loading).find(**key)

    def state(session: Session) -> schemas.Representation | None:
        return BookRepository(session, database.profile.loading).state(**key)

    return await responses.single(request, database, read, state, missing)


Db = NamedDependency[SkipValidation[Database]]

_ONE = "/{book_id:int}"


class BookEditor(BookController):
    """Reading and writing: Litestar lets no second controller have the paths of a first one."""

    opt = authorization.WRITE

    @post(
        operation_id="createBook",
        summary="Add a book",
        operation_class=body(BookInput),
        response_headers=[ETAG, LOCATION],
        responses=problems("isbn_taken", "idempotency_key_reused"),
    )
    async def create_book(
        self, request: Request[Any, Any, Any], database: Db, idempotency_key: IdempotencyKey = None
    ) -> Response[schemas.Book]:
        """The book is there when the answer is. Where its ISBN is another book's, the answer names that one."""
        draft = await mutations.draft(request, BookInput)

        def make(session: Session) -> schemas.StoredResponse:
            books = BookRepository(session, database.profile.loading)
            book_id = books.create(draft)
            return mutations.created("/books", book_id, books.find(id=book_id))

        return await mutations.create(request, database, idempotency_key, make)

    @put(
        _ONE,
        operation_id="replaceBook",
        summary="Replace a book",
        operation_class=body(BookInput),
        response_headers=[ETAG],
        responses=problems("not_found", "isbn_taken", "stale", "if_match_required"),
    )
    async def replace_book(
        self, request: Request[Any, Any, Any], database: Db, book_id: list_parameters.Id, if_match: IfMatch = None
    ) -> Response[schemas.Book]:
        """All of the book becomes what the body says; what it leaves out becomes null or empty."""
        draft = await mutations.draft(request, BookInput)
        return await _changed(database, book_id, if_match, lambda _: draft)

    @patch(
        _ONE,
        operation_id="changeBook",
        summary="Change a book",
        operation_class=merge_patch(BookInput),
        response_headers=[ETAG],
        responses=problems("not_found", "isbn_taken", "stale", "if_match_required"),
    )
    async def change_book(
        self, request: Request[Any, Any, Any], database: Db, book_id: list_parameters.Id, if_match: IfMatch = None
    ) -> Response[schemas.Book]:
        """Members of the body take the place of the book's, null takes them away (RFC 7396)."""
        return await _changed(database, book_id, if_match, await mutations.edit(request, BookInput))

    @delete(_ONE, operation_id="deleteBook", summary="Remove a book", responses=problems("not_found", "stale"))
    async def delete_book(self, database: Db, book_id: list_parameters.Id, if_match: IfMatch = None) -> None:
        """Its authors and genres stay."""

        def work(session: Session, check: Check) -> bool:
            return BookRepository(session, database.profile.loading).remove(book_id, check)

        await mutations.remove(database, if_match, work, _missing(book_id))


@post(
    "/books:batch",
    opt=authorization.WRITE,
    tags=["Books"],
    operation_id="createBooks",
    summary="Add many books",
    operation_class=body(BookBatch),
    request_max_body_size=LARGEST_BATCH,
    responses=problems("isbn_taken", "idempotency_key_reused"),
)
async def create_books(
    request: Request[Any, Any, Any], database: Db, idempotency_key: IdempotencyKey = None
) -> Response[schemas.NewBooks]:
    """Up to 1,000 books, all of them or none."""
    batch = await mutations.batch(request)

    def make(session: Session) -> schemas.StoredResponse:
        ids = BookRepository(session, database.profile.loading).create_all(batch)
        return mutations.made(schemas.NewBooks(ids))

    return await mutations.create(request, database, idempotency_key, make)


async def _changed(database: Database, book_id: int, if_match: str | None, edit: Any) -> Response[Any]:
    def work(session: Session, check: Check) -> schemas.Representation | None:
        return BookRepository(session, database.profile.loading).change(book_id, check, edit)

    return await mutations.change(database, if_match, work, _missing(book_id))


def _missing(book_id: int) -> str:
    return f"There is no book {book_id}."
