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
        dependencies={"asked": Provide(list_parameters.named_query, sync_to_thread=False)},
    )
    async def list_authors(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        asked: NamedDependency[SkipValidation[NamedQuery]],
    ) -> Response[schemas.AuthorPage]:
        """A page of the authors. Follow `next_cursor`, or the Link, until there is none."""
        return await responses.named(request, database, AuthorRepository, asked)

    @get(
        "/{author_id:int}",
        opt=authorization.PUBLIC,
        operation_id="getAuthor",
        summary="Read one author",
        response_headers=[ETAG],
        responses=problems("not_found"),
    )
    async def get_author(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        author_id: list_parameters.Id,
    ) -> Response[schemas.Author]:
        """One author. Two of them may have the same name."""

        def read(session: Session) -> schemas.Representation | None:
            return AuthorRepository(session).find(author_id)

        return await responses.single(request, database, read, read, AuthorRepository.not_found_message(author_id))

    @get(
        "/{author_id:int}/books",
        opt=authorization.PUBLIC,
        operation_id="listBooksOfAuthor",
        summary="List an author's books",
        response_headers=[ETAG, LINK],
        responses=problems("not_found"),
        dependencies={"asked": Provide(list_parameters.book_query, sync_to_thread=False)},
    )
    async def list_books_of_author(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        asked: NamedDependency[SkipValidation[BookQuery]],
        author_id: list_parameters.Id,
        genre: list_parameters.Genre = None,
    ) -> Response[schemas.BookPage]:
        """A page of the books that the author wrote, alone or with others."""

        def exists(session: Session) -> bool:
            return AuthorRepository(session).find(author_id) is not None

        missing = AuthorRepository.not_found_message(author_id)
        return await responses.books(request, database, asked, exists, missing, author_id=author_id, genre=genre)


Db = NamedDependency[SkipValidation[Database]]

_ONE = "/{author_id:int}"


class AuthorEditor(AuthorController):
    """Reading and writing: Litestar lets no second controller have the paths of a first one."""

    opt = authorization.WRITE

    @post(
        operation_id="createAuthor",
        summary="Add an author",
        operation_class=body(AuthorInput),
        response_headers=[ETAG, LOCATION],
        responses=problems("idempotency_key_reused"),
    )
    async def create_author(
        self, request: Request[Any, Any, Any], database: Db, idempotency_key: IdempotencyKey = None
    ) -> Response[schemas.Author]:
        """Two authors may have the same name: each POST makes one."""
        draft = await mutations.draft(request, AuthorInput)
        return await mutations.create_named(request, database, idempotency_key, AuthorRepository, draft, "/authors")

    @put(
        _ONE,
        operation_id="replaceAuthor",
        summary="Replace an author",
        operation_class=body(AuthorInput),
        response_headers=[ETAG],
        responses=problems("not_found", "stale", "if_match_required"),
    )
    async def replace_author(
        self, request: Request[Any, Any, Any], database: Db, author_id: list_parameters.Id, if_match: IfMatch = None
    ) -> Response[schemas.Author]:
        """The author's books show the new name, and are found by it."""
        draft = await mutations.draft(request, AuthorInput)
        return await mutations.change_named(database, if_match, AuthorRepository, author_id, lambda _: draft)

    @patch(
        _ONE,
        operation_id="changeAuthor",
        summary="Change an author",
        operation_class=merge_patch(AuthorInput),
        response_headers=[ETAG],
        responses=problems("not_found", "stale", "if_match_required"),
    )
    async def change_author(
        self, request: Request[Any, Any, Any], database: Db, author_id: list_parameters.Id, if_match: IfMatch = None
    ) -> Response[schemas.Author]:
        """Members of the body take the place of the author's (RFC 7396)."""
        edit = await mutations.edit(request, AuthorInput)
        return await mutations.change_named(database, if_match, AuthorRepository, author_id, edit)

    @delete(
        _ONE,
        operation_id="deleteAuthor",
        summary="Remove an author",
        responses=problems("not_found", "stale", "in_use"),
    )
    async def delete_author(
        self, database: Db, author_id: list_parameters.Id, if_match: IfMatch = None, detach: Detach = False
    ) -> None:
        """An author who has books stays, unless `detach` takes them away first."""
        await mutations.remove_named(database, if_match, AuthorRepository, author_id, detach)
