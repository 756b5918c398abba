"""/books: lists, single books, rejected requests and their problems."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, get_args
from urllib.parse import quote, unquote

import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import AsyncTestClient

from bookstore.catalog import pagination
from bookstore.catalog.repositories import BookQuery
from bookstore.profile.engine_profile import Driver, Loading

pytestmark = pytest.mark.anyio

Client = AsyncTestClient[Litestar]
Serve = Callable[..., AbstractAsyncContextManager[Client]]

FIRST = {
    "id": 1, "title": "Book 1", "isbn13": None, "publication_year": None, "language": None,
    "authors": [{"id": 1, "name": "Ann"}], "genres": [{"id": 1, "name": "Drama"}],
}  # fmt: skip

INVALID_QUERIES = [
    "limit=0", "limit=-1", "limit=201", "limit=abc", "limit=1e9", "limit=1000000000", "limit=1.5", "limit=",
    "limit=true",
    "limit=9223372036854775808", "limit=" + "9" * 4000, "limit=%00", "limit=0x10", "limit=NaN",
    "cursor=", "cursor=abc", "cursor=1", "cursor=%00", "cursor=" + "A" * 4000, "cursor='; DROP TABLE book; --",
    "cursor=%F0%9F%92%A9", "cursor=%ff", "cursor=AgAAAAAAAAAU", "cursor=Af__________",
]  # fmt: skip

SECRETS = ["SELECT", "select ", "book_author", "sqlalchemy", "psycopg", "asyncpg", "Traceback", "postgres", ".py"]


def cursor_after(book_id: int) -> str:
    """Return the cursor of a page in id order that ends with `book_id`."""
    return pagination.encode([book_id], BookQuery(limit=1).list_key(), bytes(32))


def is_problem(response: Any, status: int, code: str) -> Any:
    """Check that the response is a problem with this code and without internal details, and return its body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    assert body["detail"]
    assert body["type"] == f"/problems#{code}"
    assert unquote(body["instance"]) == response.request.url.path
    assert body["instance"].isprintable()
    assert [secret for secret in SECRETS if secret in response.text] == []
    return body


@pytest.mark.parametrize("loading", get_args(Loading))
async def test_list(books_url: sa.URL, driver: Driver, serve: Serve, loading: Loading) -> None:
    """A page has 20 books by default, continues by its cursor and ends with null, with every driver and loading
    strategy."""
    async with serve(books_url, driver, loading=loading) as client:
        page = (await client.get("/books")).json()
        assert page["items"][0] == FIRST
        assert [book["id"] for book in page["items"]] == list(range(1, 21))
        assert page["next_cursor"] == cursor_after(20)
        page = (await client.get("/books", params={"cursor": page["next_cursor"], "limit": 200})).json()
        assert [book["id"] for book in page["items"]] == list(range(21, 26))
        assert page["next_cursor"] is None
        book = await client.get("/books/1")
        assert (book.status_code, book.json()) == (200, FIRST)
        assert book.headers["content-type"] == "application/json"
        assert (await client.get("/books/26")).status_code == 404


async def test_limits(client: Client) -> None:
    """The smallest and the largest limit are accepted, and a limit that covers all books ends the list."""
    assert len((await client.get("/books?limit=1")).json()["items"]) == 1
    assert len((await client.get("/books?limit=200")).json()["items"]) == 25
    assert (await client.get("/books?limit=25")).json()["next_cursor"] is None
    assert (await client.get("/books?limit=24")).json()["next_cursor"] == cursor_after(24)


async def test_cursors_beyond_the_last_book(client: Client) -> None:
    """A cursor at the last book, or at the largest possible id, gives an empty last page."""
    for last in (25, 2**63 - 1):
        page = await client.get("/books", params={"cursor": cursor_after(last)})
        assert (page.status_code, page.json()) == (200, {"items": [], "next_cursor": None})


async def test_invalid_queries(client: Client) -> None:
    """An invalid limit or cursor is 400 and names the parameter; the service works afterwards."""
    for query in INVALID_QUERIES:
        name, value = query.split("=", 1)
        body = is_problem(await client.get(f"/books?{name}={quote(value, safe='%')}"), 400, "invalid_parameter")
        assert [error["parameter"] for error in body["errors"]] == [name], query
        assert all(error["detail"] for error in body["errors"])
    assert (await client.get("/books")).status_code == 200


async def test_both_invalid(client: Client) -> None:
    """An invalid limit together with an invalid cursor is 400."""
    is_problem(await client.get("/books?limit=0&cursor=abc"), 400, "invalid_parameter")


@pytest.mark.parametrize("book_id", ["26", "9223372036854775807"])
async def test_missing_book(client: Client, book_id: str) -> None:
    """An id that no book has is 404."""
    body = is_problem(await client.get(f"/books/{book_id}"), 404, "not_found")
    assert book_id in body["detail"]


@pytest.mark.parametrize("book_id", ["0", "-1", "9223372036854775808", "9" * 400])
async def test_impossible_ids(client: Client, book_id: str) -> None:
    """A number outside the range of ids is 404, never a 500 from the database."""
    is_problem(await client.get(f"/books/{book_id}"), 404, "not_found")


@pytest.mark.parametrize("path", ["/books/abc", "/books/1.5", "/books/%00", "/books/1/x", "/nothing", "/books/1e3"])
async def test_unknown_paths(client: Client, path: str) -> None:
    """A path without a route is 404, as problem details."""
    is_problem(await client.get(path), 404, "not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_other_methods(client: Client, method: str) -> None:
    """An unsupported method is 405, and Allow lists the supported ones."""
    for path in ("/books/isbn/9780439023481", "/authors/1/books"):
        response = await client.request(method, path)
        is_problem(response, 405, "method_not_allowed")
        assert "GET" in response.headers["allow"]


async def test_unknown_parameters(client: Client) -> None:
    """An unknown or repeated parameter is 400 and named, so that a typo cannot cause endless paging."""
    body = is_problem(await client.get("/books?limt=5&limit=1&limit=2"), 400, "invalid_parameter")
    assert [error["parameter"] for error in body["errors"]] == ["limit", "limt"]
    assert "limit (did you mean that?)" in body["errors"][1]["detail"]
    many = "&".join(f"p{n}=" for n in range(100))
    body = is_problem(await client.get(f"/health/live?{many}"), 400, "invalid_parameter")
    assert len(body["errors"]) == 20


@pytest.mark.parametrize("path", ["/books/1", "/books/isbn/9780439023481", "/authors/1", "/genres/1", "/authors"])
async def test_parameters_of_other_routes(client: Client, path: str) -> None:
    """Parameters of book lists are rejected elsewhere, where `fields` would be ignored silently."""
    body = is_problem(await client.get(f"{path}?fields=id"), 400, "invalid_parameter")
    assert [error["parameter"] for error in body["errors"]] == ["fields"]


async def test_debug_stays_off(books_url: sa.URL, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """LITESTAR_DEBUG=1 does not expose source code: a bug is a 500 without details."""
    monkeypatch.setenv("LITESTAR_DEBUG", "1")
    async with serve(books_url, "asyncpg") as client:
        assert client.app.debug is False

        def fail(*_: object, **__: object) -> None:
            raise LookupError("hidden SELECT")

        monkeypatch.setattr("bookstore.http.routes.responses.BookRepository", fail)
        is_problem(await client.get("/books"), 500, "internal")
