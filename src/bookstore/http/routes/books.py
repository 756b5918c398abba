"""/books: read and change books, individually or in bulk."""

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

Isbn = Annotated[
    str, PathParameter(min_length=1, max_length=20, description="An ISBN-13 or ISBN-10.", schema_extra=ISBN)
]


class BookController(Controller):
    path = "/books"
    tags = ("Books",)

    @get(
        opt=authorization.PUBLIC,
        operation_id="listBooks",
        summary="List books",
        response_headers=[ETAG, LINK],
        dependencies={"list_query": Provide(list_parameters.book_query, sync_to_thread=False)},
    )
    async def list_books(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        list_query: NamedDependency[SkipValidation[BookQuery]],
        author_id: list_parameters.AuthorId = None,
        genre: list_parameters.Genre = None,
    ) -> Response[schemas.BookPage]:
        """Returns a page of books. To get the next page, follow `next_cursor` or the `Link` header."""
        return await responses.book_page(request, database, list_query, author_id=author_id, genre=genre)

    @get(
        "/{book_id:int}",
        opt=authorization.PUBLIC,
        operation_id="getBook",
        summary="Get a book",
        response_headers=[ETAG],
        responses=problems("not_found"),
    )
    async def get_book(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        book_id: list_parameters.Id,
    ) -> Response[schemas.Book]:
        """Returns a book with its authors and genres."""
        return await _book_response(request, database, f"There is no book {book_id}.", id=book_id)

    @get(
        "/isbn/{number:str}",
        opt=authorization.PUBLIC,
        operation_id="getBookByIsbn",
        summary="Get a book by ISBN",
        response_headers=[ETAG],
        responses=problems("not_found"),
    )
    async def get_book_by_isbn(
        self, request: Request[Any, Any, Any], database: NamedDependency[SkipValidation[Database]], number: Isbn
    ) -> Response[schemas.Book]:
        """Returns the book with this ISBN-13 or ISBN-10 (hyphens are optional), with its authors and genres."""
        isbn13 = isbn.to_isbn13(number, restore_zeros=False)
        if isbn13 is None:
            detail = "This is not a valid ISBN: it requires 13 or 10 digits with a correct check digit."
            raise ApiError("not_found", detail)
        return await _book_response(request, database, f"There is no book with the ISBN {isbn13}.", isbn13=isbn13)


async def _book_response(
    request: Request[Any, Any, Any], database: Database, missing: str, **key: Any
) -> Response[Any]:
    def read(session: Session) -> schemas.Representation | None:
        return BookRepository(session, database.profile.loading).find(**key)

    def state(session: Session) -> schemas.Representation | None:
        return BookRepository(session, database.profile.loading).state(**key)

    return await responses.resource(request, database, read, state, missing)


Db = NamedDependency[SkipValidation[Database]]

_RESOURCE = "/{book_id:int}"


class BookEditor(BookController):
    """Reading and writing in one controller, because Litestar does not let two controllers share paths."""

    opt = authorization.WRITE

    @post(
        operation_id="createBook",
        summary="Create a book",
        operation_class=body(BookInput),
        response_headers=[ETAG, LOCATION],
        responses=problems("isbn_taken", "idempotency_key_reused"),
    )
    async def create_book(
        self, request: Request[Any, Any, Any], database: Db, idempotency_key: IdempotencyKey = None
    ) -> Response[schemas.Book]:
        """Creates a book. The response follows the commit. If another book has the ISBN, it is a 409 that names it."""
        book = await mutations.read_input(request, BookInput)

        def make(session: Session) -> schemas.StoredResponse:
            books = BookRepository(session, database.profile.loading)
            book_id = books.create(book)
            return mutations.created_answer("/books", book_id, books.find(id=book_id))

        return await mutations.create(request, database, idempotency_key, make)

    @put(
        _RESOURCE,
        operation_id="replaceBook",
        summary="Replace a book",
        operation_class=body(BookInput),
        response_headers=[ETAG],
        responses=problems("not_found", "isbn_taken", "stale", "if_match_required"),
    )
    async def replace_book(
        self, request: Request[Any, Any, Any], database: Db, book_id: list_parameters.Id, if_match: IfMatch = None
    ) -> Response[schemas.Book]:
        """Replaces the whole book: members missing from the body become null or empty."""
        book = await mutations.read_input(request, BookInput)
        return await _change(database, book_id, if_match, lambda _: book)

    @patch(
        _RESOURCE,
        operation_id="changeBook",
        summary="Update a book",
        operation_class=merge_patch(BookInput),
        response_headers=[ETAG],
        responses=problems("not_found", "isbn_taken", "stale", "if_match_required"),
    )
    async def change_book(
        self, request: Request[Any, Any, Any], database: Db, book_id: list_parameters.Id, if_match: IfMatch = None
    ) -> Response[schemas.Book]:
        """Updates the members in the body and leaves all others unchanged; null clears a member (RFC 7396)."""
        return await _change(database, book_id, if_match, await mutations.read_patch(request, BookInput))

    @delete(_RESOURCE, operation_id="deleteBook", summary="Delete a book", responses=problems("not_found", "stale"))
    async def delete_book(self, database: Db, book_id: list_parameters.Id, if_match: IfMatch = None) -> None:
        """Deletes the book. Its authors and genres remain."""

        def work(session: Session, check: Check) -> bool:
            return BookRepository(session, database.profile.loading).remove(book_id, check)

        await mutations.remove(database, if_match, work, _missing_detail(book_id))


@post(
    "/books:batch",
    opt=authorization.WRITE,
    tags=["Books"],
    operation_id="createBooks",
    summary="Create books in bulk",
    operation_class=body(BookBatch),
    request_max_body_size=LARGEST_BATCH,
    responses=problems("isbn_taken", "idempotency_key_reused"),
)
async def create_books(
    request: Request[Any, Any, Any], database: Db, idempotency_key: IdempotencyKey = None
) -> Response[schemas.NewBooks]:
    """Creates up to 1,000 books: either all of them or none."""
    batch = await mutations.read_batch(request)

    def make(session: Session) -> schemas.StoredResponse:
        ids = BookRepository(session, database.profile.loading).create_all(batch)
        return mutations.batch_answer(schemas.NewBooks(ids))

    return await mutations.create(request, database, idempotency_key, make)


async def _change(database: Database, book_id: int, if_match: str | None, edit: Any) -> Response[Any]:
    def work(session: Session, check: Check) -> schemas.Representation | None:
        return BookRepository(session, database.profile.loading).change(book_id, check, edit)

    return await mutations.change(database, if_match, work, _missing_detail(book_id))


def _missing_detail(book_id: int) -> str:
    return f"There is no book {book_id}."
