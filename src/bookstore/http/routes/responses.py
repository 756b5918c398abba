"""What reading has in common: parameters, and answers that a client can keep and ask again about."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
import sqlalchemy as sa
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter, SkipValidation
from sqlalchemy.orm import Session

from bookstore.catalog import isbn, schemas, sorting
from bookstore.catalog.loading import fetch
from bookstore.catalog.models import EARLIEST_YEAR, LATEST_YEAR, STATE
from bookstore.catalog.repositories import BookQuery, BookRepository, NamedQuery, NamedRepository
from bookstore.database.unit_of_work import Database
from bookstore.exceptions import ApiError, FieldError
from bookstore.http import conditional
from bookstore.http.openapi.operations import ISBN

_STATE: Final = sa.select(STATE)

DEFAULT_LIMIT: Final = 20
LARGEST_LIMIT: Final = 200
LARGEST_ID: Final = 2**63 - 1
MOST_CHARACTERS: Final = 100
"""Of the words of a search."""

_FIELDS: Final = "^({0})(,({0}))*$".format("|".join(schemas.ListedBook.__struct_fields__))

KEEP: Final = "public, no-cache"
"""A cache may keep the answer, and asks before each use whether it still holds."""

_InTurn = NamedDependency[SkipValidation[Database]]
"""What a dependency of a handler asks for to be resolved after `database`: side by side with it Litestar would
start a task for each, 200 µs a request."""

Id = Annotated[int, PathParameter(ge=1, le=LARGEST_ID)]
Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_LIMIT, description="How many on a page at most.")]
Cursor = Annotated[
    str | None, QueryParameter(min_length=1, max_length=4000, description="`next_cursor` of the page before.")
]
Total = Annotated[bool, QueryParameter(description="Whether to count all pages; on a large catalogue that takes time.")]


def _is_text(maximum: int = MOST_CHARACTERS, **more: Any) -> Any:
    return QueryParameter(min_length=1, max_length=maximum, **more)


AuthorId = Annotated[int | None, QueryParameter(ge=1, le=LARGEST_ID, description="Books of this author.")]
Genre = Annotated[
    str | None,
    _is_text(pattern="^([0-9]{1,18}|[0-9]*[a-z-][a-z0-9-]*)$", description="Books of this genre: its slug or its id."),
]


def book_query(
    database: _InTurn,  # noqa: ARG001 - for its turn
    language: Annotated[
        str | None,
        QueryParameter(pattern="^[a-z]{2,3}(-[A-Z]{2})?$", description="`en` finds `en-US` too, `en-US` no other."),
    ] = None,
    isbn13: Annotated[
        str | None, _is_text(20, description="ISBN-13 or ISBN-10, with or without hyphens.", schema_extra=ISBN)
    ] = None,
    year_from: Annotated[
        int | None, QueryParameter(ge=EARLIEST_YEAR, le=LATEST_YEAR, description="Published in this year or later.")
    ] = None,
    year_to: Annotated[
        int | None, QueryParameter(ge=EARLIEST_YEAR, le=LATEST_YEAR, description="Published in this year or before.")
    ] = None,
    q: Annotated[
        str | None,
        _is_text(
            description="Words of the title and of the authors' names, all of which have to be there; accents and "
            "case do not matter, typing errors hardly.",
            schema_extra={"pattern": r"^[^\x00-\x1f\x7f-\x9f]*$"},
        ),
    ] = None,
    sort: Annotated[
        str | None,
        QueryParameter(
            min_length=1,
            description="`id`, `title`, `publication_year`, `created_at` or, with `q`, `relevance`; `-` for "
            "descending, several by comma, each once. Books without a year come last. Words of `q` "
            "that over 5,000 books have allow `relevance` and `id` only.",
            schema_extra={"pattern": sorting.pattern([*sorting.BOOKS, "relevance"])},
        ),
    ] = None,
    fields: Annotated[
        str | None,
        QueryParameter(
            min_length=1,
            description="Only these members, by comma: `id,title`; `created_at` and `updated_at` too.",
            schema_extra={"pattern": _FIELDS},
        ),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    total: Total = False,
) -> BookQuery:
    """What every list of books may be asked for, beside author and genre."""
    return BookQuery(
        language=language,
        isbn13=None if isbn13 is None else _isbn13(isbn13),
        year_from=year_from,
        year_to=year_to,
        q=q,
        sort=sort,
        fields=fields,
        limit=limit,
        cursor=cursor,
        total=total,
    )


def named_query(
    database: _InTurn,  # noqa: ARG001 - for its turn
    sort: Annotated[
        str,
        QueryParameter(
            min_length=1,
            description="`id` or `name`; `-` for descending.",
            schema_extra={"pattern": sorting.pattern(sorting.AUTHORS)},  # genres have the same
        ),
    ] = "id",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    total: Total = False,
) -> NamedQuery:
    """What a list of authors or genres is asked for."""
    return NamedQuery(sort=sort, limit=limit, cursor=cursor, total=total)


def _isbn13(text: str) -> str:
    found = isbn.to_isbn13(text, restore_zeros=False)
    if found is None:
        detail = f"found '{text}'; allowed is an ISBN-13 or ISBN-10 whose check digit is right"
        raise ApiError("invalid_parameter", f"isbn13: {detail}", FieldError(detail, parameter="isbn13"))
    return found


async def books(
    request: Request[Any, Any, Any],
    database: Database,
    query: BookQuery,
    exists: Callable[[Session], bool] = lambda _: True,
    missing: str = "",
    **filters: Any,
) -> Response[Any]:
    """A page of the books that `query` and the `filters` ask for. Raises ApiError for what is wrong with them,
    and `not_found`, saying `missing`, where there is no book and `exists` says no."""
    asked = msgspec.structs.replace(query, **filters)
    asked.check()

    def read(session: Session) -> schemas.Seen:
        seen = BookRepository(session, database.profile.loading).page(asked)
        if seen.tag is None and not exists(session):
            raise ApiError("not_found", missing)
        return seen

    return await page(request, database, read)


async def page(
    request: Request[Any, Any, Any], database: Database, read: Callable[[Session], schemas.Seen]
) -> Response[Any]:
    """A page of a list. Its weak ETag names the state of the whole database: one statement tells that nothing
    was written since, whatever the list, and nothing is read or serialised."""

    def work(session: Session) -> schemas.Seen:
        if conditional.is_conditional(request.headers):
            (state,) = fetch(session, _STATE, {})[0]
            if conditional.is_known(request.headers, _digest(state), None):
                return schemas.Seen(None, state)
        return read(session)

    seen = await database.run(work, reading=True)
    headers = {"Cache-Control": KEEP}
    if seen.tag is not None:
        headers["ETag"] = f'W/"{_digest(seen.tag)}"'
    if seen.body is None:
        return Response(None, status_code=304, headers=headers)
    if (following := getattr(seen.body, "next_cursor", None)) is not None:
        headers["Link"] = f'<{_following(request, following)}>; rel="next"'
    return Response(seen.body, headers=headers)


async def named(
    request: Request[Any, Any, Any], database: Database, repository: type[NamedRepository[Any]], query: NamedQuery
) -> Response[Any]:
    """A page of the authors or genres that `query` asks for. Raises ApiError for what is wrong with it."""
    repository.check(query)
    return await page(request, database, lambda session: repository(session).page(query))


async def single(
    request: Request[Any, Any, Any],
    database: Database,
    read: Callable[[Session], schemas.Seen | None],
    state: Callable[[Session], schemas.Seen | None],
    missing: str,
) -> Response[Any]:
    """One resource, with a strong ETag. Raises ApiError `not_found`, saying `missing`, where there is none."""

    def work(session: Session) -> schemas.Seen | None:
        if conditional.is_conditional(request.headers):
            seen = state(session)
            if seen is not None and conditional.is_known(request.headers, seen.tag or "", seen.changed_at):
                return schemas.Seen(None, seen.tag, seen.changed_at)
        return read(session)

    seen = await database.run(work, reading=True)
    if seen is None:
        raise ApiError("not_found", missing)
    return Response(seen.body, status_code=304 if seen.body is None else 200, headers=validators(seen))


def validators(seen: schemas.Seen) -> dict[str, str]:
    """The headers by which a client keeps what it was given."""
    headers = {"Cache-Control": KEEP, "ETag": f'"{seen.tag}"'}
    if seen.changed_at is not None:
        # RFC 9110, 8.8.2.1: never later than now, also where the database's clock is ahead of ours.
        headers["Last-Modified"] = conditional.http_date(min(seen.changed_at, int(time.time())))
    return headers


def _digest(state: str) -> str:
    return hashlib.blake2s(state.encode(), digest_size=9).hexdigest()


def _following(request: Request[Any, Any, Any], cursor: str) -> str:
    """The URL of this page with another cursor, its other parameters as they were sent."""
    query = request.scope["query_string"].decode("latin-1").replace(">", "%3E")
    others = [part for part in query.split("&") if part and not part.startswith("cursor=")]
    return f"{quote(request.scope['path'])}?{'&'.join([*others, f'cursor={cursor}'])}"
