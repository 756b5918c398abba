"""/changes: a client that follows it has the same books as the catalogue, whatever writers do at the same time."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psycopg
import pytest
import sqlalchemy as sa

from bookstore.catalog import pagination
from bookstore.catalog.repositories import changes
from bookstore.database import embedded
from bookstore.database.url import conninfo
from bookstore.profile.engine_profile import Driver, Loading

from ...conftest import Deployed, OwnDatabase
from .conftest import CATALOGUE, TOKEN, WRITERS, Client, Serve

pytestmark = pytest.mark.anyio

Books = dict[int, Any]


class Follower:
    """A client with a copy of the books."""

    def __init__(self, client: httpx.AsyncClient, limit: int = 20) -> None:
        self.books: Books = {}
        self.received: list[tuple[int, str]] = []
        """The (id, op) of the changes of the last poll."""
        self.cursor: str | None = None
        self._client = client
        self._limit = limit

    async def poll(self) -> None:
        """Apply changes until the copy is in step."""
        self.received = []
        has_more = True
        while has_more:
            since = {} if self.cursor is None else {"since": self.cursor}
            answer = await self._client.get("/changes", params={"limit": self._limit, **since})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            for change in page["items"]:
                self.received.append((change["id"], change["op"]))
                if change["op"] == "upsert":
                    self.books[change["id"]] = change["book"]
                else:
                    assert "book" not in change
                    self.books.pop(change["id"], None)
            assert self.cursor != page["next_cursor"] or not page["items"]
            self.cursor, has_more = page["next_cursor"], page["has_more"]


async def catalogue(client: httpx.AsyncClient) -> Books:
    """All books, read as pages of a list."""
    books: Books = {}
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/books", params={"limit": 200, **cursor})).json()
        books |= {book["id"]: book for book in page["items"]}
        if page["next_cursor"] is None:
            return books
        cursor = {"cursor": page["next_cursor"]}


@pytest.fixture
async def database(own_database: OwnDatabase) -> AsyncIterator[sa.URL]:
    with own_database(*CATALOGUE) as url:
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            # Random writers deadlock at times, and are retried; by default PostgreSQL looks for that after a second.
            connection.execute(f"ALTER DATABASE \"{url.database}\" SET deadlock_timeout = '20ms'".encode())
        yield url


@asynccontextmanager
async def transaction(url: sa.URL) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection of another writer; it commits when its block ends."""
    async with await psycopg.AsyncConnection.connect(conninfo(url)) as connection:
        yield connection


async def test_copy_then_changes(writer: Client) -> None:
    """The first pages have every book; later ones only what changed, with deletions, in the order of the changes."""
    for number in range(5):
        await writer.post("/books", json={"title": f"Book {number}", "author_ids": [1], "genre_ids": [2]})
    follower = Follower(writer, limit=2)
    await follower.poll()
    assert follower.received == [(number, "upsert") for number in range(1, 7)]
    assert follower.books == await catalogue(writer)
    await follower.poll()
    assert follower.received == []
    assert (await writer.delete("/books/4")).status_code == 204
    await writer.patch("/books/2", json={"title": "Changed"}, headers={"If-Match": "*"})
    await writer.post("/books:batch", json={"items": [{"title": "Seven"}, {"title": "Eight"}]})
    await follower.poll()
    assert follower.received == [(4, "delete"), (2, "upsert"), (7, "upsert"), (8, "upsert")]
    assert follower.books == await catalogue(writer)


async def test_a_page(writer: Client) -> None:
    """A change has plain members, the book as in GET /books/1, and must not be cached."""
    answer = await writer.get("/changes")
    (change,) = answer.json()["items"]
    assert change["book"] == (await writer.get("/books/1")).json()
    assert list(change) == ["id", "op", "changed_at", "book"]
    assert change["changed_at"].endswith("Z")
    assert list(answer.json()) == ["items", "next_cursor", "has_more"]
    assert answer.headers["Cache-Control"] == "no-store"


