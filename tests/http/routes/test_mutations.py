"""Writing: confirmed changes are stored, rejected ones are not, and no update is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from litestar.testing import AsyncTestClient

from bookstore.app import make_app
from bookstore.database.unit_of_work import make_database
from bookstore.database.url import conninfo
from bookstore.profile.engine_profile import Driver, EngineProfile

from .conftest import CATALOGUE, OTHER_TOKEN, TOKEN, WRITERS, Client, Serve

pytestmark = pytest.mark.anyio

NEW = {"title": "Dune", "isbn13": "0-441-17271-7", "author_ids": [2, 1], "genre_ids": [2, 1], "language": "en-US"}


async def etag(client: Client, path: str) -> str:
    return (await client.get(path)).headers["ETag"]


async def test_create_book(writer: Client) -> None:
    """POST returns 201 with the book, its location and its validators; GET at that location returns the same."""
    created = await writer.post("/books", json=NEW | {"title": "  Du\u0301ne\u00a0 "})
    assert created.status_code == 201
    assert created.json() == {
        "id": 2,
        "title": "Dúne",
        "isbn13": "9780441172719",
        "publication_year": None,
        "language": "en-US",
        "authors": [{"id": 2, "name": "Ben"}, {"id": 1, "name": "Ann"}],
        "genres": [{"id": 1, "name": "Drama"}, {"id": 2, "name": "Poetry"}],
    }
    assert created.headers["Location"] == "/books/2"
    book = await writer.get("/books/2")
    assert book.content == created.content
    assert book.headers["ETag"] == created.headers["ETag"]
    assert (await writer.get("/books?q=dune ben")).json()["items"] == [created.json()]


async def test_all_errors(writer: Client) -> None:
    """A 422 lists each invalid member with its pointer, whether it violates a type, a rule or a reference."""
    answer = await writer.post("/books", json={"title": 7, "isbn13": None, "author_ids": [1, "x"], "colour": "red"})
    assert answer.status_code == 422
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/title", "/author_ids/1", "/colour"}
    answer = await writer.post("/books", json={"title": " ", "isbn13": "9780441172718", "genre_ids": [1, 1]})
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/title", "/isbn13", "/genre_ids/1"}
    answer = await writer.post("/books", json={"title": "x", "author_ids": [1, 77], "genre_ids": [88]})
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/author_ids/1", "/genre_ids/0"}
    assert (await writer.get("/books?total=true")).json()["total"] == 1


async def test_isbn_in_use(writer: Client) -> None:
    """The 409 names the book that has the ISBN, for POST, PUT and PATCH alike, and nothing is stored."""
    taken = {"title": "Another", "isbn13": "978-0-439-02348-1"}
    rejected = await writer.post("/books", json=taken)
    assert (rejected.status_code, rejected.json()["code"]) == (409, "isbn_taken")
    assert "/books/1 " in rejected.json()["detail"]
    path = (await writer.post("/books", json=NEW)).headers["Location"]
    match = {"If-Match": "*"}
    for rejected in (
        await writer.put(path, json=taken, headers=match),
        await writer.patch(path, json={"isbn13": taken["isbn13"]}, headers=match),
    ):
        assert (rejected.status_code, rejected.json()["code"]) == (409, "isbn_taken")
    assert (await writer.get(path)).json()["title"] == "Dune"


async def test_put_replaces_all(writer: Client) -> None:
    """PUT replaces everything and creates a new version; search finds the book only by its new words."""
    tag = await etag(writer, "/books/1")
    put = await writer.put("/books/1", json={"title": "Persuasion", "author_ids": [1]}, headers={"If-Match": tag})
    assert put.status_code == 200
    assert put.json() == {
        "id": 1,
        "title": "Persuasion",
        "isbn13": None,
        "publication_year": None,
        "language": None,
        "authors": [{"id": 1, "name": "Ann"}],
        "genres": [],
    }
    assert put.headers["ETag"] != tag
    counts = {
        q: len((await writer.get("/books", params={"q": q})).json()["items"]) for q in ("persuasion", "emma", "ben")
    }
    assert counts == {"persuasion": 1, "emma": 0, "ben": 0}


async def test_patch_changes_what_it_names(writer: Client) -> None:
    """A merge patch changes the given members, null clears a member, others stay; RFC 7396's media type works too."""
    tag = await etag(writer, "/books/1")
    patched = await writer.patch(
        "/books/1",
        content=b'{"publication_year": null, "genre_ids": [2]}',
        headers={"If-Match": tag, "Content-Type": "application/merge-patch+json"},
    )
    assert patched.status_code == 200
    book = patched.json()
    assert (book["title"], book["publication_year"], [link["id"] for link in book["genres"]]) == ("Emma", None, [2])
    assert [link["id"] for link in book["authors"]] == [2, 1]
    for invalid, pointer in (({"title": None}, "/title"), ({"id": 7}, "/id"), ({"id": None}, "/id"), ([], "")):
        rejected = await writer.patch("/books/1", json=invalid, headers={"If-Match": "*"})
        assert (rejected.status_code, rejected.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_unchanged_book_keeps_its_version(writer: Client) -> None:
    """A PATCH or PUT that changes nothing keeps version and ETag."""
    tag = await etag(writer, "/books/1")
    for answer in (
        await writer.patch("/books/1", json={"title": "Emma"}, headers={"If-Match": tag}),
        await writer.patch("/books/1", json={}, headers={"If-Match": tag}),
    ):
        assert (answer.status_code, answer.headers["ETag"]) == (200, tag)


@pytest.mark.parametrize("path", ["/books/1", "/authors/1", "/genres/1"])
async def test_writes_require_if_match(writer: Client, path: str) -> None:
    """PUT and PATCH are 428 without If-Match; with an outdated or weak tag, they and DELETE are 412; `*` matches."""
    name = "title" if path == "/books/1" else "name"
    tag = await etag(writer, path)
    for method in ("PUT", "PATCH"):
        answer = await writer.request(method, path, json={name: "New"})
        assert (answer.status_code, answer.json()["code"]) == (428, "if_match_required")
    assert (await writer.put(path, json={name: "Newer"}, headers={"If-Match": f'"0", {tag}'})).status_code == 200
    for method in ("PUT", "PATCH", "DELETE"):
        for stale in (tag, f"W/{await etag(writer, path)}", '"', "junk", ""):
            answer = await writer.request(method, path, json={name: "Lost"}, headers={"If-Match": stale})
            assert (answer.status_code, answer.json()["code"]) == (412, "stale"), (method, stale)
    assert (await writer.get(path)).json()[name] == "Newer"
    assert (await writer.patch(path, json={name: "Newest"}, headers={"If-Match": "*"})).json()[name] == "Newest"


async def test_tag_of_a_compressed_body(writer: Client) -> None:
    """The ETag of a compressed body is valid for If-Match."""
    ids = [(await writer.post("/authors", json={"name": f"Author {n} of a long list"})).json()["id"] for n in range(40)]
    await writer.patch("/books/1", json={"author_ids": ids}, headers={"If-Match": "*"})
    coded = await writer.get("/books/1", headers={"Accept-Encoding": "gzip"})
    assert coded.headers["ETag"].endswith('-gzip"')
    answer = await writer.patch("/books/1", json={"title": "New"}, headers={"If-Match": coded.headers["ETag"]})
    assert answer.status_code == 200


async def test_unchanged_links_are_not_written(own_database: Any, driver: Driver) -> None:
    """A new title does not rewrite the links to authors and genres."""
    written: list[str] = []
    with own_database(*CATALOGUE) as url:
        database = make_database(EngineProfile(name="test", driver=driver, loading="json", gc="default"), url)
        engine = getattr(database, "_engine", None) or cast("Any", database)._reading.sync_engine
        sa.event.listen(engine, "before_cursor_execute", lambda *event: written.append(event[2]))
        headers = {"Authorization": f"Bearer {TOKEN}", "If-Match": "*"}
        async with AsyncTestClient(make_app(database, known=WRITERS)) as client:
            assert (await client.patch("/books/1", json={"title": "New"}, headers=headers)).status_code == 200
            assert not [sql for sql in written if "INSERT INTO book_author" in sql or "DELETE" in sql]
            written.clear()
            changed = {"author_ids": [1], "genre_ids": [2]}
            assert (await client.patch("/books/1", json=changed, headers=headers)).status_code == 200
            assert len([sql for sql in written if "DELETE" in sql]) == 2


async def test_delete_book(writer: Client) -> None:
    """DELETE is 204, then 404; the authors remain, and search no longer finds the book."""
    assert (await writer.delete("/books/1")).status_code == 204
    for method in ("DELETE", "GET", "HEAD"):
        assert (await writer.request(method, "/books/1")).status_code == 404
    gone = await writer.patch("/books/1", json={}, headers={"If-Match": "*"})
    assert gone.status_code == 404
    assert (await writer.get("/books?q=emma")).json()["items"] == []
    assert (await writer.get("/authors/1")).status_code == 200


async def test_rename_author(writer: Client) -> None:
    """An author's new name appears in their books, changes the books' ETag, and is found by search."""
    before = await writer.get("/books/1")
    renamed = await writer.patch("/authors/2", json={"name": "Benjamin"}, headers={"If-Match": "*"})
    assert renamed.json() == {"id": 2, "name": "Benjamin"}
    after = await writer.get("/books/1", headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert [author["name"] for author in after.json()["authors"]] == ["Benjamin", "Ann"]
    assert len((await writer.get("/books?q=benjamin")).json()["items"]) == 1
    await writer.patch("/genres/1", json={"name": "Tragedy"}, headers={"If-Match": "*"})
    assert (await writer.get("/books/1")).json()["genres"] == [{"id": 1, "name": "Tragedy"}]


@pytest.mark.parametrize(("path", "member"), [("/authors/2", "authors"), ("/genres/1", "genres")])
async def test_delete_referenced(writer: Client, path: str, member: str) -> None:
    """DELETE of an author or genre with books is 409; detach=true removes it from the books as a new version."""
    rejected = await writer.delete(path)
    assert (rejected.status_code, rejected.json()["code"]) == (409, "in_use")
    tag = await etag(writer, "/books/1")
    assert (await writer.delete(f"{path}?detach=true")).status_code == 204
    book = await writer.get("/books/1", headers={"If-None-Match": tag})
    assert book.status_code == 200
    assert path.endswith("2") is ([author["id"] for author in book.json()["authors"]] == [1])
    assert len(book.json()[member]) == (1 if member == "authors" else 0)
    assert len((await writer.get("/books?q=ben")).json()["items"]) == (0 if member == "authors" else 1)


async def test_create_author_and_genre(writer: Client) -> None:
    """POST creates an author, whose name need not be unique, and a genre, whose name and slug must be."""
    twin = await writer.post("/authors", json={"name": "Ann"})
    assert (twin.status_code, twin.headers["Location"], twin.json()) == (201, "/authors/3", {"id": 3, "name": "Ann"})
    created = await writer.post("/genres", json={"name": "Épopée"})
    assert created.status_code == 201
    assert created.json() == {"id": 3, "name": "Épopée", "slug": "epopee", "book_count": 0}
    for taken, pointer in (
        ({"name": "Drama", "slug": "other"}, "/name"),
        ({"name": "Other", "slug": "drama"}, "/slug"),
    ):
        rejected = await writer.post("/genres", json=taken)
        assert (rejected.status_code, rejected.json()["code"]) == (409, "name_taken")
        assert rejected.json()["errors"][0]["pointer"] == pointer
        assert "/genres/1 " in rejected.json()["detail"]
    assert (await writer.post("/genres", json={"name": "x", "slug": "1984"})).status_code == 422
    assert (await writer.post("/genres", json={"name": "1984"})).json()["slug"] == "genre-1984"


async def test_batch_is_all_or_nothing(writer: Client) -> None:
    """POST /books:batch creates books in order; if one is invalid, its pointer is reported and none is created."""
    books = [{"title": f"Book {n}", "author_ids": [1]} for n in range(1000)]
    created = await writer.post("/books:batch", json={"items": books})
    assert (created.status_code, created.json()) == (201, {"ids": list(range(2, 1002))})
    assert (await writer.get("/books/2")).json()["title"] == "Book 0"
    assert (await writer.get("/books/1001")).json()["title"] == "Book 999"
    good = {"title": "Good", "isbn13": "9780441172719"}
    for bad, status, pointer in (
        ({"title": ""}, 422, "/items/1/title"),
        ({"title": " "}, 422, "/items/1/title"),
        ({"title": "x", "author_ids": [77]}, 422, "/items/1/author_ids/0"),
        ({"title": "x", "isbn13": "0441172717"}, 422, "/items/1/isbn13"),
        ({"title": "x", "isbn13": "9780439023481"}, 409, "/items/1/isbn13"),
    ):
        rejected = await writer.post("/books:batch", json={"items": [good, bad]})
        assert (rejected.status_code, rejected.json()["errors"][0]["pointer"]) == (status, pointer)
    for size in (0, 1001):
        rejected = await writer.post("/books:batch", json={"items": [good] * size})
        assert (rejected.status_code, rejected.json()["errors"][0]["pointer"]) == (422, "/items")
    assert (await writer.get("/books?total=true")).json()["total"] == 1001


async def test_change_in_the_future(own_database: Any, driver: Driver, serve: Serve) -> None:
    """Last-Modified is never in the future, whatever the database's clock says, and does not lead to 304 then."""
    with own_database("INSERT INTO book (title, updated_at) VALUES ('x', now() + interval '1 day')") as url:
        async with serve(url, driver) as client:
            seen = await client.get("/books/1")
            changed_at = seen.headers["Last-Modified"]
            assert parsedate_to_datetime(changed_at) <= datetime.now(UTC)
            assert (await client.get("/books/1", headers={"If-Modified-Since": changed_at})).status_code == 200


async def test_idempotency_key(writer: Client) -> None:
    """The same request with the same Idempotency-Key gets the same response and creates nothing more. The key with
    another body or path is 422. Keys of different owners are independent, and a rejected request stores none."""
    key = {"Idempotency-Key": "a-key"}
    rejected = await writer.post("/books", json=NEW | {"author_ids": [77]}, headers=key)
    assert rejected.status_code == 422
    first = await writer.post("/books", json=NEW, headers=key)
    again = await writer.post("/books", json=NEW, headers=key)
    assert (again.status_code, again.content) == (201, first.content)
    for name in ("Location", "ETag", "Last-Modified"):
        assert again.headers[name] == first.headers[name]
    assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
    for path, body in (("/books", NEW | {"title": "x"}), ("/authors", NEW), ("/authors", {"name": "x"})):
        answer = await writer.post(path, json=body, headers=key)
        assert answer.status_code == 422
    reused = await writer.post("/authors", json={"name": "x"}, headers=key)
    assert reused.json()["code"] == "idempotency_key_reused"
    other = {**key, "Authorization": f"Bearer {OTHER_TOKEN}"}
    assert (await writer.post("/authors", json={"name": "x"}, headers=other)).status_code == 201
    assert (await writer.get("/books?total=true")).json()["total"] == 2


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\u00e9"])
async def test_invalid_key(writer: Client, key: str) -> None:
    """An invalid key is 400, and nothing is created."""
    headers = {b"Idempotency-Key": key.encode()}
    assert (await writer.post("/books", json=NEW, headers=headers)).status_code == 400


async def test_key_expires(own_database: Any, driver: Driver, serve: Serve) -> None:
    """A key expires after 24 hours and is then deleted."""
    with own_database(*CATALOGUE) as url:
        async with serve(url, driver) as client:
            headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "old"}
            for title in ("One", "Two"):
                assert (await client.post("/books", json={"title": title}, headers=headers)).status_code == 201
                with psycopg.connect(conninfo(url)) as connection:
                    connection.execute("UPDATE idempotency SET created_at = created_at - interval '25 hours'")
            headers["Idempotency-Key"] = "new"
            await client.post("/books", json={"title": "Three"}, headers=headers)
            with psycopg.connect(conninfo(url)) as connection:
                assert connection.execute("SELECT array_agg(key) FROM idempotency").fetchone() == (["new"],)


@asynccontextmanager
async def concurrent_client(url: sa.URL, driver: Driver, **keys: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A writing client whose requests run concurrently, with a small connection pool."""
    profile = EngineProfile(name="test", driver=driver, gc="default", pool_size=5, pool_timeout=60, **keys)
    app = make_app(make_database(profile, url), known=WRITERS)
    # Not Litestar's test client, which handles requests one after another.
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type] # Litestar types its messages more strictly
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers, timeout=60) as client,
    ):
        yield client


async def test_concurrent_requests_with_a_key(own_database: Any, driver: Driver) -> None:
    """Concurrent requests with the same key create one book and all get the same response."""
    request: dict[str, Any] = {"method": "POST", "url": "/books", "json": NEW, "headers": {"Idempotency-Key": "same"}}
    with own_database(*CATALOGUE) as url:
        async with concurrent_client(url, driver) as client:
            answers = await asyncio.gather(*(client.request(**request) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1


async def test_retry_after_disconnect(own_database: Any, driver: Driver) -> None:
    """A client that disconnects during a POST can repeat it with its key: there is one book, whatever happened to the
    first request."""
    request: dict[str, Any] = {"method": "POST", "url": "/books", "json": NEW, "headers": {"Idempotency-Key": "same"}}
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with own_database(*CATALOGUE) as url, psycopg.connect(conninfo(url)) as other:
        async with concurrent_client(url, driver) as client:
            other.execute("SELECT FROM author WHERE id = 1 FOR UPDATE")
            first = asyncio.ensure_future(client.request(**request))
            async with asyncio.timeout(30):
                while other.execute(waits).fetchone() != (1,):
                    await asyncio.sleep(0.01)
                    other.execute("SELECT pg_stat_clear_snapshot()")
            first.cancel()
            again = asyncio.ensure_future(client.request(**request))
            other.rollback()
            assert (await again).status_code == 201
            with pytest.raises(asyncio.CancelledError):
                await first
            assert (await client.get("/books?total=true")).json()["total"] == 2


async def test_concurrent_requests_with_an_isbn(own_database: Any, driver: Driver) -> None:
    """Of concurrent requests with the same ISBN, one creates the book and the others are 409."""
    with own_database(*CATALOGUE) as url:
        async with concurrent_client(url, driver) as client:
            answers = await asyncio.gather(*(client.post("/books", json=NEW) for _ in range(10)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


async def test_one_writer_wins_each_version(own_database: Any, driver: Driver) -> None:
    """Of 200 concurrent writers that name the same version, exactly one succeeds; the others get 412."""
    with own_database("INSERT INTO book (title) VALUES ('x')") as url:
        async with concurrent_client(url, driver) as client:
            for version in range(1, 4):
                headers = {"If-Match": f'"1.{version}.0.0"'}
                answers = await asyncio.gather(
                    *(client.patch("/books/1", json={"title": f"{version} {n}"}, headers=headers) for n in range(200))
                )
                assert sorted(answer.status_code for answer in answers) == [200] + [412] * 199
                winner = next(answer for answer in answers if answer.status_code == 200)
                assert (await client.get("/books/1")).content == winner.content


async def test_parallel_writers_lose_nothing(own_database: Any, driver: Driver) -> None:
    """Writers that read and retry after a 412 all succeed: there are as many versions as writers and no lost update."""
    writers = 40
    statuses: list[int] = []

    async def write(client: httpx.AsyncClient, number: int) -> None:
        while True:
            seen = await client.get("/books/1")
            title = f"{seen.json()['title']} {number}"
            match = {"If-Match": seen.headers["ETag"]}
            answer = await client.patch("/books/1", json={"title": title}, headers=match)
            statuses.append(answer.status_code)
            if answer.status_code != 412:
                return

    with own_database("INSERT INTO book (title) VALUES ('x')") as url:
        async with concurrent_client(url, driver) as client:
            await asyncio.gather(*(write(client, number) for number in range(writers)))
            last = await client.get("/books/1")
    assert set(statuses) <= {200, 412}
    assert statuses.count(200) == writers
    assert last.headers["ETag"] == f'"1.{writers + 1}.0.0"'
    assert sorted(map(int, last.json()["title"].split()[1:])) == list(range(writers))


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_concurrent_writes_under_snapshot_isolation(own_database: Any, driver: Driver, level: str) -> None:
    """Concurrent writes also succeed under a stricter isolation level, and search finds the new names."""
    with own_database(*CATALOGUE) as url:
        async with concurrent_client(url, driver, isolation_level=level) as client:
            new = {"title": "New", "author_ids": [1]}
            match = {"If-Match": "*"}
            answers = await asyncio.gather(
                *(client.post("/books", json=new) for _ in range(20)),
                *(client.patch("/authors/1", json={"name": f"Name {n}"}, headers=match) for n in range(20)),
            )
            assert {answer.status_code for answer in answers} == {200, 201}
            name = (await client.get("/authors/1")).json()["name"]
            assert (await client.get(f"/books?q={name}&total=true")).json()["total"] == 21


async def test_search_follows_concurrent_changes(own_database: Any, driver: Driver) -> None:
    """If a title and the names of both authors change concurrently, search finds the book by all new words."""
    match = {"If-Match": "*"}
    with own_database(*CATALOGUE) as url:
        async with concurrent_client(url, driver) as client:
            for n in range(10):
                changes = {"/books/1": {"title": f"Title{n}"}}
                changes |= {f"/authors/{author}": {"name": f"Name{author}{n}"} for author in (1, 2)}
                requests = (client.patch(path, json=body, headers=match) for path, body in changes.items())
                assert {answer.status_code for answer in await asyncio.gather(*requests)} == {200}
                found = await client.get(f"/books?q=Title{n} Name1{n} Name2{n}")
                assert [book["id"] for book in found.json()["items"]] == [1]


async def test_batches_do_not_deadlock(own_database: Any, driver: Driver) -> None:
    """Of concurrent batches with the same ISBNs in opposite orders, one succeeds and the others are 409, without a
    deadlock."""
    bodies = [f"978{n:09}" for n in range(500)]
    items = [{"title": "x", "isbn13": body + str(-sum(map(int, body[::2] + body[1::2] * 3)) % 10)} for body in bodies]
    with own_database() as url, psycopg.connect(conninfo(url), autocommit=True) as connection:
        async with concurrent_client(url, driver) as client:
            batches = [{"items": items}, {"items": items[::-1]}] * 2
            answers = await asyncio.gather(*(client.post("/books:batch", json=batch) for batch in batches))
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert connection.execute(deadlocks).fetchone() == (0,)


async def test_response_follows_the_commit(own_database: Any, driver: Driver, serve: Serve) -> None:
    """A failed commit is never a 2xx: a deferred constraint rejects it, and nothing is stored."""
    with own_database(
        *CATALOGUE,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$",
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT OR UPDATE OR DELETE ON book DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION refuse()",
    ) as url:
        async with serve(url, driver) as client:
            client.headers["Authorization"] = f"Bearer {TOKEN}"
            for method, path, body in (
                ("POST", "/books", NEW),
                ("POST", "/books:batch", {"items": [NEW]}),
                ("PATCH", "/books/1", {"title": "New"}),
                ("DELETE", "/books/1", None),
            ):
                answer = await client.request(
                    method, path, json=body, headers={"If-Match": "*", "Idempotency-Key": "k"}
                )
                assert (answer.status_code, answer.json()["code"]) == (503, "db_conflict"), (method, path)
                assert int(answer.headers["Retry-After"]) >= 1
        with psycopg.connect(conninfo(url)) as connection:
            assert connection.execute(
                "SELECT array_agg(title), (SELECT count(*) FROM idempotency) FROM book"
            ).fetchone() == (["Emma"], 0)


async def test_killed_backend(own_database: Any, driver: Driver, serve: Serve) -> None:
    """If the backend is killed at COMMIT, the client gets 503 and the book does not exist."""
    with own_database(
        *CATALOGUE,
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON book DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION die()",
    ) as url:
        async with serve(url, driver) as client:
            client.headers["Authorization"] = f"Bearer {TOKEN}"
            answer = await client.post("/books", json=NEW)
            assert (answer.status_code, answer.json()["code"]) == (503, "db_unavailable")
            assert (await client.get("/books?total=true")).json()["total"] == 1


async def test_change_genre_by_slug(writer: Client) -> None:
    """A genre can be replaced, changed and deleted by its slug."""
    match = {"If-Match": "*"}
    assert (await writer.patch("/genres/poetry", json={"name": "Poems"}, headers=match)).json()["id"] == 2
    assert (await writer.put("/genres/poetry", json={"name": "Verse"}, headers=match)).json()["slug"] == "verse"
    assert (await writer.patch("/genres/poetry", json={"name": "Poems"}, headers=match)).status_code == 404
    assert (await writer.delete("/genres/verse")).status_code == 204
    assert (await writer.get("/genres/2")).status_code == 404
    assert (await writer.delete("/genres/verse")).status_code == 404
