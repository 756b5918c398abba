"""Responses of the reading routes: bodies, validators (ETag, Last-Modified), 304 Not Modified, next-page links."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
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
from bookstore.http.routes import exports

_STATE: Final = sa.select(STATE)

CACHE_CONTROL: Final = "public, no-cache"
"""A cache may store the response but must revalidate it before each use."""


async def book_page(
    request: Request[Any, Any, Any],
    database: Database,
    query: BookQuery,
    exists: Callable[[Session], bool] = lambda _: True,
    missing: str = "",
    **filters: Any,
) -> Response[Any]:
    """Return a page of the books that match `query` and `filters`; in a format other than JSON without `limit`, all.

    Raises ApiError if these are invalid, if too many exports are in progress, and `not_found` with the detail `missing`
    if the page is empty and `exists` returns False.
    """
    filtered = msgspec.structs.replace(query, **filters)
    book_format = exports.negotiate(request)
    is_export = book_format is not None and "limit" not in request.query_params
    if is_export:
        request.app.state.exports.check()
        filtered = msgspec.structs.replace(filtered, limit=exports.PART)
    filtered.check()

    def read(session: Session) -> schemas.Representation:
        books = BookRepository(session, database.profile.loading).page(filtered)
        if books.tag is None and not exists(session):
            raise ApiError("not_found", missing)
        return books

    response = await page(request, database, read, variant=book_format.media_type if book_format else "")
    response.headers["Vary"] = "Accept"
    if book_format is None or response.status_code == 304:
        return response
    if not is_export:
        return exports.page_response(response.content, filtered, book_format, response.headers)
    response.headers.pop("Link", None)
    return exports.ExportResponse(
        database, request.app.state.exports, response.content, filtered, book_format, response.headers
    )


async def page(
    request: Request[Any, Any, Any],
    database: Database,
    read: Callable[[Session], schemas.Representation],
    *,
    variant: str = "",
) -> Response[Any]:
    """Return a page of a list.

    Its weak ETag identifies the state of the whole database. A single statement shows that nothing was written since;
    then nothing is read or serialised, whatever the list. `variant` distinguishes the tags of other formats.
    """

    def work(session: Session) -> schemas.Representation:
        if conditional.is_conditional(request.headers):
            (state,) = fetch(session, _STATE, {})[0]
            if conditional.is_known(request.headers, _digest(state + variant), None):
                return schemas.Representation(None, state)
        return read(session)

    result = await database.run(work, reading=True)
    headers = {"Cache-Control": CACHE_CONTROL}
    if result.tag is not None:
        headers["ETag"] = f'W/"{_digest(result.tag + variant)}"'
    if result.body is None:
        return Response(None, status_code=304, headers=headers)
    if (next_cursor := getattr(result.body, "next_cursor", None)) is not None:
        headers["Link"] = f'<{_next_page_url(request, next_cursor)}>; rel="next"'
    return Response(result.body, headers=headers)


async def named_page(
    request: Request[Any, Any, Any], database: Database, repository: type[NamedEntityRepository[Any]], query: NamedQuery
) -> Response[Any]:
    """Return a page of authors or genres. Raises ApiError if `query` is invalid."""
    repository.check(query)
    return await page(request, database, lambda session: repository(session).page(query))


async def resource(
    request: Request[Any, Any, Any],
    database: Database,
    read: Callable[[Session], schemas.Representation | None],
    state: Callable[[Session], schemas.Representation | None],
    missing: str,
) -> Response[Any]:
    """Return a single resource with a strong ETag.

    `state` reads only its validators. Raises ApiError `not_found` with the detail `missing` if there is none.
    """

    def work(session: Session) -> schemas.Representation | None:
        if conditional.is_conditional(request.headers):
            current = state(session)
            if current is not None and conditional.is_known(request.headers, current.tag or "", current.changed_at):
                return schemas.Representation(None, current.tag, current.changed_at)
        return read(session)

    result = await database.run(work, reading=True)
    if result is None:
        raise ApiError("not_found", missing)
    return Response(result.body, status_code=304 if result.body is None else 200, headers=validator_headers(result))


def document(
    request: Request[Any, Any, Any], content: bytes, media_type: str, headers: Mapping[str, str] | None = None
) -> Response[Any]:
    """Return a document that only changes with the version of the service, or 304 if the client has it."""
    tag = hashlib.blake2s(content, digest_size=9).hexdigest()
    validators = {"Cache-Control": CACHE_CONTROL, "ETag": f'"{tag}"', **(headers or {})}
    if conditional.is_known(request.headers, tag, None):
        return Response(None, status_code=304, headers=validators)
    return Response(content, media_type=media_type, headers=validators)


def validator_headers(representation: schemas.Representation) -> dict[str, str]:
    """Return the headers with which a client can cache and revalidate `representation`."""
    headers = {"Cache-Control": CACHE_CONTROL, "ETag": f'"{representation.tag}"'}
    if representation.changed_at is not None:
        # Never later than now (RFC 9110, 8.8.2.1), even if the database's clock is ahead.
        headers["Last-Modified"] = conditional.http_date(min(representation.changed_at, int(time.time())))
    return headers


def _digest(state: str) -> str:
    return hashlib.blake2s(state.encode(), digest_size=9).hexdigest()


def _next_page_url(request: Request[Any, Any, Any], cursor: str) -> str:
    """Return the URL of this request with another cursor and its other parameters unchanged."""
    query = request.scope["query_string"].decode("latin-1").replace(">", "%3E")
    others = [part for part in query.split("&") if part and not part.startswith("cursor=")]
    return f"{quote(request.scope['path'])}?{'&'.join([*others, f'cursor={cursor}'])}"
