"""Responses of reading routes: bodies, validators, `304 Not Modified`, links to the next page."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import msgspec
import sqlalchemy as sa
from litestar import Request, Response
from sqlalchemy.orm import Session

from bookstore.catalog import schemas
from bookstore.catalog.loading import fetch
from bookstore.catalog.models import STATE
from bookstore.catalog.repositories import BookQuery, BookRepository, NamedEntityRepository, NamedQuery
from bookstore.database.unit_of_work import Database
from bookstore.exceptions import ApiError
from bookstore.http import conditional

_STATE: Final = sa.select(STATE)


KEEP: Final = "public, no-cache"
"""A cache may keep the answer, and asks before each use whether it still holds."""


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

    def read(session: Session) -> schemas.Representation:
        seen = BookRepository(session, database.profile.loading).page(asked)
        if seen.tag is None and not exists(session):
            raise ApiError("not_found", missing)
        return seen

    return await page(request, database, read)


async def page(
    request: Request[Any, Any, Any], database: Database, read: Callable[[Session], schemas.Representation]
) -> Response[Any]:
    """A page of a list. Its weak ETag names the state of the whole database: one statement tells that nothing
    was written since, whatever the list, and nothing is read or serialised."""

    def work(session: Session) -> schemas.Representation:
        if conditional.is_conditional(request.headers):
            (state,) = fetch(session, _STATE, {})[0]
            if conditional.is_known(request.headers, _digest(state), None):
                return schemas.Representation(None, state)
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
    request: Request[Any, Any, Any], database: Database, repository: type[NamedEntityRepository[Any]], query: NamedQuery
) -> Response[Any]:
    """A page of the authors or genres that `query` asks for. Raises ApiError for what is wrong with it."""
    repository.check(query)
    return await page(request, database, lambda session: repository(session).page(query))


async def single(
    request: Request[Any, Any, Any],
    database: Database,
    read: Callable[[Session], schemas.Representation | None],
    state: Callable[[Session], schemas.Representation | None],
    missing: str,
) -> Response[Any]:
    """One resource, with a strong ETag. Raises ApiError `not_found`, saying `missing`, where there is none."""

    def work(session: Session) -> schemas.Representation | None:
        if conditional.is_conditional(request.headers):
            seen = state(session)
            if seen is not None and conditional.is_known(request.headers, seen.tag or "", seen.changed_at):
                return schemas.Representation(None, seen.tag, seen.changed_at)
        return read(session)

    seen = await database.run(work, reading=True)
    if seen is None:
        raise ApiError("not_found", missing)
    return Response(seen.body, status_code=304 if seen.body is None else 200, headers=validators(seen))


def validators(seen: schemas.Representation) -> dict[str, str]:
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
