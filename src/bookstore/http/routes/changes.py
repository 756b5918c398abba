"""/changes: what changed in the catalogue, so that a client can keep a copy in step."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter, SkipValidation
from sqlalchemy.orm import Session

from bookstore.catalog import schemas
from bookstore.catalog.repositories import ChangeRepository
from bookstore.database.unit_of_work import Database
from bookstore.http import authorization
from bookstore.http.openapi.operations import problems
from bookstore.http.routes.list_parameters import DEFAULT_LIMIT, Limit

Since = Annotated[
    str | None,
    QueryParameter(
        min_length=1,
        max_length=4000,
        description="The `next_cursor` of the previous response. Without it, a copy of all books begins.",
    ),
]


@get(
    "/changes",
    opt=authorization.PUBLIC,
    tags=["Books"],
    operation_id="listChanges",
    summary="List changes of books",
    responses=problems("cursor_expired"),
)
async def list_changes(
    database: NamedDependency[SkipValidation[Database]], since: Since = None, limit: Limit = DEFAULT_LIMIT
) -> Response[schemas.ChangePage]:
    """Returns all books, then each change at least once: a book that was created or changed with its current members,
    or the id of a book that was deleted. While `has_more` is true, continue at once with `next_cursor`; otherwise your
    copy is in step, and you may ask again later. A cursor is valid for 30 days."""

    def read(session: Session) -> schemas.ChangePage:
        return ChangeRepository(session, database.profile.loading).page(since, limit)

    return Response(await database.run(read, reading=True), headers={"Cache-Control": "no-store"})
