"""/genres: write them."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, patch, post, put
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from bookstore.catalog import schemas
from bookstore.catalog.inputs import GenreDraft
from bookstore.catalog.repositories import GenreRepository
from bookstore.database.unit_of_work import Database
from bookstore.http import authorization
from bookstore.http.openapi.operations import ETAG, LOCATION, body, merge_patch, problems
from bookstore.http.routes import mutations, responses
from bookstore.http.routes.genres import GenreController
from bookstore.http.routes.mutations import Detach, IdempotencyKey, IfMatch

Db = NamedDependency[SkipValidation[Database]]
_ONE = "/{genre_id:int}"


class GenreEditor(GenreController):
    """Reading and writing: Litestar lets no second controller have the paths of a first one."""

    opt = authorization.WRITE

    @post(
        operation_id="createGenre",
        summary="Add a genre",
        operation_class=body(GenreDraft),
        response_headers=[ETAG, LOCATION],
        responses=problems("name_taken", "idempotency_key_reused"),
    )
    async def create_genre(
        self, request: Request[Any, Any, Any], database: Db, idempotency_key: IdempotencyKey = None
    ) -> Response[schemas.GenreDetail]:
        """Where the name or the slug is another genre's, the answer names that one."""
        draft = await mutations.draft(request, GenreDraft)
        return await mutations.create_named(request, database, idempotency_key, GenreRepository, draft, "/genres")

    @put(
        _ONE,
        operation_id="replaceGenre",
        summary="Replace a genre",
        operation_class=body(GenreDraft),
        response_headers=[ETAG],
        responses=problems("not_found", "name_taken", "stale", "if_match_required"),
    )
    async def replace_genre(
        self, request: Request[Any, Any, Any], database: Db, genre_id: responses.Id, if_match: IfMatch = None
    ) -> Response[schemas.GenreDetail]:
        """Without a slug the name makes a new one."""
        draft = await mutations.draft(request, GenreDraft)
        return await mutations.change_named(database, if_match, GenreRepository, genre_id, lambda _: draft)

    @patch(
        _ONE,
        operation_id="changeGenre",
        summary="Change a genre",
        operation_class=merge_patch(GenreDraft),
        response_headers=[ETAG],
        responses=problems("not_found", "name_taken", "stale", "if_match_required"),
    )
    async def change_genre(
        self, request: Request[Any, Any, Any], database: Db, genre_id: responses.Id, if_match: IfMatch = None
    ) -> Response[schemas.GenreDetail]:
        """Members of the body take the place of the genre's (RFC 7396)."""
        edit = await mutations.edit(request, GenreDraft)
        return await mutations.change_named(database, if_match, GenreRepository, genre_id, edit)

    @delete(
        _ONE,
        operation_id="deleteGenre",
        summary="Remove a genre",
        responses=problems("not_found", "stale", "in_use"),
    )
    async def delete_genre(
        self, database: Db, genre_id: responses.Id, if_match: IfMatch = None, detach: Detach = False
    ) -> None:
        """A genre that has books stays, unless `detach` takes them away first."""
        await mutations.remove_named(database, if_match, GenreRepository, genre_id, detach)