WRITES: dict[str, tuple[LiteralString, list[int]]] = {
    "rename an author": ("UPDATE author SET name = 'Anna' WHERE id = 1", [1]),
    "rename a genre": ("UPDATE genre SET name = 'Play' WHERE id = 1", [1]),
    "rename an author without books": ("UPDATE author SET name = 'Cy' WHERE id = 3", []),
    "an author's version": ("UPDATE author SET version = version + 1", []),
    "add a link": ("INSERT INTO book_genre VALUES (2, 1)", [2]),
    "change a link": ("UPDATE book_author SET position = 7 WHERE book_id = 1 AND position = 1", [1]),
    "move a link": ("UPDATE book_genre SET book_id = 2 WHERE book_id = 1", [1, 2]),
    "remove links": ("DELETE FROM book_author", [1]),
    "change a book": ("UPDATE book SET language = 'fr' WHERE id = 2", [2]),
    "change no book": ("UPDATE book SET language = 'fr' WHERE id = 99", []),
    "change a book's id": ("UPDATE book SET id = 5 WHERE id = 2", [2, 5]),
    "delete books with their links": ("DELETE FROM book", [1, 2]),
    "truncate": ("TRUNCATE book CASCADE", [1, 2]),
    "truncate links": ("TRUNCATE book_genre", [1]),
    "merge": (
        """MERGE INTO book USING (VALUES (2), (9)) AS given (id) ON book.id = given.id
        WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, title) VALUES (given.id, 'Nine')""",
        [2, 9],
    ),
}


@pytest.mark.parametrize("driver", ["asyncpg"])
@pytest.mark.parametrize("write", WRITES)
async def test_writes_by_sql(database: sa.URL, serve: Serve, driver: Driver, write: str) -> None:
    """Each statement that changes the representation of a book is a change of that book, and no other is."""
    statement, changed = WRITES[write]
    async with transaction(database) as sql:
        await sql.execute("INSERT INTO book (id, title) VALUES (2, 'Second')")
        await sql.execute("INSERT INTO author (name) VALUES ('Nobody')")
    async with serve(database, driver) as client:
        follower = Follower(client)
        await follower.poll()
        async with transaction(database) as sql:
            await sql.execute(statement)
        await follower.poll()
        assert sorted(number for number, _ in follower.received) == changed
        assert follower.books == await catalogue(client)


async def test_detach_and_rename(writer: Client) -> None:
    """Renaming and detaching authors and genres are changes of their books."""
    follower = Follower(writer)
    await follower.poll()
    for path, member in (("/authors/1", "authors"), ("/genres/1", "genres")):
        await writer.patch(path, json={"name": "Renamed"}, headers={"If-Match": "*"})
        await follower.poll()
        assert follower.received == [(1, "upsert")]
        assert "Renamed" in {item["name"] for item in follower.books[1][member]}
        assert (await writer.delete(f"{path}?detach=true")).status_code == 204
        await follower.poll()
        assert follower.received == [(1, "upsert")]
        assert follower.books == await catalogue(writer)


async def test_late_commit(driver: Driver, database: sa.URL, serve: Serve) -> None:
    """A transaction that began before another one and commits after a poll between them is not skipped."""
    async with serve(database, driver) as client:
        follower = Follower(client)
        await follower.poll()
        async with transaction(database) as first:
            await first.execute("UPDATE book SET title = 'Late' WHERE id = 1")
            async with transaction(database) as second:
                await second.execute("INSERT INTO book (id, title) VALUES (7, 'Early')")
            await follower.poll()
            assert follower.received == []  # the second one waits for the first one
        await follower.poll()
        assert sorted(follower.received) == [(1, "upsert"), (7, "upsert")]
        assert follower.books == await catalogue(client)


async def test_late_commit_during_the_copy(database: sa.URL, driver: Driver, serve: Serve) -> None:
    """A transaction that runs while the copy begins, and commits behind the copy's place, is not skipped."""
    async with serve(database, driver) as client:
        follower = Follower(client)
        async with transaction(database) as first:
            await first.execute("UPDATE book SET title = 'Late' WHERE id = 1")
            await first.execute("INSERT INTO book (id, title) VALUES (3, 'Behind')")
            async with transaction(database) as second:
                await second.execute("INSERT INTO book (id, title) VALUES (7, 'Early')")
            await follower.poll()
            assert follower.books.keys() == {1, 7}
        await follower.poll()
        assert follower.books == await catalogue(client)


async def test_name_and_link_at_once(database: sa.URL, driver: Driver, serve: Serve) -> None:
    """A rename waits for a transaction that adds a book of the author, and changes that book too."""
    async with serve(database, driver) as client:
        follower = Follower(client)
        await follower.poll()

        async def rename() -> None:
            async with transaction(database) as sql:
                await sql.execute("UPDATE author SET name = 'Anna' WHERE id = 1")

        async with transaction(database) as adding, asyncio.TaskGroup() as group:
            await adding.execute("INSERT INTO book (id, title) VALUES (7, 'New')")
            await adding.execute("INSERT INTO book_author VALUES (7, 0, 1)")
            renaming = group.create_task(rename())
            await _wait_for_a_lock(adding)
            assert not renaming.done()
            await adding.commit()
        await follower.poll()
        assert follower.books == await catalogue(client)
        assert follower.books[7]["authors"] == [{"id": 1, "name": "Anna"}]


