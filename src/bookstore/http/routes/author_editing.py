"""/authors: write them."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, patch, post, put
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from bookstore.catalog import schemas
from bookstore.catalog.inputs import AuthorDraft
from bookstore.catalog.repositories import AuthorRepository
from bookstore.database.unit_of_work import Database
from bookstore.http import authorization
from bookstore.http.openapi.operations import ETAG, LOCATION, body, merge_patch, problems
from bookstore.http.routes import mutations, responses
from bookstore.http.routes.authors import AuthorController
from bookstore.http.routes.mutations import Detach, IdempotencyKey, IfMatch

Db = NamedDependency[SkipValidation[Database]]
_ONE = "/{author_id:int}"


class AuthorEditor(AuthorController):
    """Reading and writing: Litestar lets no second controller have the paths of a first one."""

    opt = authorization.WRITE

    @post(
        operation_id="createAuthor",
        summary="Add an author",
        operation_class=body(AuthorDraft),
        response_headers=[ETAG, LOCATION],
        responses=problems("idempotency_key_reused"),
    )
    async def create_author(
        self, request: Request[Any, Any, Any], database: Db, idempotency_key: IdempotencyKey = None
    ) -> Response[schemas.Author]:
        """Two authors may have the same name: each POST makes one."""
        draft = await mutations.draft(request, AuthorDraft)
        return await mutations.create_named(request, database, idempotency_key, AuthorRepository, draft, "/authors")

    @put(
        _ONE,
        operation_id="replaceAuthor",
        summary="Replace an author",
        operation_class=body(AuthorDraft),
        response_headers=[ETAG],
        responses=problems("not_found", "stale", "if_match_required"),
    )
    async def replace_author(
        self, request: Request[Any, Any, Any], database: Db, author_id: responses.Id, if_match: IfMatch = None
    ) -> Response[schemas.Author]:
        """The author's books show the new name, and are found by it."""
        draft = await mutations.draft(request, AuthorDraft)
        return await mutations.change_named(database, if_match, AuthorRepository, author_id, lambda _: draft)

    @patch(
        _ONE,
        operation_id="changeAuthor",
        summary="Change an author",
        operation_class=merge_patch(AuthorDraft),
        response_headers=[ETAG],
        responses=problems("not_found", "stale", "if_match_required"),
    )
    async def change_author(
        self, request: Request[Any, Any, Any], database: Db, author_id: responses.Id, if_match: IfMatch = None
    ) -> Response[schemas.Author]:
        """Members of the body take the place of the author's (RFC 7396)."""
        edit = await mutations.edit(request, AuthorDraft)
        return await mutations.change_named(database, if_match, AuthorRepository, author_id, edit)

    @delete(
        _ONE,
        operation_id="deleteAuthor",
        summary="Remove an author",
        responses=problems("not_found", "stale", "in_use"),
    )
    async def delete_author(
        self, database: Db, author_id: responses.Id, if_match: IfMatch = None, detach: Detach = False
    ) -> None:
        """An author who has books stays, unless `detach` takes them away first."""
        await mutations.remove_named(database, if_match, AuthorRepository, author_id, detach)
