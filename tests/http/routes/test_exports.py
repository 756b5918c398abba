"""Lists of books as CSV and NDJSON: the same books as the JSON pages, in bounded parts, with recognisable errors."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, get_args

import httpx
import psycopg
import pytest
import sqlalchemy as sa

from bookstore.catalog import schemas
from bookstore.catalog.book_formats import FORMATS
from bookstore.catalog.datasets import import_file
from bookstore.catalog.repositories import BookQuery, BookRepository
from bookstore.database.unit_of_work import make_database
from bookstore.database.url import conninfo
from bookstore.http import compression
from bookstore.http.routes import exports
from bookstore.profile.engine_profile import Driver, EngineProfile, Loading

from .conftest import Client, Serve

pytestmark = pytest.mark.anyio

Own = Callable[..., AbstractContextManager[sa.URL]]

CSV = {"Accept": "text/csv"}
NDJSON = {"Accept": "application/x-ndjson"}
CATALOGUE = (
    r"INSERT INTO author (name) VALUES ('=cmd|''/C calc''!A0'), ('Davis, Sammy'), ('\, both'), ('Plain')",
    "INSERT INTO genre (name, slug) VALUES ('Drama', 'drama'), ('-1; x', 'x')",
    """INSERT INTO book (title, isbn13, publication_year, language) VALUES ('=1+1', '9780439023481', -720, 'en-GB'),
        ('''=1', NULL, 1984, NULL), ('"Quoted", said she', NULL, NULL, 'de'), ('@x', NULL, NULL, NULL)""",
    "INSERT INTO book (title) SELECT 'Book ' || n FROM generate_series(5, 25) n",
    "INSERT INTO book_author VALUES (1, 0, 1), (1, 1, 2), (2, 0, 3), (3, 0, 4), (3, 1, 1)",
    "INSERT INTO book_genre VALUES (1, 1), (1, 2), (2, 2)",
)


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PART", 4)


@pytest.fixture(scope="module")
def shelf_url(own_database: Own) -> Iterator[sa.URL]:
    """A database with books 1 to 25, some with texts that are difficult in CSV."""
    with own_database(*CATALOGUE) as url:
        yield url


@pytest.fixture
async def shelf(shelf_url: sa.URL, driver: Driver, serve: Serve) -> AsyncIterator[Client]:
    async with serve(shelf_url, driver, loading="json") as client:
        yield client


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("query", ["", "?sort=-title", "?genre=x&fields=title,authors", "?id=1,2,3", "?fields=id"])
async def test_the_whole_list(shelf: Client, query: str) -> None:
    """Without limit, both formats have all books of the list, in its order, and the NDJSON lines are its items."""
    items = (await shelf.get(f"/books?limit=200&{query[1:]}")).json()["items"]
    lines = await shelf.get(f"/books{query}", headers=NDJSON)
    assert [json.loads(line) for line in lines.text.splitlines()] == items
    table = await shelf.get(f"/books{query}", headers=CSV)
    assert [list(row) for row in rows(table.text)] == [list(item) for item in items]
    for answer in (lines, table):
        assert (answer.status_code, answer.headers["vary"]) == (200, "Accept, Accept-Encoding")
        assert "link" not in answer.headers
        assert "content-length" not in answer.headers
    assert table.headers["content-type"].startswith("text/csv")


@pytest.mark.parametrize("driver", get_args(Driver))
async def test_same_bytes_under_every_strategy(shelf_url: sa.URL, driver: Driver, serve: Serve) -> None:
    """The bytes of both formats do not depend on the loading strategy, nor, through the first test, on the driver."""
    found = set()
    for loading in get_args(Loading):
        async with serve(shelf_url, driver, loading=loading) as client:
            answers = [
                (await client.get(f"/books?fields={fields}", headers=headers)).content
                for headers in (CSV, NDJSON)
                for fields in ("id,title,authors,genres", "isbn13,created_at,publication_year")
            ]
            found.add(tuple(answers))
    assert len(found) == 1


async def test_cells(shelf: Client) -> None:
    """A cell that begins like a formula gets an apostrophe; names are joined with escaped separators; null is empty."""
    books = rows((await shelf.get("/books", headers=CSV)).text)
    assert books[0] == {
        "id": "1", "title": "'=1+1", "isbn13": "9780439023481", "publication_year": "-720", "language": "en-GB",
        "authors": "'=cmd|'/C calc'!A0, Davis\\, Sammy", "genres": "Drama; -1\\; x",
    }  # fmt: skip
    assert (books[1]["title"], books[1]["authors"], books[1]["genres"]) == ("''=1", "\\\\\\, both", "'-1\\; x")
    assert (books[2]["title"], books[2]["isbn13"], books[2]["genres"]) == ('"Quoted", said she', "", "")


async def test_import(shelf: Client, shelf_url: sa.URL, own_database: Own, tmp_path: Path) -> None:
    """`bookstore catalog import` restores the books, authors and genres of a CSV export without a correction."""
    contents = b"""SELECT title, isbn13, publication_year, language,
        ARRAY(SELECT name FROM book_author JOIN author ON author.id = author_id WHERE book_id = book.id
            ORDER BY position),
        ARRAY(SELECT name FROM book_genre JOIN genre ON genre.id = genre_id WHERE book_id = book.id ORDER BY name)
        FROM book ORDER BY id"""
    file = tmp_path / "books.csv"
    file.write_bytes((await shelf.get("/books", headers=CSV)).content)
    with own_database() as other, psycopg.connect(conninfo(other)) as copy, psycopg.connect(conninfo(shelf_url)) as old:
        report = import_file(copy, file)
        assert (report.refused, report.mended, report.unread_columns) == (0, 0, ["id"])
        assert copy.execute(contents).fetchall() == old.execute(contents).fetchall()


async def test_one_page(shelf: Client) -> None:
    """With limit, it is one page with a link to the next one; a cursor begins an export after its page."""
    page = await shelf.get("/books?limit=10&fields=id", headers=CSV)
    assert [book["id"] for book in rows(page.text)] == [str(number) for number in range(1, 11)]
    following = page.headers["link"].partition(">")[0].removeprefix("<")
    assert rows((await shelf.get(following, headers=CSV)).text)[0]["id"] == "11"
    rest = await shelf.get(following.replace("limit=10&", ""), headers=NDJSON)
    assert [json.loads(line)["id"] for line in rest.text.splitlines()] == list(range(11, 26))


async def test_lists_of_an_author_and_a_genre(shelf: Client) -> None:
    """The books of an author or a genre are exported too; an unknown one is 404, and an empty list only a header."""
    assert [book["id"] for book in rows((await shelf.get("/authors/1/books", headers=CSV)).text)] == ["1", "3"]
    assert len((await shelf.get("/genres/2/books", headers=NDJSON)).text.splitlines()) == 2
    missing = await shelf.get("/authors/99/books", headers=CSV)
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (await shelf.get("/books?author_id=99&fields=id", headers=CSV)).content == b"id\r\n"
    assert (await shelf.get("/books?author_id=99", headers=NDJSON)).content == b""


async def test_total_is_rejected(shelf: Client) -> None:
    """`total` has no place in these formats."""
    answer = await shelf.get("/books?total=true", headers=CSV)
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (400, "total")


async def test_tags(shelf: Client) -> None:
    """Each format has its own tag, which gives a 304; JSON varies by Accept too."""
    tags = {}
    for media_type in ("application/json", *FORMATS):
        headers = {"Accept": media_type}
        answer = await shelf.get("/books?id=1,2", headers=headers)
        tags[media_type] = answer.headers["etag"]
        again = await shelf.get("/books?id=1,2", headers=headers | {"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert "Accept" in again.headers["vary"].split(", ")
    assert len(set(tags.values())) == 3
    assert (await shelf.get("/books", headers=CSV | {"If-None-Match": tags["application/json"]})).status_code == 200


async def test_head(shelf: Client) -> None:
    """HEAD has the headers of GET, and no body."""
    head, get = await shelf.head("/books", headers=CSV), await shelf.get("/books", headers=CSV)
    assert head.content == b""
    assert {**head.headers, "x-request-id": ""} == {**get.headers, "x-request-id": ""}


@pytest.mark.parametrize("coding", compression.CODINGS)
async def test_compression(shelf: Client, coding: str) -> None:
    """A compressed export is one compressed document."""
    plain = (await shelf.get("/books", headers=CSV | {"Accept-Encoding": "identity"})).content
    async with shelf.stream("GET", "/books", headers=CSV | {"Accept-Encoding": coding}) as answer:
        packed = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == coding
    assert compression.decode(packed, coding) == plain


async def test_at_most_so_many_at_once(shelf_url: sa.URL, serve: Serve) -> None:
    """Further exports are 503 with Retry-After; pages and other requests are not. A place is free after its export."""
    async with serve(shelf_url, "asyncpg", loading="json") as client:
        slots = client.app.state.exports
        with slots.one(), slots.one():
            refused = await client.get("/books", headers=CSV)
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
            assert (await client.get("/books?limit=5", headers=CSV)).status_code == 200
            assert (await client.get("/books")).status_code == 200
        for _ in range(exports.AT_ONCE + 1):
            assert (await client.get("/books", headers=CSV)).status_code == 200


@pytest.mark.parametrize("driver", get_args(Driver))
async def test_a_part_waits_for_the_pool(shelf_url: sa.URL, driver: Driver) -> None:
    """An export survives a moment without a free connection, and holds none between two parts."""
    profile = EngineProfile(name="test", driver=driver, pool_size=1, max_overflow=0, pool_timeout=0.05, gc="default")
    database = make_database(profile, shelf_url)
    await database.start()
    query = BookQuery(limit=4, fields="id")

    def read(session: Any) -> schemas.Representation:
        return BookRepository(session, "json").page(query)

    def occupy(session: Any) -> None:
        session.execute(sa.text("SELECT pg_sleep(0.15)"))

    try:
        first: Any = (await database.run(read, reading=True)).body
        parts = exports._parts(database, first, query, FORMATS["application/x-ndjson"], is_head=False)
        found = [await anext(parts)]
        occupied = asyncio.create_task(database.run(occupy, reading=True))
        await asyncio.sleep(0.02)
        found += [part async for part in parts]
        await occupied
    finally:
        await database.stop()
    assert [json.loads(line)["id"] for line in b"".join(found).splitlines()] == list(range(1, 26))


LONG_BOOKS = "INSERT INTO book (title) SELECT n || repeat('x', 900) FROM generate_series(1, 30000) n"
"""27 MB, several times what the sockets between server and client hold."""


def wait_until_idle(connection: psycopg.Connection[Any]) -> None:
    """Wait until the service has filled the buffers: no transaction is open ten times in a row."""
    busy = """SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"""
    idle = 0
    for _ in range(300):
        idle = idle + 1 if connection.execute(busy.encode()).fetchone() == (0,) else 0
        if idle == 10:
            return
        time.sleep(0.05)
    raise AssertionError("the service keeps a transaction open")


@pytest.mark.parametrize("loading", ["rows", "json"])
def test_a_slow_reader_and_an_error(own_database: Own, deployed: Callable[..., Any], loading: str) -> None:
    """While the client does not read, the service has no transaction open. An error in the middle breaks the response
    off, so that no client takes it for a whole one."""
    with (
        own_database(LONG_BOOKS) as url,
        psycopg.connect(conninfo(url), autocommit=True) as connection,
        deployed(url, BOOKSTORE_PROFILE=f"default@loading={loading}") as address,
        httpx.stream("GET", f"{address}/books", headers=CSV | {"Accept-Encoding": "identity"}) as answer,
    ):
        assert answer.status_code == 200
        body = answer.iter_raw()
        next(body)
        wait_until_idle(connection)
        connection.execute("DROP TABLE book CASCADE")
        with pytest.raises(httpx.RemoteProtocolError):
            list(body)
