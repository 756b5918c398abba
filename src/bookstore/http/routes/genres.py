"""/genres: read and change genres, and list their books."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, delete, get, patch, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation
from sqlalchemy.orm import Session

from bookstore.catalog import schemas
from bookstore.catalog.inputs import GenreInput
from bookstore.catalog.repositories import BookQuery, GenreRepository, NamedQuery
from bookstore.database.unit_of_work import Database
from bookstore.http import authorization
from bookstore.http.openapi.operations import ETAG, LINK, LOCATION, body, merge_patch, problems
from bookstore.http.routes import list_parameters, mutations, responses
from bookstore.http.routes.mutations import Detach, IdempotencyKey, IfMatch


class GenreController(Controller):
    path = "/genres"
    tags = ("Genres",)

    @get(
        opt=authorization.PUBLIC,
        operation_id="listGenres",
        summary="List genres",
        response_headers=[ETAG, LINK],
        dependencies={"asked": Provide(list_parameters.named_query, sync_to_thread=False)},
    )
    async def list_genres(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        asked: NamedDependency[SkipValidation[NamedQuery]],
    ) -> Response[schemas.GenrePage]:
        """A page of the genres. Follow `next_cursor`, or the Link, until there is none."""
        return await responses.named(request, database, GenreRepository, asked)

    @get(
        "/{genre_id:int}",
        opt=authorization.PUBLIC,
        operation_id="getGenre",
        summary="Read one genre",
        response_headers=[ETAG],
        responses=problems("not_found"),
    )
    async def get_genre(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        genre_id: list_parameters.Id,
    ) -> Response[schemas.GenreDetail]:
        """One genre and how many books are of it."""

        def read(session: Session) -> schemas.Representation | None:
            return GenreRepository(session).find(genre_id)

        return await responses.single(request, database, read, read, GenreRepository.not_found_message(genre_id))

    @get(
        "/{genre_id:int}/books",
        opt=authorization.PUBLIC,
        operation_id="listBooksOfGenre",
        summary="List a genre's books",
        response_headers=[ETAG, LINK],
        responses=problems("not_found"),
        dependencies={"asked": Provide(list_parameters.book_query, sync_to_thread=False)},
    )
    async def list_books_of_genre(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        asked: NamedDependency[SkipValidation[BookQuery]],
        genre_id: list_parameters.Id,
        author_id: list_parameters.AuthorId = None,
    ) -> Response[schemas.BookPage]:
        """A page of the genre's books."""

        def exists(session: Session) -> bool:
            return GenreRepository(session).find(genre_id) is not None

        missing = GenreRepository.not_found_message(genre_id)
        return await responses.books(
            request, database, asked, exists, missing, genre=str(genre_id), author_id=author_id
        )


Db = NamedDependency[SkipValidation[Database]]

_ONE = "/{genre_id:int}"


class GenreEditor(GenreController):
    """Reading and writing: Litestar lets no second controller have the paths of a first one."""

    opt = authorization.WRITE

    @post(
        operation_id="createGenre",
        summary="Add a genre",
        operation_class=body(GenreInput),
        response_headers=[ETAG, LOCATION],
        responses=problems("name_taken", "idempotency_key_reused"),
    )
    async def create_genre(
        self, request: Request[Any, Any, Any], database: Db, idempotency_key: IdempotencyKey = None
    ) -> Response[schemas.GenreDetail]:
        """Where the name or the slug is another genre's, the answer names that one."""
        draft = await mutations.draft(request, GenreInput)
        return await mutations.create_named(request, database, idempotency_key, GenreRepository, draft, "/genres")

    @put(
        _ONE,
        operation_id="replaceGenre",
        summary="Replace a genre",
        operation_class=body(GenreInput),
        response_headers=[ETAG],
        responses=problems("not_found", "name_taken", "stale", "if_match_required"),
    )
    async def replace_genre(
        self, request: Request[Any, Any, Any], database: Db, genre_id: list_parameters.Id, if_match: IfMatch = None
    ) -> Response[schemas.GenreDetail]:
        """Without a slug the name makes a new one."""
        draft = await mutations.draft(request, GenreInput)
        return await mutations.change_named(database, if_match, GenreRepository, genre_id, lambda _: draft)

    @patch(
        _ONE,
        operation_id="changeGenre",
        summary="Change a genre",
        operation_class=merge_patch(GenreInput),
        response_headers=[ETAG],
        responses=problems("not_found", "name_taken", "stale", "if_match_required"),
    )
    async def change_genre(
        self, request: Request[Any, Any, Any], database: Db, genre_id: list_parameters.Id, if_match: IfMatch = None
    ) -> Response[schemas.GenreDetail]:
        """Members of the body take the place of the genre's (RFC 7396)."""
        edit = await mutations.edit(request, GenreInput)
        return await mutations.change_named(database, if_match, GenreRepository, genre_id, edit)

    @delete(
        _ONE,
        operation_id="deleteGenre",
        summary="Remove a genre",
        responses=problems("not_found", "stale", "in_use"),
    )
    async def delete_genre(
        self, database: Db, genre_id: list_parameters.Id, if_match: IfMatch = None, detach: Detach = False
    ) -> None:
        """A genre that has books stays, unless `detach` takes them away first."""
        await mutations.remove_named(database, if_match, GenreRepository, genre_id, detach)
