"""GET /authors?q=: finding authors by name."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Client

pytestmark = pytest.mark.anyio

NAMES = (
    "Gabriel García Márquez",
    "George Orwell",
    "Emily Bront\u00eb",
    "Emily Dickinson",
    "J.R.R. Tolkien",
    "村上春樹",
    "Лев Толстой",
    "Flann O\u2019Brien",
)


@pytest.fixture
async def shelf(writer: Client) -> Client:
    """A service with the authors of NAMES, of whom none has a book, and a title that resembles a name."""
    for name in NAMES:
        assert (await writer.post("/authors", json={"name": name})).status_code == 201
    assert (await writer.post("/books", json={"title": "Orwel"})).status_code == 201
    return writer


async def names(client: Client, query: str) -> list[str]:
    answer = await client.get(f"/authors?{query}")
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=orwell", ["George Orwell"]), ("q=GARCIA+marquez", ["Gabriel García Márquez"]),
        ("q=orwel", ["George Orwell"]), ("q=tolkein", ["J.R.R. Tolkien"]), ("q=emly+bronte", ["Emily Brontë"]),
        ("q=tolkien+j", ["J.R.R. Tolkien"]), ("q=zzzz", []), ("q=%25", []), ("q='%22%5C%26|!:*", []),
        ("q=%E6%9D%91%E4%B8%8A%E6%98%A5%E6%A8%B9", ["村上春樹"]), ("q=orwell+dickinson", []),
        ("q=%E6%9D%91%E4%B8%8A", ["村上春樹"]), ("q=%E6%9D%91%E6%A8%B9", []), ("q=OBRIEN", ["Flann O\u2019Brien"]),
        ("q=брайен", []), ("q=толстйо", ["Лев Толстой"]), ("q=o%27brian", ["Flann O\u2019Brien"]),
        ("q=emily&sort=-name", ["Emily Dickinson", "Emily Brontë"]),
        ("q=emily&sort=id", ["Emily Brontë", "Emily Dickinson"]),
        ("q=Bronte%CC%88", ["Emily Brontë"]),
    ],
)  # fmt: skip
async def test_names(shelf: Client, query: str, expected: list[str]) -> None:
    """All words must be in the name; accents and case are ignored; an unknown word is replaced by similar names."""
    assert await names(shelf, query) == expected


async def test_pages(shelf: Client) -> None:
    """Pages, total and cursors work as for other lists, and a cursor belongs to one search text."""
    first: Any = (await shelf.get("/authors?q=emly&limit=1&total=true")).json()
    assert first["total"] == 2
    following = f"limit=1&cursor={first['next_cursor']}"
    both = {first["items"][0]["name"], *(await names(shelf, f"q=emly&{following}"))}
    assert both == {"Emily Brontë", "Emily Dickinson"}
    assert (await shelf.get(f"/authors?q=emily&{following}")).status_code == 400
    assert (await shelf.get(f"/authors?{following}")).status_code == 400


async def test_a_new_name(shelf: Client) -> None:
    """A renamed author is found by the new name, with typing errors, and no longer by the old one."""
    path = f"/authors/{(await shelf.get('/authors?q=orwell')).json()['items'][0]['id']}"
    renamed = await shelf.patch(path, json={"name": "Eric Blair"}, headers={"If-Match": "*"})
    assert renamed.status_code == 200
    assert await names(shelf, "q=erik+blairr") == ["Eric Blair"]
    assert await names(shelf, "q=orwell") == []


async def test_a_new_name_of_an_author_with_books(shelf: Client) -> None:
    """The new name is found with typing errors whether the author has books or not."""
    author_id = (await shelf.get("/authors?q=orwell")).json()["items"][0]["id"]
    book = await shelf.post("/books", json={"title": "Animal Farm", "author_ids": [author_id]})
    assert book.status_code == 201, book.text
    renamed = await shelf.patch(f"/authors/{author_id}", json={"name": "Eric Blair"}, headers={"If-Match": "*"})
    assert renamed.status_code == 200
    assert await names(shelf, "q=erik+blairr") == ["Eric Blair"]
    assert await names(shelf, "q=farm") == []
