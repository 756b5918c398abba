"""Writing: what was answered is stored, what was refused is not, and nobody's change is lost."""

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

from .conftest import OTHER_TOKEN, SHELF, TOKEN, WRITERS, Client, Serve

pytestmark = pytest.mark.anyio

NEW = {"title": "Dune", "isbn13": "0-441-17271-7", "author_ids": [2, 1], "genre_ids": [2, 1], "language": "en-US"}


async def etag(client: Client, path: str) -> str:
    return (await client.get(path)).headers["ETag"]


async def test_a_book_is_made(writer: Client) -> None:
    """POST answers 201 with the book, its place and its validators; GET there gives the same."""
    made = await writer.post("/books", json=NEW | {"title": "  Du\u0301ne\u00a0 "})
    assert made.status_code == 201
    assert made.json() == {
        "id": 2,
        "title": "Dúne",
        "isbn13": "9780441172719",
        "publication_year": None,
        "language": "en-US",
        "authors": [{"id": 2, "name": "Ben"}, {"id": 1, "name": "Ann"}],
        "genres": [{"id": 1, "name": "Drama"}, {"id": 2, "name": "Poetry"}],
    }
    assert made.headers["Location"] == "/books/2"
    there = await writer.get("/books/2")
    assert there.content == made.content
    assert there.headers["ETag"] == made.headers["ETag"]
    assert (await writer.get("/books?q=dune ben")).json()["items"] == [made.json()]


async def test_every_mistake_is_told(writer: Client) -> None:
    """422 lists each wrong member with its pointer, whether a type, a rule or the catalogue tells."""
    answer = await writer.post("/books", json={"title": 7, "isbn13": None, "author_ids": [1, "x"], "colour": "red"})
    assert answer.status_code == 422
    assert {one["pointer"] for one in answer.json()["errors"]} == {"/title", "/author_ids/1", "/colour"}
    answer = await writer.post("/books", json={"title": " ", "isbn13": "9780441172718", "genre_ids": [1, 1]})
    assert {one["pointer"] for one in answer.json()["errors"]} == {"/title", "/isbn13", "/genre_ids/1"}
    answer = await writer.post("/books", json={"title": "x", "author_ids": [1, 77], "genre_ids": [88]})
    assert {one["pointer"] for one in answer.json()["errors"]} == {"/author_ids/1", "/genre_ids/0"}
    assert (await writer.get("/books?total=true")).json()["total"] == 1


async def test_a_taken_isbn_names_its_book(writer: Client) -> None:
    """409 says which book has the ISBN, for POST, PUT and PATCH alike, and nothing is stored."""
    taken = {"title": "Another", "isbn13": "978-0-439-02348-1"}
    refused = await writer.post("/books", json=taken)
    assert (refused.status_code, refused.json()["code"]) == (409, "isbn_taken")
    assert "/books/1 " in refused.json()["detail"]
    path = (await writer.post("/books", json=NEW)).headers["Location"]
    match = {"If-Match": "*"}
    for refused in (
        await writer.put(path, json=taken, headers=match),
        await writer.patch(path, json={"isbn13": taken["isbn13"]}, headers=match),
    ):
        assert (refused.status_code, refused.json()["code"]) == (409, "isbn_taken")
    assert (await writer.get(path)).json()["title"] == "Dune"


async def test_put_replaces_all(writer: Client) -> None:
    """PUT leaves nothing of what was there, makes a new version, and the book is found by its new words only."""
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
    found = {
        q: len((await writer.get("/books", params={"q": q})).json()["items"]) for q in ("persuasion", "emma", "ben")
    }
    assert found == {"persuasion": 1, "emma": 0, "ben": 0}


async def test_patch_changes_what_it_names(writer: Client) -> None:
    """A merge patch takes named members, null takes away, others stay; also with RFC 7396's own media type."""
    tag = await etag(writer, "/books/1")
    patched = await writer.patch(
        "/books/1",
        content=b'{"publication_year": null, "genre_ids": [2]}',
        headers={"If-Match": tag, "Content-Type": "application/merge-patch+json"},
    )
    assert patched.status_code == 200
    book = patched.json()
    assert (book["title"], book["publication_year"], [one["id"] for one in book["genres"]]) == ("Emma", None, [2])
    assert [one["id"] for one in book["authors"]] == [2, 1]
    for wrong, pointer in (({"title": None}, "/title"), ({"id": 7}, "/id"), ({"id": None}, "/id"), ([], "")):
        refused = await writer.patch("/books/1", json=wrong, headers={"If-Match": "*"})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_nothing_to_change_is_no_version(writer: Client) -> None:
    """A PATCH or PUT to what is there already keeps version and ETag."""
    tag = await etag(writer, "/books/1")
    for answer in (
        await writer.patch("/books/1", json={"title": "Emma"}, headers={"If-Match": tag}),
        await writer.patch("/books/1", json={}, headers={"If-Match": tag}),
    ):
        assert (answer.status_code, answer.headers["ETag"]) == (200, tag)


