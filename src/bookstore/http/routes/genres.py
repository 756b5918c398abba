"""/genres: read them, and their books."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation
from sqlalchemy.orm import Session

from bookstore.catalog import schemas
from bookstore.catalog.repositories import BookQuery, GenreRepository, NamedQuery
from bookstore.database.unit_of_work import Database
from bookstore.http import authorization
from bookstore.http.openapi.operations import ETAG, LINK, problems
from bookstore.http.routes import responses


class GenreController(Controller):
    path = "/genres"
    tags = ("Genres",)

    @get(
        opt=authorization.PUBLIC,
        operation_id="listGenres",
        summary="List genres",
        response_headers=[ETAG, LINK],
        dependencies={"asked": Provide(responses.named_query, sync_to_thread=False)},
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
        genre_id: responses.Id,
    ) -> Response[schemas.GenreDetail]:
        """One genre and how many books are of it."""

        def read(session: Session) -> schemas.Seen | None:
            return GenreRepository(session).one(genre_id)

        return await responses.single(request, database, read, read, GenreRepository.missing(genre_id))

    @get(
        "/{genre_id:int}/books",
        opt=authorization.PUBLIC,
        operation_id="listBooksOfGenre",
        summary="List a genre's books",
        response_headers=[ETAG, LINK],
        responses=problems("not_found"),
        dependencies={"asked": Provide(responses.book_query, sync_to_thread=False)},
    )
    async def list_books_of_genre(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        asked: NamedDependency[SkipValidation[BookQuery]],
        genre_id: responses.Id,
        author_id: responses.AuthorId = None,
    ) -> Response[schemas.BookPage]:
        """A page of the genre's books."""

        def exists(session: Session) -> bool:
            return GenreRepository(session).one(genre_id) is not None

        missing = GenreRepository.missing(genre_id)
        return await responses.books(
            request, database, asked, exists, missing, genre=str(genre_id), author_id=author_id
        )