async def _wait_for_a_lock(connection: psycopg.AsyncConnection[Any]) -> None:
    """Return once another session of the database waits for a lock."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
    for _ in range(2000):
        row = await (await connection.execute(waiting)).fetchone()
        if row and row[0]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("no session waits")


LOADING: dict[Driver, Loading] = {"asyncpg": "json", "psycopg": "rows", "psycopg-sync": "selectin"}


async def test_random_writers(database: sa.URL, driver: Driver, deployed: Deployed) -> None:
    """After random concurrent writes, by API and SQL, a follower that polled all the time has the same books."""
    profile = f"default@driver={driver},loading={LOADING[driver]},workers=2"
    with deployed(database, BOOKSTORE_PROFILE=profile, BOOKSTORE_API_TOKENS=WRITERS.tokens()[0].line()) as address:
        async with httpx.AsyncClient(
            base_url=address, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
        ) as client:
            follower = Follower(client, limit=3)
            writers = [asyncio.create_task(_write(client, database, f"{driver} {number}")) for number in range(6)]
            polls = 0
            while not all(task.done() for task in writers):
                await follower.poll()
                polls += 1
            await asyncio.gather(*writers)
            await follower.poll()
            assert follower.books == await catalogue(client)
            assert len(follower.books) > 1
            assert polls > 5


async def _write(client: httpx.AsyncClient, url: sa.URL, seed: str) -> None:
    rng = random.Random(seed)  # noqa: S311 - no secret
    any_version = {"If-Match": "*"}
    async with transaction(url) as sql:
        for _ in range(20):
            book, links = rng.randrange(1, 20), {"author_ids": rng.sample([1, 2], rng.randrange(3)), "genre_ids": [1]}
            match rng.randrange(7):
                case 0 | 1:
                    answer = await client.post("/books", json={"title": f"T{rng.random()}", **links})
                case 2:
                    answer = await client.patch(
                        f"/books/{book}", json={"title": f"P{rng.random()}"}, headers=any_version
                    )
                case 3:
                    answer = await client.patch(f"/books/{book}", json=links, headers=any_version)
                case 4:
                    answer = await client.delete(f"/books/{book}")
                case 5:
                    path = rng.choice(["/authors/1", "/genres/1"])
                    answer = await client.patch(path, json={"name": f"N{rng.random()}"}, headers=any_version)
                case _:  # holds its transaction open while others commit
                    await sql.execute("SET LOCAL lock_timeout = '2s'")
                    await sql.execute("INSERT INTO book (title) VALUES (%s)", [f"S{rng.random()}"])
                    await asyncio.sleep(rng.random() / 50)
                    await (sql.commit if rng.random() < 0.8 else sql.rollback)()
                    continue
            assert answer.status_code in {200, 201, 204, 404, 503}, answer.text  # 503: lost a conflict three times


@pytest.mark.parametrize("driver", ["psycopg"])
async def test_expired_cursor(database: sa.URL, driver: Driver, serve: Serve) -> None:
    """A cursor of a client that did not catch up for 30 days, or of another database, is 410; the next copy works."""
    async with serve(database, driver) as client:
        follower = Follower(client)
        await follower.poll()
        with psycopg.connect(conninfo(database)) as connection:
            (key,) = connection.execute("SELECT key FROM cursor_key").fetchone() or (b"",)
        cursor = changes.decode(follower.cursor or "", key)
        day = 86_400
        for old, status in (
            (cursor._replace(caught_up_at=cursor.caught_up_at - 29 * day), 200),
            (cursor._replace(caught_up_at=cursor.caught_up_at - 31 * day), 410),
            (cursor._replace(history="another one"), 410),
        ):
            answer = await client.get("/changes", params={"since": pagination.encode(old, "changes", key)})
            assert answer.status_code == status
        assert answer.json()["code"] == "cursor_expired"
        assert answer.json()["errors"][0]["parameter"] == "since"


@pytest.mark.parametrize("driver", ["psycopg"])
async def test_restored_dump(database: sa.URL, driver: Driver, serve: Serve, tmp_path: Path) -> None:
    """After pg_restore --clean into the same database, old cursors are 410, and new ones miss nothing."""
    async with serve(database, driver) as client:
        follower = Follower(client)
        await follower.poll()
    dump = tmp_path / "dump"
    target = conninfo(database)
    for command in (
        ["pg_dump", "-Fc", "-f", str(dump), target],
        ["pg_restore", "--clean", "--if-exists", "--exit-on-error", "-d", target, str(dump)],
    ):
        subprocess.run([str(embedded.binaries() / command[0]), *command[1:]], check=True)  # noqa: ASYNC221 - in a test
    async with serve(database, driver) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        assert (await client.get("/changes", params={"since": follower.cursor or ""})).status_code == 410
        follower = Follower(client)
        await follower.poll()
        await client.post("/books", json={"title": "After the restore"})
        await follower.poll()
        assert follower.received == [(2, "upsert")]
        assert follower.books == await catalogue(client)


async def test_expired_changes_are_deleted(database: sa.URL) -> None:
    """A write deletes changes older than 31 days, at most 100 and twice as many as it records; newer ones stay."""
    async with transaction(database) as sql:
        await sql.execute(
            "INSERT INTO book_change SELECT n, now() - interval '31 days 1 s' FROM generate_series(1000, 1149) n"
        )
        await sql.execute("INSERT INTO book_change VALUES (2000, now() - interval '30 days 23 hours')")
    left = []
    for _ in range(3):
        async with transaction(database) as sql:
            await sql.execute("UPDATE book SET language = 'de' WHERE id = 1")
            rows = await (await sql.execute("SELECT book_id FROM book_change ORDER BY 1")).fetchall()
            left.append([number for (number,) in rows])
    assert [len(numbers) for numbers in left] == [50, 2, 2]
    assert left[-1] == [1, 2000]


@pytest.mark.parametrize("since", ["x", "", "g3n_4tnOCTe0WzJd", "%00", "a" * 3000])
async def test_wrong_cursors(client: Client, since: str) -> None:
    """Text that is not a cursor of /changes is a 400 that names `since`."""
    answer = await client.get(f"/changes?since={since}")
    assert answer.status_code == 400
    assert [error["parameter"] for error in answer.json()["errors"]] == ["since"]


async def test_updated_since(writer: Client) -> None:
    """updated_since lists the books that changed at that time or later, in the order of updated_at, page by page."""
    for number in range(3):
        await writer.post("/books", json={"title": f"Book {number}"})
    await writer.patch("/books/2", json={"title": "Changed"}, headers={"If-Match": "*"})
    items = (await writer.get("/books?fields=id,updated_at")).json()["items"]
    times = {item["id"]: item["updated_at"] for item in items}
    query = {"updated_since": times[3], "fields": "id", "limit": 2}
    first = (await writer.get("/books", params=query)).json()
    second = (await writer.get("/books", params=query | {"cursor": first["next_cursor"]})).json()
    assert [item["id"] for page in (first, second) for item in page["items"]] == [3, 4, 2]
    assert second["next_cursor"] is None
    newest = (await writer.get("/books", params=query | {"sort": "-updated_at", "limit": 1})).json()
    assert newest["items"] == [{"id": 2}]
    found = (await writer.get("/books", params=query | {"q": "changed"})).json()
    assert found["items"] == [{"id": 2}]


@pytest.mark.parametrize("table", ["copy", "changes", "updated_since"])
async def test_index_ranges(database: sa.URL, table: str) -> None:
    """A page of a large feed is a range of an index: it reads no more rows than it returns."""
    statements: dict[str, LiteralString] = {
        "copy": "SELECT id FROM book WHERE id > 2000 ORDER BY id LIMIT 21",
        "changes": "SELECT book_id FROM book_change WHERE (position, book_id) > (1, 1) AND position <"
        " pg_snapshot_xmin(pg_current_snapshot())::text::bigint ORDER BY position, book_id LIMIT 21",
        "updated_since": "SELECT id FROM book WHERE updated_at >= now() - interval '1 day'"
        " ORDER BY updated_at, id LIMIT 21",
    }
    async with transaction(database) as sql:
        await sql.execute("INSERT INTO book (title) SELECT 'Book' FROM generate_series(1, 5000)")
    async with transaction(database) as sql:
        await sql.execute("ANALYZE book, book_change")
        plan = await (await sql.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + statements[table].encode())).fetchone()
    assert plan is not None
    scan = plan[0][0]["Plan"]["Plans"][0]
    assert scan["Node Type"].startswith("Index")
    assert scan["Actual Rows"] == 21
    assert scan.get("Rows Removed by Filter", 0) == 0