@pytest.mark.parametrize("path", ["/books/1", "/authors/1", "/genres/1"])
async def test_writes_name_the_state_they_mean(writer: Client, path: str) -> None:
    """PUT and PATCH without If-Match are 428; with a stale or a weak tag 412, also DELETE; with * they pass."""
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


async def test_a_coded_tag_is_its_plain_one(writer: Client) -> None:
    """The ETag that came with a compressed body is good for If-Match."""
    ids = [(await writer.post("/authors", json={"name": f"Author {n} of a long list"})).json()["id"] for n in range(40)]
    await writer.patch("/books/1", json={"author_ids": ids}, headers={"If-Match": "*"})
    coded = await writer.get("/books/1", headers={"Accept-Encoding": "gzip"})
    assert coded.headers["ETag"].endswith('-gzip"')
    answer = await writer.patch("/books/1", json={"title": "New"}, headers={"If-Match": coded.headers["ETag"]})
    assert answer.status_code == 200


async def test_a_change_writes_what_changed(own_database: Any, driver: Driver) -> None:
    """A new title leaves the links alone: no statement writes them."""
    written: list[str] = []
    with own_database(*SHELF) as url:
        database = make_database(EngineProfile(name="test", driver=driver, loading="json", gc="default"), url)
        engine = getattr(database, "_engine", None) or cast("Any", database)._reading.sync_engine
        sa.event.listen(engine, "before_cursor_execute", lambda *said: written.append(said[2]))
        headers = {"Authorization": f"Bearer {TOKEN}", "If-Match": "*"}
        async with AsyncTestClient(make_app(database, known=WRITERS)) as client:
            assert (await client.patch("/books/1", json={"title": "New"}, headers=headers)).status_code == 200
            assert not [sql for sql in written if "INSERT INTO book_author" in sql or "DELETE" in sql]
            written.clear()
            changed = {"author_ids": [1], "genre_ids": [2]}
            assert (await client.patch("/books/1", json=changed, headers=headers)).status_code == 200
            assert len([sql for sql in written if "DELETE" in sql]) == 2


async def test_a_book_is_removed_once(writer: Client) -> None:
    """DELETE is 204, then 404; the authors stay, and no search finds the book."""
    assert (await writer.delete("/books/1")).status_code == 204
    for method in ("DELETE", "GET", "HEAD"):
        assert (await writer.request(method, "/books/1")).status_code == 404
    gone = await writer.patch("/books/1", json={}, headers={"If-Match": "*"})
    assert gone.status_code == 404
    assert (await writer.get("/books?q=emma")).json()["items"] == []
    assert (await writer.get("/authors/1")).status_code == 200


