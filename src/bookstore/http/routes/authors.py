"""/authors: read them, and their books."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation
from sqlalchemy.orm import Session

from bookstore.catalog import schemas
from bookstore.catalog.repositories import AuthorRepository, BookQuery, NamedQuery
from bookstore.database.unit_of_work import Database
from bookstore.http import authorization
from bookstore.http.openapi.operations import ETAG, LINK, problems
from bookstore.http.routes import responses


class AuthorController(Controller):
    path = "/authors"
    tags = ("Authors",)

    @get(
        opt=authorization.PUBLIC,
        operation_id="listAuthors",
        summary="List authors",
        response_headers=[ETAG, LINK],
        dependencies={"asked": Provide(responses.named_query, sync_to_thread=False)},
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
        author_id: responses.Id,
    ) -> Response[schemas.Author]:
        """One author. Two of them may have the same name."""

        def read(session: Session) -> schemas.Seen | None:
            return AuthorRepository(session).one(author_id)

        return await responses.single(request, database, read, read, AuthorRepository.missing(author_id))

    @get(
        "/{author_id:int}/books",
        opt=authorization.PUBLIC,
        operation_id="listBooksOfAuthor",
        summary="List an author's books",
        response_headers=[ETAG, LINK],
        responses=problems("not_found"),
        dependencies={"asked": Provide(responses.book_query, sync_to_thread=False)},
    )
    async def list_books_of_author(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[SkipValidation[Database]],
        asked: NamedDependency[SkipValidation[BookQuery]],
        author_id: responses.Id,
        genre: responses.Genre = None,
    ) -> Response[schemas.BookPage]:
        """A page of the books that the author wrote, alone or with others."""

        def exists(session: Session) -> bool:
            return AuthorRepository(session).one(author_id) is not None

        missing = AuthorRepository.missing(author_id)
        return await responses.books(request, database, asked, exists, missing, author_id=author_id, genre=genre)
