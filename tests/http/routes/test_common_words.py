"""Search words that very many books have: results are in id order only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bookstore.catalog.search import MAX_RANKED
from bookstore.profile.engine_profile import Driver

from .conftest import Serve

pytestmark = pytest.mark.anyio


async def test_common_words(own_database: Callable[..., Any], driver: Driver, serve: Serve) -> None:
    """Results can be paged by id, counted and filtered; another order is rejected with a reason."""
    with own_database(
        f"INSERT INTO book (title) SELECT 'the book ' || n FROM generate_series(1, {MAX_RANKED + 1}) n",  # noqa: S608 - a constant
        "INSERT INTO book_document SELECT id, search_document(title, NULL) FROM book",
        "INSERT INTO search_word VALUES ('the'), ('book')",
        "INSERT INTO author (name) VALUES ('Ann')",
        "INSERT INTO book_author VALUES (7, 0, 1), (4000, 0, 1)",
    ) as url:
        async with serve(url, driver, loading="json") as client:

            async def ids(query: str) -> tuple[list[int], dict[str, Any]]:
                page = (await client.get(f"/books?fields=id&limit=3&{query}")).json()
                return [book["id"] for book in page["items"]], page

            first, page = await ids("q=the&total=true")
            assert (first, page["total"]) == ([1, 2, 3], MAX_RANKED + 1)
            assert (await ids(f"q=the&cursor={page['next_cursor']}"))[0] == [4, 5, 6]
            assert (await ids("q=the&sort=-id"))[0] == [MAX_RANKED + 1, MAX_RANKED, MAX_RANKED - 1]
            assert (await ids("q=the&author_id=1"))[0] == [7, 4000]
            rejected = await client.get("/books?q=the&sort=title")
            assert (rejected.status_code, rejected.json()["errors"][0]["parameter"]) == (400, "sort")
            assert (await ids("q=the 77&sort=title"))[0] == [77]


async def test_common_names(own_database: Callable[..., Any], driver: Driver, serve: Serve) -> None:
    """The same holds for the names of authors."""
    with own_database(
        f"INSERT INTO author (name) SELECT 'Ann ' || n FROM generate_series(1, {MAX_RANKED + 1}) n",  # noqa: S608 - a constant
        "INSERT INTO author_word SELECT DISTINCT word FROM author, search_vocabulary(search_words(name)) AS word",
    ) as url:
        async with serve(url, driver) as client:

            async def ids(query: str) -> tuple[list[int], dict[str, Any]]:
                page = (await client.get(f"/authors?limit=3&{query}")).json()
                return [author["id"] for author in page["items"]], page

            first, page = await ids("q=ann&total=true")
            assert (first, page["total"]) == ([1, 2, 3], MAX_RANKED + 1)
            assert (await ids(f"q=ann&cursor={page['next_cursor']}"))[0] == [4, 5, 6]
            assert (await ids("q=ann&sort=-id"))[0] == [MAX_RANKED + 1, MAX_RANKED, MAX_RANKED - 1]
            rejected = await client.get("/authors?q=ann&sort=name")
            assert (rejected.status_code, rejected.json()["errors"][0]["parameter"]) == (400, "sort")
            assert (await ids("q=ann 77&sort=name"))[0] == [77]