async def test_a_name_is_everywhere(writer: Client) -> None:
    """An author's new name shows on the books, changes their ETag and Last-Modified's source, and finds them."""
    before = await writer.get("/books/1")
    renamed = await writer.patch("/authors/2", json={"name": "Benjamin"}, headers={"If-Match": "*"})
    assert renamed.json() == {"id": 2, "name": "Benjamin"}
    after = await writer.get("/books/1", headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert [one["name"] for one in after.json()["authors"]] == ["Benjamin", "Ann"]
    assert len((await writer.get("/books?q=benjamin")).json()["items"]) == 1
    await writer.patch("/genres/1", json={"name": "Tragedy"}, headers={"If-Match": "*"})
    assert (await writer.get("/books/1")).json()["genres"] == [{"id": 1, "name": "Tragedy"}]


@pytest.mark.parametrize(("path", "member"), [("/authors/2", "authors"), ("/genres/1", "genres")])
async def test_what_books_refer_to_stays(writer: Client, path: str, member: str) -> None:
    """DELETE of an author or genre with books is 409; with detach=true the books lose it, as a new version."""
    refused = await writer.delete(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    tag = await etag(writer, "/books/1")
    assert (await writer.delete(f"{path}?detach=true")).status_code == 204
    book = await writer.get("/books/1", headers={"If-None-Match": tag})
    assert book.status_code == 200
    assert path.endswith("2") is ([one["id"] for one in book.json()["authors"]] == [1])
    assert len(book.json()[member]) == (1 if member == "authors" else 0)
    assert len((await writer.get("/books?q=ben")).json()["items"]) == (0 if member == "authors" else 1)


async def test_authors_and_genres_are_made(writer: Client) -> None:
    """POST makes an author, of whose name there may be two, and a genre, of which there is one."""
    twin = await writer.post("/authors", json={"name": "Ann"})
    assert (twin.status_code, twin.headers["Location"], twin.json()) == (201, "/authors/3", {"id": 3, "name": "Ann"})
    made = await writer.post("/genres", json={"name": "Épopée"})
    assert made.status_code == 201
    assert made.json() == {"id": 3, "name": "Épopée", "slug": "epopee", "book_count": 0}
    for taken, pointer in (
        ({"name": "Drama", "slug": "other"}, "/name"),
        ({"name": "Other", "slug": "drama"}, "/slug"),
    ):
        refused = await writer.post("/genres", json=taken)
        assert (refused.status_code, refused.json()["code"]) == (409, "name_taken")
        assert refused.json()["errors"][0]["pointer"] == pointer
        assert "/genres/1 " in refused.json()["detail"]
    assert (await writer.post("/genres", json={"name": "x", "slug": "1984"})).status_code == 422
    assert (await writer.post("/genres", json={"name": "1984"})).json()["slug"] == "genre-1984"


async def test_a_batch_is_all_or_nothing(writer: Client) -> None:
    """POST /books:batch adds its books in order; one bad book, told by its pointer, and none is there."""
    books = [{"title": f"Book {n}", "author_ids": [1]} for n in range(1000)]
    made = await writer.post("/books:batch", json={"items": books})
    assert (made.status_code, made.json()) == (201, {"ids": list(range(2, 1002))})
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
        refused = await writer.post("/books:batch", json={"items": [good, bad]})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (status, pointer)
    for size in (0, 1001):
        refused = await writer.post("/books:batch", json={"items": [good] * size})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/items")
    assert (await writer.get("/books?total=true")).json()["total"] == 1001


async def test_nothing_changed_in_the_future(own_database: Any, driver: Driver, serve: Serve) -> None:
    """Last-Modified is not later than now, whatever the database's clock says, and such a book is no 304 by it."""
    with own_database("INSERT INTO book (title, updated_at) VALUES ('x', now() + interval '1 day')") as url:
        async with serve(url, driver) as client:
            seen = await client.get("/books/1")
            changed_at = seen.headers["Last-Modified"]
            assert parsedate_to_datetime(changed_at) <= datetime.now(UTC)
            assert (await client.get("/books/1", headers={"If-Modified-Since": changed_at})).status_code == 200


async def test_a_key_makes_one(writer: Client) -> None:
    """The same request with the same Idempotency-Key gets the same answer and makes nothing more; another
    body, path or batch with it is 422; another owner's key is another key; a refused request keeps none."""
    key = {"Idempotency-Key": "a-key"}
    refused = await writer.post("/books", json=NEW | {"author_ids": [77]}, headers=key)
    assert refused.status_code == 422
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
async def test_a_key_is_checked(writer: Client, key: str) -> None:
    """What is no key is 400, before anything is made."""
    headers = {b"Idempotency-Key": key.encode()}
    assert (await writer.post("/books", json=NEW, headers=headers)).status_code == 400


async def test_a_key_is_forgotten_after_a_day(own_database: Any, driver: Driver, serve: Serve) -> None:
    """A key older than 24 hours is a new one, and is no longer stored."""
    with own_database(*SHELF) as url:
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
async def crowd(url: sa.URL, driver: Driver, **keys: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A writing client whose requests run side by side, more of them than connections."""
    profile = EngineProfile(name="test", driver=driver, gc="default", pool_size=5, pool_timeout=60, **keys)
    app = make_app(make_database(profile, url), known=WRITERS)
    # Not Litestar's test client: that one answers one request after the other.
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type] # Litestar types its messages more strictly
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers, timeout=60) as client,
    ):
        yield client


async def test_two_at_once_make_one(own_database: Any, driver: Driver) -> None:
    """Requests with the same key that are under way together make one book and all get its answer."""
    request: dict[str, Any] = {"method": "POST", "url": "/books", "json": NEW, "headers": {"Idempotency-Key": "same"}}
    with own_database(*SHELF) as url:
        async with crowd(url, driver) as client:
            answers = await asyncio.gather(*(client.request(**request) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1


async def test_who_gave_up_asks_again(own_database: Any, driver: Driver) -> None:
    """A client that goes away in the middle of a POST repeats it with its key: one book, whatever became of the
    first request."""
    request: dict[str, Any] = {"method": "POST", "url": "/books", "json": NEW, "headers": {"Idempotency-Key": "same"}}
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with own_database(*SHELF) as url, psycopg.connect(conninfo(url)) as other:
        async with crowd(url, driver) as client:
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


async def test_two_at_once_take_an_isbn_once(own_database: Any, driver: Driver) -> None:
    """Of requests for books with the same ISBN that are under way together one makes it, the others are 409."""
    with own_database(*SHELF) as url:
        async with crowd(url, driver) as client:
            answers = await asyncio.gather(*(client.post("/books", json=NEW) for _ in range(10)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


async def test_one_writer_wins_each_version(own_database: Any, driver: Driver) -> None:
    """Of 200 writers who mean the same version at once, exactly one makes the next; the others get 412."""
    with own_database("INSERT INTO book (title) VALUES ('x')") as url:
        async with crowd(url, driver) as client:
            for version in range(1, 4):
                headers = {"If-Match": f'"1.{version}.0.0"'}
                answers = await asyncio.gather(
                    *(client.patch("/books/1", json={"title": f"{version} {n}"}, headers=headers) for n in range(200))
                )
                assert sorted(answer.status_code for answer in answers) == [200] + [412] * 199
                winner = next(answer for answer in answers if answer.status_code == 200)
                assert (await client.get("/books/1")).content == winner.content


async def test_parallel_writers_lose_nothing(own_database: Any, driver: Driver) -> None:
    """Writers who read and write again after a 412 all succeed: as many versions as writers, every mark there."""
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
        async with crowd(url, driver) as client:
            await asyncio.gather(*(write(client, number) for number in range(writers)))
            last = await client.get("/books/1")
    assert set(statuses) <= {200, 412}
    assert statuses.count(200) == writers
    assert last.headers["ETag"] == f'"1.{writers + 1}.0.0"'
    assert sorted(map(int, last.json()["title"].split()[1:])) == list(range(writers))


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_reading_by_snapshot_fails_no_write(own_database: Any, driver: Driver, level: str) -> None:
    """Under a profile that reads by snapshot, too, writes that meet all succeed, and search finds the new names."""
    with own_database(*SHELF) as url:
        async with crowd(url, driver, isolation_level=level) as client:
            new = {"title": "New", "author_ids": [1]}
            match = {"If-Match": "*"}
            answers = await asyncio.gather(
                *(client.post("/books", json=new) for _ in range(20)),
                *(client.patch("/authors/1", json={"name": f"Name {n}"}, headers=match) for n in range(20)),
            )
            assert {answer.status_code for answer in answers} == {200, 201}
            name = (await client.get("/authors/1")).json()["name"]
            assert (await client.get(f"/books?q={name}&total=true")).json()["total"] == 21


async def test_search_follows_changes_that_meet(own_database: Any, driver: Driver) -> None:
    """Where a title and the names of both its authors change at once, the book is found by all that is new."""
    match = {"If-Match": "*"}
    with own_database(*SHELF) as url:
        async with crowd(url, driver) as client:
            for n in range(10):
                changes = {"/books/1": {"title": f"Title{n}"}}
                changes |= {f"/authors/{of}": {"name": f"Name{of}{n}"} for of in (1, 2)}
                requests = (client.patch(path, json=body, headers=match) for path, body in changes.items())
                assert {answer.status_code for answer in await asyncio.gather(*requests)} == {200}
                found = await client.get(f"/books?q=Title{n} Name1{n} Name2{n}")
                assert [book["id"] for book in found.json()["items"]] == [1]


async def test_batches_never_wait_for_each_other(own_database: Any, driver: Driver) -> None:
    """Of two batches with the same ISBNs in opposite orders one is there and one is 409, without a deadlock."""
    numbers = [f"978{n:09}" for n in range(500)]
    items = [{"title": "x", "isbn13": one + str(-sum(map(int, one[::2] + one[1::2] * 3)) % 10)} for one in numbers]
    with own_database() as url, psycopg.connect(conninfo(url), autocommit=True) as connection:
        async with crowd(url, driver) as client:
            batches = [{"items": items}, {"items": items[::-1]}] * 2
            answers = await asyncio.gather(*(client.post("/books:batch", json=batch) for batch in batches))
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert connection.execute(deadlocks).fetchone() == (0,)


async def test_an_answer_comes_after_the_commit(own_database: Any, driver: Driver, serve: Serve) -> None:
    """A commit that fails is never a 2xx: a deferred constraint refuses it, and nothing is stored."""
    with own_database(
        *SHELF,
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


async def test_a_killed_backend_stores_nothing(own_database: Any, driver: Driver, serve: Serve) -> None:
    """Where the backend is killed at COMMIT the client gets 503, and the book is not there."""
    with own_database(
        *SHELF,
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
