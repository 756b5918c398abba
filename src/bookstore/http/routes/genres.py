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
        dependencies={"list_query": Provide(list_parameters.genre_query, sync_to_thread=False)},
    )
    async def list_genres(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        list_query: NamedDependency[SkipValidation[NamedQuery]],
    ) -> Response[schemas.GenrePage]:
        """Returns a page of genres. To get the next page, follow `next_cursor` or the `Link` header."""
        return await responses.named_page(request, database, GenreRepository, list_query)

    @get(
        "/{genre_id:str}",
        opt=authorization.PUBLIC,
        operation_id="getGenre",
        summary="Get a genre",
        response_headers=[ETAG],
        responses=problems("not_found"),
    )
    async def get_genre(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        genre_id: list_parameters.GenreId,
    ) -> Response[schemas.GenreDetail]:
        """Returns a genre, given as id or slug, with its number of books."""

        def read(session: Session) -> schemas.Representation | None:
            genres = GenreRepository(session)
            return genres.find(genres.id_of(genre_id))

        return await responses.resource(request, database, read, read, GenreRepository.not_found_message(genre_id))

    @get(
        "/{genre_id:str}/books",
        opt=authorization.PUBLIC,
        operation_id="listBooksOfGenre",
        summary="List a genre's books",
        response_headers=[ETAG, LINK],
        responses=problems("not_found"),
        dependencies={"list_query": Provide(list_parameters.book_query, sync_to_thread=False)},
    )
    async def list_books_of_genre(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        list_query: NamedDependency[SkipValidation[BookQuery]],
        genre_id: list_parameters.GenreId,
        author_id: list_parameters.AuthorId = None,
    ) -> Response[schemas.BookPage]:
        """Returns a page of the genre's books."""

        def exists(session: Session) -> bool:
            genres = GenreRepository(session)
            return genres.find(genres.id_of(genre_id)) is not None

        missing = GenreRepository.not_found_message(genre_id)
        return await responses.book_page(
            request, database, list_query, exists, missing, genre=genre_id, author_id=author_id
        )


Db = NamedDependency[SkipValidation[Database]]

_RESOURCE = "/{genre_id:str}"


class GenreEditor(GenreController):
    """Reading and writing in one controller, because Litestar does not let two controllers share paths."""

    opt = authorization.WRITE

    @post(
        operation_id="createGenre",
        summary="Create a genre",
        operation_class=body(GenreInput),
        response_headers=[ETAG, LOCATION],
        responses=problems("name_taken", "idempotency_key_reused"),
    )
    async def create_genre(
        self, request: Request[Any, Any, Any], database: Db, idempotency_key: IdempotencyKey = None
    ) -> Response[schemas.GenreDetail]:
        """Creates a genre. If another genre has the name or slug, the response is 409 and identifies that genre."""
        genre = await mutations.read_input(request, GenreInput)
        return await mutations.create_named(request, database, idempotency_key, GenreRepository, genre, "/genres")

    @put(
        _RESOURCE,
        operation_id="replaceGenre",
        summary="Replace a genre",
        operation_class=body(GenreInput),
        response_headers=[ETAG],
        responses=problems("not_found", "name_taken", "stale", "if_match_required"),
    )
    async def replace_genre(
        self, request: Request[Any, Any, Any], database: Db, genre_id: list_parameters.GenreId, if_match: IfMatch = None
    ) -> Response[schemas.GenreDetail]:
        """Replaces the genre. Without a `slug`, a new one is derived from the name."""
        genre = await mutations.read_input(request, GenreInput)
        return await mutations.change_named(database, if_match, GenreRepository, genre_id, lambda _: genre)

    @patch(
        _RESOURCE,
        operation_id="changeGenre",
        summary="Update a genre",
        operation_class=merge_patch(GenreInput),
        response_headers=[ETAG],
        responses=problems("not_found", "name_taken", "stale", "if_match_required"),
    )
    async def change_genre(
        self, request: Request[Any, Any, Any], database: Db, genre_id: list_parameters.GenreId, if_match: IfMatch = None
    ) -> Response[schemas.GenreDetail]:
        """Updates the members in the body and leaves all others unchanged (merge patch, RFC 7396)."""
        edit = await mutations.read_patch(request, GenreInput)
        return await mutations.change_named(database, if_match, GenreRepository, genre_id, edit)

    @delete(
        _RESOURCE,
        operation_id="deleteGenre",
        summary="Delete a genre",
        responses=problems("not_found", "stale", "in_use"),
    )
    async def delete_genre(
        self, database: Db, genre_id: list_parameters.GenreId, if_match: IfMatch = None, detach: Detach = False
    ) -> None:
        """Deletes the genre. A genre with books is deleted only with `detach`."""
        await mutations.remove_named(database, if_match, GenreRepository, genre_id, detach)
