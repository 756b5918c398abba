"""Reading over HTTP: filters, pagination links, and conditional requests."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import AsyncTestClient

from bookstore.app import make_app
from bookstore.database.unit_of_work import AsyncDatabase, Database, ThreadedDatabase, make_database
from bookstore.database.url import conninfo
from bookstore.profile.engine_profile import Driver, EngineProfile

pytestmark = pytest.mark.anyio

Client = AsyncTestClient[Litestar]
Own = Callable[..., AbstractContextManager[sa.URL]]

CATALOGUE = (
    "INSERT INTO author (name) VALUES ('Ann'), ('Émile')",
    "INSERT INTO genre (name, slug) VALUES ('Drama', 'drama'), ('Empty', 'empty')",
    """INSERT INTO book (title, isbn13, language, publication_year) VALUES ('Old A', '9780439023481', 'en', 1984),
        ('Old B', '9791090648524', 'en-US', NULL), ('Old C', NULL, 'de', 1985), ('Old D', NULL, NULL, -3)""",
    "INSERT INTO book_author VALUES (1, 0, 1), (2, 0, 2), (2, 1, 1), (3, 0, 2)",
    "INSERT INTO book_genre VALUES (1, 1), (3, 1)",
    "INSERT INTO book_document SELECT id, search_document(title, '') FROM book",
    "INSERT INTO search_word SELECT DISTINCT unnest(tsvector_to_array(document)) FROM book_document",
)
LISTS = ["/books", "/books?author_id=1", "/books?sort=-title&total=true", "/authors", "/genres?total=true",
         "/authors/1/books", "/genres/1/books"]  # fmt: skip
RESOURCES = ["/books/1", "/books/isbn/9780439023481", "/authors/1", "/genres/1"]


class Served:
    """A client, direct SQL access to its database, and the statements that the service sends."""

    def __init__(self, client: Client, database: Database, url: sa.URL) -> None:
        self.client = client
        self._database = database
        self._url = conninfo(url)

    def sql(self, *statements: str) -> None:
        with psycopg.connect(self._url) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._url)

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        assert isinstance(self._database, ThreadedDatabase | AsyncDatabase)
        database = self._database
        engine = database._engine if isinstance(database, ThreadedDatabase) else database._reading.sync_engine
        sent: list[str] = []

        def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            sent.append(statement)

        sa.event.listen(engine, "before_cursor_execute", record)
        yield sent
        sa.event.remove(engine, "before_cursor_execute", record)


@pytest.fixture
async def served(own_database: Own, driver: Driver) -> AsyncIterator[Served]:
    with own_database(*CATALOGUE) as url:
        database = make_database(EngineProfile(name="test", driver=driver, pool_size=1, gc="default"), url)
        async with AsyncTestClient(make_app(database)) as client:
            yield Served(client, database, url)


def ids(response: Any) -> list[int]:
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json()["items"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("author_id=1", [1, 2]), ("author_id=99", []), ("genre=drama", [1, 3]), ("genre=1", [1, 3]), ("genre=no", []),
        ("id=3,1,99,3", [1, 3]), ("id=4", [4]), ("id=99", []), ("id=1,2,3&language=en", [1, 2]),
        ("id=4,3,2,1&sort=-title&limit=3", [4, 3, 2]),
        ("isbn13=9791090648524,0-439-02348-3,9780306406157", [1, 2]),
        ("genre=drama,1", [1, 3]), ("genre=drama,empty", []), ("genre=1,99", []), ("genre=drama,9999999999999999", []),
        ("language=en", [1, 2]), ("language=en-US", [2]), ("isbn13=978-0-439-02348-1", [1]), ("isbn13=0439023483", [1]),
        ("year_from=1985", [3]), ("year_to=1984", [1, 4]), ("year_from=0&year_to=1984", [1]),
        ("year_from=2000&year_to=1000", []), ("author_id=1&genre=drama&language=en&year_to=1984", [1]),
        ("sort=-title", [4, 3, 2, 1]), ("sort=publication_year", [4, 1, 3, 2]),
        ("sort=-publication_year", [3, 1, 4, 2]),
    ],
)  # fmt: skip
async def test_filters(served: Served, query: str, expected: list[int]) -> None:
    """Each query returns the matching books in the requested order."""
    assert ids(await served.client.get(f"/books?{query}")) == expected


@pytest.mark.parametrize(
    "query",
    [
        "author_id=0", "author_id=x", "author_id=9223372036854775808", "genre=", "genre=Drama", "genre=a%20b",
        "genre=99999999999999999999", "language=EN", "language=english", "isbn13=1", "isbn13=9780439023480",
        "id=", "id=0", "id=01", "id=1,", "id=,1", "id=x", "id=1%202", "id=9223372036854775808", "id=1&id=2", "id=null",
        "id=" + "1," * 200 + "1", "isbn13=9780439023481,", "isbn13=9780439023481&isbn13=9791090648524",
        "genre=drama,", "genre=1&genre=2", "genre=a,b,c,d,e,f,g,h,i,j,k",
        "year_from=x", "year_from=10000", "year_to=-3001", "q=", "q=%00", "q=a%00b", "q=" + "a" * 101, "sort=price",
        "sort=relevance", "sort=", "sort=title,-id", "fields=price", "fields=", "total=maybe", "cursor=x", "limit=0",
    ],
)  # fmt: skip
async def test_invalid_queries(served: Served, query: str) -> None:
    """An invalid value is 400 with every driver."""
    answer = await served.client.get(f"/books?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter"), answer.text


async def test_empty_and_unknown(served: Served) -> None:
    """A genre without books has an empty list; an unknown author or genre is 404."""
    assert ids(await served.client.get("/genres/2/books")) == []
    for path in ("/authors/99", "/authors/99/books", "/genres/99", "/genres/99/books", "/books/isbn/9780306406157"):
        answer = await served.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_isbn(served: Served) -> None:
    """A book is found by its ISBN in every notation; an invalid ISBN is 404."""
    wanted = (await served.client.get("/books/1")).content
    for number in ("9780439023481", "978-0-439-02348-1", "0439023483", "0-439-02348-3"):
        assert (await served.client.get(f"/books/isbn/{number}")).content == wanted
    for number in ("9780439023480", "x", "%00", "1" * 21):
        assert (await served.client.get(f"/books/isbn/{number}")).status_code == 404


@pytest.mark.parametrize(
    "path", [*LISTS, "/books?q=old&fields=id,title", "/books?language=en&sort=-publication_year,title"]
)
async def test_links(served: Served, path: str) -> None:
    """Each Link leads to the page that next_cursor identifies, until there is none; the pages form the whole list."""
    client = served.client
    separator = "&" if "?" in path else "?"
    whole = ids(await client.get(path))
    seen, url = list[int](), f"{path}{separator}limit=1"
    for _ in range(10):
        answer = await client.get(url)
        seen += ids(answer)
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            assert "link" not in answer.headers
            break
        match = re.fullmatch(r'<([^<>"\s]+)>; rel="next"', answer.headers["link"])
        assert match is not None
        url = match[1]
        by_cursor = await client.get(f"{path}{separator}limit=1&cursor={cursor}")
        assert by_cursor.json() == (await client.get(url)).json()
    assert seen == whole
    assert len(whole) > 1


@pytest.mark.parametrize("path", LISTS)
async def test_conditional_list(served: Served, path: str) -> None:
    """While nothing is written, a request with a list's ETag is 304 after one statement that reads no table, with GET
    and HEAD."""
    first = await served.client.get(path)
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    assert first.headers["cache-control"] == "public, no-cache"
    for method in ("GET", "HEAD"):
        with served.statements() as sent:
            again = await served.client.request(method, path, headers={"If-None-Match": f'"x", {tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert len(sent) == 1
        assert not re.search("book|author|genre|FROM", sent[0])
    assert (await served.client.get(path, headers={"If-None-Match": 'W/"x"'})).content == first.content


@pytest.mark.parametrize("path", RESOURCES)
async def test_conditional_resource(served: Served, path: str) -> None:
    """A request with the current ETag of a book, author or genre is 304 after one statement."""
    first = await served.client.get(path)
    headers = {"If-None-Match": first.headers["etag"]}
    with served.statements() as sent:
        again = await served.client.get(path, headers=headers)
    assert (again.status_code, again.content, len(sent)) == (304, b"", 1)
    if "last-modified" in first.headers:
        with served.statements() as sent:
            again = await served.client.get(path, headers={"If-Modified-Since": first.headers["last-modified"]})
        assert (again.status_code, len(sent)) == (304, 1)
    else:
        assert path == "/genres/1"  # a new number of books does not change a timestamp


WRITES = {
    "book": "UPDATE book SET title = 'Z', version = version + 1 WHERE id = 1",
    "author": "UPDATE author SET name = 'Z', version = version + 1 WHERE id = 1",
    "genre": "UPDATE genre SET name = 'Z', version = version + 1 WHERE id = 1",
    "genre off": "WITH gone AS (DELETE FROM book_genre WHERE book_id = 1) UPDATE book SET version = version + 1",
    "other book": "UPDATE book SET title = 'Z', version = version + 1 WHERE id = 3",
    "isbn": "UPDATE book SET isbn13 = NULL, version = version + 1 WHERE id = 2",
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_tags_change_with_the_responses(served: Served, write: str) -> None:
    """After a committed change, every response that differs has a different tag, so no client keeps stale data."""
    before = {path: await served.client.get(path) for path in LISTS + RESOURCES}
    served.sql(write)
    changed = 0
    for path, old in before.items():
        answer = await served.client.get(path, headers={"If-None-Match": old.headers["etag"]})
        new = await served.client.get(path)
        if new.content != old.content:
            changed += 1
            assert (answer.status_code, answer.content) == (200, new.content)
            assert new.headers["etag"] != old.headers["etag"]
    assert changed


async def test_reused_isbn(served: Served) -> None:
    """If an ISBN moves to a new book, the tag differs, although both books are in their first version."""
    path = "/books/isbn/9780439023481"
    old = await served.client.get(path)
    served.sql("DELETE FROM book WHERE id = 1", "INSERT INTO book (title, isbn13) VALUES ('New', '9780439023481')")
    new = await served.client.get(path, headers={"If-None-Match": old.headers["etag"]})
    assert (new.status_code, new.json()["title"]) == (200, "New")


@pytest.mark.parametrize("commit", [True, False])
async def test_open_transactions(served: Served, commit: bool) -> None:
    """An uncommitted change in another session is invisible; once it is committed, no earlier tag gives a 304 for a
    changed response."""
    for path in ("/books", "/books/1", "/authors/1/books"):
        before = await served.client.get(path)
        with served.connect() as other:
            other.execute("UPDATE book SET title = title || '!', version = version + 1 WHERE id = 1")
            between = await served.client.get(path)
            assert between.json() == before.json()
            served.sql("UPDATE author SET name = name WHERE id = 2")  # started later, committed earlier
            between_too = await served.client.get(path)
            if not commit:
                other.rollback()
        after = await served.client.get(path)
        assert (after.json() != before.json()) == commit
        for old in (before, between, between_too):
            answer = await served.client.get(path, headers={"If-None-Match": old.headers["etag"]})
            if commit:
                assert (answer.status_code, answer.content) == (200, after.content)
            else:
                assert answer.status_code == 304 or answer.content == after.content


async def test_same_tag_same_body(served: Served) -> None:
    """Two responses for a path with the same tag have the same bytes, whatever is written in between."""
    rng = random.Random(3)  # noqa: S311 - not for security
    known: dict[tuple[str, str], bytes] = {}
    for _ in range(150):
        if rng.random() < 0.2:
            served.sql(rng.choice([*WRITES.values(), "SELECT 1"]))
        path = rng.choice(LISTS + RESOURCES)
        answer = await served.client.get(path)
        if answer.status_code == 200 and "etag" in answer.headers:
            assert known.setdefault((path, answer.headers["etag"]), answer.content) == answer.content
    assert len(known) > len(LISTS + RESOURCES)


async def test_head(served: Served) -> None:
    """HEAD has the headers of GET and no body on every path."""
    for path in LISTS + RESOURCES:
        get, head = await served.client.get(path), await served.client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("etag", "content-type", "content-length", "cache-control", "last-modified", "link"):
            assert head.headers.get(name) == get.headers.get(name)


async def test_genre_by_slug(served: Served) -> None:
    """A genre and its books can be read by slug as well as by id, with the same ETag."""
    for path in ("/genres/{}", "/genres/{}/books"):
        by_id, by_slug = [await served.client.get(path.format(key)) for key in (1, "drama")]
        assert by_slug.json() == by_id.json()
        assert by_slug.headers["etag"] == by_id.headers["etag"]
        headers = {"If-None-Match": by_id.headers["etag"]}
        assert (await served.client.get(path.format("drama"), headers=headers)).status_code == 304
    assert (await served.client.get("/genres/empty/books")).json()["items"] == []
    assert (await served.client.get("/genres/unknown")).json()["detail"] == "There is no genre unknown."
    assert (await served.client.get("/genres/unknown/books")).status_code == 404
