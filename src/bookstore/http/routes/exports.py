"""Lists of books as CSV or NDJSON, streamed in parts of bounded size.

Each part is a page of the list, read in a unit of work of its own. So an export holds a database connection only while
it reads a part, never while it waits for the client, and its memory does not depend on the number of books. Each page
begins where the last one ended, so what the guide promises about paging holds for an export too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Send
from sqlalchemy.orm import Session

from bookstore.catalog import schemas
from bookstore.catalog.book_formats import FORMATS, BookFormat
from bookstore.catalog.pagination import invalid_parameter
from bookstore.catalog.repositories import BookQuery, BookRepository
from bookstore.database import sqlstate
from bookstore.database.unit_of_work import Database
from bookstore.exceptions import ApiError
from bookstore.http import accept

AT_ONCE: Final = 2
"""Exports in progress per worker. Each takes about one core and one connection while its client reads fast."""
PART: Final = 200
"""Books. The largest page: reading a part costs no more than any anonymous request may."""
PAUSES_S: Final = (0.2, 1.0, 2.0)
"""Before each further attempt to read a part, for the problems in _PASSING."""
_PASSING: Final = {"overloaded", "pool_exhausted", "db_unavailable"}

_JSON: Final = "application/json"
_OFFERED: Final = (_JSON, *FORMATS)


class Exports:
    """Counts the exports in progress in a worker, to reject more than AT_ONCE."""

    def __init__(self) -> None:
        self._in_progress = 0

    def check(self) -> None:
        """Raise ApiError `overloaded` if there are AT_ONCE exports in progress."""
        if self._in_progress >= AT_ONCE:
            raise ApiError("overloaded", f"{AT_ONCE} exports are in progress, which is the limit; retry later.")

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count an export during the block. Raises ApiError as `check`."""
        self.check()
        self._in_progress += 1
        try:
            yield
        finally:
            self._in_progress -= 1


def negotiate(request: Request[Any, Any, Any]) -> BookFormat | None:
    """Return the format that Accept prefers, None for JSON.

    Raises ApiError for `total`, which has no place in these formats.
    """
    book_format = FORMATS.get(accept.choose(request.headers.get("accept"), _OFFERED))
    if book_format is not None and "total" in request.query_params:
        raise invalid_parameter("total", f"found with {book_format.media_type}; allowed is {_JSON}")
    return book_format


def page_response(
    page: schemas.BookPage, query: BookQuery, book_format: BookFormat, headers: dict[str, str]
) -> Response[Any]:
    """Return a page in `book_format`."""
    return Response(_encode_first(page, query, book_format), media_type=book_format.media_type, headers=headers)


class ExportResponse(Response[Any]):
    """The whole list that begins with the page `first`, which is the result of `query`."""

    def __init__(
        self,
        database: Database,
        exports: Exports,
        first: schemas.BookPage,
        query: BookQuery,
        book_format: BookFormat,
        headers: dict[str, str],
    ) -> None:
        super().__init__(None, media_type=book_format.media_type, headers=headers)
        self._exports = exports
        self._parts = partial(_parts, database, first, query, book_format)

    def to_asgi_response(self, app: Any, request: Any, **options: Any) -> Any:  # noqa: ARG002 - Litestar's signature
        parts = self._parts(is_head=request.scope.get("is_head", False))
        return _Stream(self._exports, iterator=parts, media_type=self.media_type, headers=self.headers)


class _Stream(ASGIStreamingResponse):
    """Sends the parts within the task of the request, so that the gate's deadline and their errors apply to it."""

    __slots__ = ("_exports",)

    def __init__(self, exports: Exports, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._exports = exports

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        with self._exports.one():
            await super().__call__(scope, receive, send)

    async def send_body(self, send: Send, receive: Receive) -> None:
        disconnected = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            async for part in self.iterator:
                if disconnected.done():  # the server discards what is sent now without an error
                    return
                body = part if isinstance(part, bytes) else part.encode()
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            disconnected.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _encode_first(page: schemas.BookPage, query: BookQuery, book_format: BookFormat) -> bytes:
    members = query.members()
    return book_format.begin(members) + book_format.encode(page.items, members)


async def _parts(
    database: Database, page: schemas.BookPage, query: BookQuery, book_format: BookFormat, *, is_head: bool
) -> AsyncIterator[bytes]:
    members = query.members()
    yield _encode_first(page, query, book_format)
    while page.next_cursor is not None and not is_head:
        following = msgspec.structs.replace(query, cursor=page.next_cursor)

        def read(session: Session, query: BookQuery = following) -> schemas.BookPage:
            body = BookRepository(session, database.profile.loading).page(query).body
            assert isinstance(body, schemas.BookPage)
            return body

        page = await _read(database, read)
        yield book_format.encode(page.items, members)


async def _read(database: Database, read: Callable[[Session], schemas.BookPage]) -> schemas.BookPage:
    """Read a part. A client that waited for half of the catalogue is worth another attempt."""
    for pause_s in PAUSES_S:
        try:
            return await database.run(read, reading=True)
        except Exception as error:
            problem = error.code if isinstance(error, ApiError) else (sqlstate.server_problem(error) or ("",))[0]
            if problem not in _PASSING:
                raise
        await asyncio.sleep(pause_s)
    return await database.run(read, reading=True)
