"""/books: write the catalogue."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, patch, post, put
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from sqlalchemy.orm import Session

from bookstore.catalog import schemas
from bookstore.catalog.inputs import BookBatch, BookDraft
from bookstore.catalog.repositories import BookRepository
from bookstore.database.unit_of_work import Database
from bookstore.http import authorization
from bookstore.http.openapi.operations import ETAG, LOCATION, body, merge_patch, problems
from bookstore.http.request_body import LARGEST_BATCH
from bookstore.http.routes import mutations, responses
from bookstore.http.routes.books import BookController
from bookstore.http.routes.mutations import Check, IdempotencyKey, IfMatch

Db = NamedDependency[SkipValidation[Database]]
_ONE = "/{book_id:int}"


class BookEditor(BookController):
    """Reading and writing: Litestar lets no second controller have the paths of a first one."""

    opt = authorization.WRITE

    @post(
        operation_id="createBook",
        summary="Add a book",
        operation_class=body(BookDraft),
        response_headers=[ETAG, LOCATION],
        responses=problems("isbn_taken", "idempotency_key_reused"),
    )
    async def create_book(
        self, request: Request[Any, Any, Any], database: Db, idempotency_key: IdempotencyKey = None
    ) -> Response[schemas.Book]:
        """The book is there when the answer is. Where its ISBN is another book's, the answer names that one."""
        draft = await mutations.draft(request, BookDraft)

        def make(session: Session) -> schemas.Answer:
            books = BookRepository(session, database.profile.loading)
            book_id = books.create(draft)
            return mutations.created("/books", book_id, books.one(id=book_id))

        return await mutations.create(request, database, idempotency_key, make)

    @put(
        _ONE,
        operation_id="replaceBook",
        summary="Replace a book",
        operation_class=body(BookDraft),
        response_headers=[ETAG],
        responses=problems("not_found", "isbn_taken", "stale", "if_match_required"),
    )
    async def replace_book(
        self, request: Request[Any, Any, Any], database: Db, book_id: responses.Id, if_match: IfMatch = None
    ) -> Response[schemas.Book]:
        """All of the book becomes what the body says; what it leaves out becomes null or empty."""
        draft = await mutations.draft(request, BookDraft)
        return await _changed(database, book_id, if_match, lambda _: draft)

    @patch(
        _ONE,
        operation_id="changeBook",
        summary="Change a book",
        operation_class=merge_patch(BookDraft),
        response_headers=[ETAG],
        responses=problems("not_found", "isbn_taken", "stale", "if_match_required"),
    )
    async def change_book(
        self, request: Request[Any, Any, Any], database: Db, book_id: responses.Id, if_match: IfMatch = None
    ) -> Response[schemas.Book]:
        """Members of the body take the place of the book's, null takes them away (RFC 7396)."""
        return await _changed(database, book_id, if_match, await mutations.edit(request, BookDraft))

    @delete(_ONE, operation_id="deleteBook", summary="Remove a book", responses=problems("not_found", "stale"))
    async def delete_book(self, database: Db, book_id: responses.Id, if_match: IfMatch = None) -> None:
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

    def make(session: Session) -> schemas.Answer:
        ids = BookRepository(session, database.profile.loading).create_all(batch)
        return mutations.made(schemas.NewBooks(ids))

    return await mutations.create(request, database, idempotency_key, make)


async def _changed(database: Database, book_id: int, if_match: str | None, edit: Any) -> Response[Any]:
    def work(session: Session, check: Check) -> schemas.Seen | None:
        return BookRepository(session, database.profile.loading).change(book_id, check, edit)

    return await mutations.change(database, if_match, work, _missing(book_id))


def _missing(book_id: int) -> str:
    return f"There is no book {book_id}."
