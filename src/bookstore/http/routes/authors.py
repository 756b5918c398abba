"""/authors: read and change authors, and list their books."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, delete, get, patch, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation
from sqlalchemy.orm import Session

from bookstore.catalog import schemas
from bookstore.catalog.inputs import AuthorInput
from bookstore.catalog.repositories import AuthorRepository, BookQuery, NamedQuery
from bookstore.database.unit_of_work import Database
from bookstore.http import authorization
from bookstore.http.openapi.operations import ETAG, LINK, LOCATION, body, merge_patch, problems
from bookstore.http.routes import list_parameters, mutations, responses
from bookstore.http.routes.mutations import Detach, IdempotencyKey, IfMatch


class AuthorController(Controller):
    path = "/authors"
    tags = ("Authors",)

    @get(
        opt=authorization.PUBLIC,
        operation_id="listAuthors",
        summary="List authors",
        response_headers=[ETAG, LINK],
        dependencies={"list_query": Provide(list_parameters.author_query, sync_to_thread=False)},
    )
    async def list_authors(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        list_query: NamedDependency[SkipValidation[NamedQuery]],
    ) -> Response[schemas.AuthorPage]:
        """Returns a page of authors. To get the next page, follow `next_cursor` or the `Link` header."""
        return await responses.named_page(request, database, AuthorRepository, list_query)

    @get(
        "/{author_id:int}",
        opt=authorization.PUBLIC,
        operation_id="getAuthor",
        summary="Get an author",
        response_headers=[ETAG],
        responses=problems("not_found"),
    )
    async def get_author(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        author_id: list_parameters.Id,
    ) -> Response[schemas.Author]:
        """Returns an author. Names are not unique: two authors may have the same name."""

        def read(session: Session) -> schemas.Representation | None:
            return AuthorRepository(session).find(author_id)

        return await responses.resource(request, database, read, read, AuthorRepository.not_found_message(author_id))

    @get(
        "/{author_id:int}/books",
        opt=authorization.PUBLIC,
        operation_id="listBooksOfAuthor",
        summary="List an author's books",
        response_headers=[ETAG, LINK],
        responses=problems("not_found"),
        dependencies={"list_query": Provide(list_parameters.book_query, sync_to_thread=False)},
    )
    async def list_books_of_author(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        list_query: NamedDependency[SkipValidation[BookQuery]],
        author_id: list_parameters.Id,
        genre: list_parameters.Genre = None,
    ) -> Response[schemas.BookPage]:
        """Returns a page of the books that the author wrote, alone or with co-authors."""

        def exists(session: Session) -> bool:
            return AuthorRepository(session).find(author_id) is not None

        missing = AuthorRepository.not_found_message(author_id)
        return await responses.book_page(
            request, database, list_query, exists, missing, author_id=author_id, genre=genre
        )


Db = NamedDependency[SkipValidation[Database]]

_RESOURCE = "/{author_id:int}"


class AuthorEditor(AuthorController):
    """Reading and writing in one controller, because Litestar does not let two controllers share paths."""

    opt = authorization.WRITE

    @post(
        operation_id="createAuthor",
        summary="Create an author",
        operation_class=body(AuthorInput),
        response_headers=[ETAG, LOCATION],
        responses=problems("idempotency_key_reused"),
    )
    async def create_author(
        self, request: Request[Any, Any, Any], database: Db, idempotency_key: IdempotencyKey = None
    ) -> Response[schemas.Author]:
        """Creates an author. Names are not unique, so repeating the request creates another author."""
        author = await mutations.read_input(request, AuthorInput)
        return await mutations.create_named(request, database, idempotency_key, AuthorRepository, author, "/authors")

    @put(
        _RESOURCE,
        operation_id="replaceAuthor",
        summary="Replace an author",
        operation_class=body(AuthorInput),
        response_headers=[ETAG],
        responses=problems("not_found", "stale", "if_match_required"),
    )
    async def replace_author(
        self, request: Request[Any, Any, Any], database: Db, author_id: list_parameters.Id, if_match: IfMatch = None
    ) -> Response[schemas.Author]:
        """Replaces the author. Their books show the new name and can be found by it."""
        author = await mutations.read_input(request, AuthorInput)
        return await mutations.change_named(database, if_match, AuthorRepository, author_id, lambda _: author)

    @patch(
        _RESOURCE,
        operation_id="changeAuthor",
        summary="Update an author",
        operation_class=merge_patch(AuthorInput),
        response_headers=[ETAG],
        responses=problems("not_found", "stale", "if_match_required"),
    )
    async def change_author(
        self, request: Request[Any, Any, Any], database: Db, author_id: list_parameters.Id, if_match: IfMatch = None
    ) -> Response[schemas.Author]:
        """Updates the members in the body and leaves all others unchanged (merge patch, RFC 7396)."""
        edit = await mutations.read_patch(request, AuthorInput)
        return await mutations.change_named(database, if_match, AuthorRepository, author_id, edit)

    @delete(
        _RESOURCE,
        operation_id="deleteAuthor",
        summary="Delete an author",
        responses=problems("not_found", "stale", "in_use"),
    )
    async def delete_author(
        self, database: Db, author_id: list_parameters.Id, if_match: IfMatch = None, detach: Detach = False
    ) -> None:
        """Deletes the author. An author with books is deleted only with `detach`."""
        await mutations.remove_named(database, if_match, AuthorRepository, author_id, detach)
