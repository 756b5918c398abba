"""Loading strategies: the same JSON with every driver, the expected number of statements, and the right index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import msgspec
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog import datasets, pagination, schemas
from bookstore.catalog.repositories import BookQuery, BookRepository, book_selection
from bookstore.database.unit_of_work import AsyncDatabase, Database, ThreadedDatabase, make_database
from bookstore.database.url import conninfo, for_driver
from bookstore.profile.engine_profile import Driver, EngineProfile, Loading

pytestmark = pytest.mark.anyio

DRIVERS: tuple[Driver, ...] = get_args(Driver)
STRATEGIES: tuple[Loading, ...] = get_args(Loading)
PAGE_SIZES = (1, 2, 20, 100, 200)

# Texts that JSON, COPY, Python and PostgreSQL escape differently.
TITLES = [
    "Война и мир", "源氏物語", "ألف ليلة وليلة", "e\N{COMBINING ACUTE ACCENT}", "\N{PILE OF POO}\N{ZERO WIDTH JOINER}",
    """quotes " ' ` and \\ / \\n""", "control \x01 \x1f \x7f \t \n \r \x85 \N{LINE SEPARATOR}", "</script><!-- & -->",
    "NULL", " ", "{1,2}", "%s :name $1 %(x)s", "1e5",
]  # fmt: skip
ODD_BOOKS = """
    INSERT INTO author (name)
        SELECT 'Author ' || n || ' "the \\" ' || chr(1) || chr(9786) FROM generate_series(1, 30) n;
    INSERT INTO genre (name, slug) SELECT 'Genre ' || n || ' "&"', 'odd-' || n FROM generate_series(1, 30) n;
    CREATE TEMPORARY TABLE odd AS SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM book WHERE title = ANY(%s);
    INSERT INTO book_author (book_id, position, author_id)
        SELECT odd.id, place, (SELECT max(id) FROM author) - (place * 7 + odd.n) %% 30
        FROM odd, generate_series(0, 29) place WHERE place < (ARRAY[0, 1, 0, 3, 30])[1 + odd.n %% 5];
    INSERT INTO book_genre (book_id, genre_id)
        SELECT odd.id, (SELECT max(id) FROM genre) - (place * 7 + odd.n) %% 30
        FROM odd, generate_series(0, 29) place WHERE place < (ARRAY[0, 0, 1, 30, 4])[1 + odd.n %% 5];
"""


@pytest.fixture(scope="module")
def books_url(server_url: sa.URL, template: str) -> Iterator[sa.URL]:
    """The 10,000 real books and some odd ones: without authors or genres, with many of both, in other scripts, with
    characters that need escaping. The ids have a gap."""
    name = f"bookstore_test_{os.getpid()}_loading"
    with psycopg.connect(conninfo(server_url), autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        url = server_url.set(database=name)
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            datasets.import_file(connection, datasets.sample_path())
            connection.execute("DELETE FROM book WHERE id BETWEEN 5 AND 7")
            connection.execute("ALTER TABLE book ALTER id RESTART 20000")
            connection.cursor().executemany("INSERT INTO book (title) VALUES (%s)", [[title] for title in TITLES])
            with psycopg.ClientCursor(connection) as client:  # several statements at once
                client.execute(ODD_BOOKS, [TITLES])
            connection.execute("VACUUM (ANALYZE)")
        yield url
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="module")
def ids(books_url: sa.URL) -> list[int]:
    with psycopg.connect(conninfo(books_url)) as connection:
        return [book_id for (book_id,) in connection.execute("SELECT id FROM book ORDER BY id")]


@pytest.fixture(scope="module")
def expected(books_url: sa.URL) -> dict[int, Any]:
    """The expected JSON of every book, built from plain rows."""
    with psycopg.connect(conninfo(books_url)) as connection:
        books = {
            row[0]: dict(zip(schemas.Book.__struct_fields__, (*row, [], []), strict=True))
            for row in connection.execute("SELECT id, title, isbn13, publication_year, language FROM book")
        }
        for book, author, name in connection.execute(
            "SELECT book_id, id, name FROM book_author JOIN author ON id = author_id ORDER BY position"
        ):
            books[book]["authors"].append({"id": author, "name": name})
        for book, genre, name in connection.execute(
            "SELECT book_id, id, name FROM book_genre JOIN genre ON id = genre_id ORDER BY id"
        ):
            books[book]["genres"].append({"id": genre, "name": name})
        return books


@pytest.fixture(scope="module", params=DRIVERS)
async def database(request: pytest.FixtureRequest, books_url: sa.URL) -> Any:
    created = make_database(EngineProfile(name="test", driver=request.param, pool_size=1), books_url)
    await created.start()
    yield created
    await created.stop()


def cursor_after(book_id: int) -> str:
    """The cursor of a page by id whose last book is `book_id`."""
    return pagination.encode([book_id], BookQuery(limit=1).list_key(), bytes(32))


def query(after: int | None, limit: int) -> BookQuery:
    return BookQuery(limit=limit, cursor=None if after is None else cursor_after(after))


async def body(database: Database, loading: Loading, query: BookQuery) -> Any:
    """A page of books as a client decodes it."""
    result = await database.run(lambda session: BookRepository(session, loading).page(query), reading=True)
    return msgspec.json.decode(msgspec.json.encode(result.body))


async def page(database: Database, loading: Loading, after: int | None, limit: int) -> Any:
    """The page after the book `after`, or the first page."""
    return await body(database, loading, query(after, limit))


async def single_book(database: Database, loading: Loading, book_id: int) -> Any:
    result = await database.run(lambda session: BookRepository(session, loading).find(id=book_id), reading=True)
    return None if result is None else msgspec.json.decode(msgspec.json.encode(result.body))


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Collect the SQL that is executed within the block."""
    assert isinstance(database, ThreadedDatabase | AsyncDatabase)
    engine = database._engine if isinstance(database, ThreadedDatabase) else database._reading.sync_engine
    sent: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    sa.event.listen(engine, "before_cursor_execute", record)
    try:
        yield sent
    finally:
        sa.event.remove(engine, "before_cursor_execute", record)


def test_the_catalogue_is_odd_enough(expected: dict[int, Any]) -> None:
    """The test data has books without authors or genres, and with one, several and thirty of them."""
    counts = {(len(book["authors"]), len(book["genres"])) for book in expected.values()}
    assert counts >= {(0, 0), (1, 0), (0, 1), (3, 30), (30, 4)}
    assert set(TITLES) <= {book["title"] for book in expected.values()}


@pytest.mark.parametrize("loading", STRATEGIES)
@pytest.mark.parametrize("limit", PAGE_SIZES)
async def test_pages(
    database: Database, loading: Loading, limit: int, ids: list[int], expected: dict[int, Any]
) -> None:
    """First, middle and last page match the tables value by value, and have a cursor if there is a next page."""
    middle, last = len(ids) // 2, len(ids) - limit
    for begin in {0, middle, last - 1, last, last + limit // 2, len(ids)} if limit < 100 else {3, last}:
        answer = await page(database, loading, ids[begin - 1] if begin else None, limit)
        wanted = ids[begin : begin + limit]
        assert answer["items"] == [expected[book_id] for book_id in wanted]
        more = begin + limit < len(ids)
        assert answer["next_cursor"] == (cursor_after(wanted[-1]) if more else None)


@pytest.mark.parametrize("loading", ["rows", "json"])
async def test_walk(database: Database, loading: Loading, ids: list[int], expected: dict[int, Any]) -> None:
    """Following the cursors returns each book of the catalogue exactly once, in order, and ends."""
    query, books = BookQuery(limit=200), list[Any]()
    for _ in range(len(ids) // 200 + 1):
        answer = await body(database, loading, query)
        books += answer["items"]
        if answer["next_cursor"] is None:
            break
        query = BookQuery(limit=200, cursor=answer["next_cursor"])
    assert answer["next_cursor"] is None
    assert [book["id"] for book in books] == ids
    assert books == [expected[book_id] for book_id in ids]


@pytest.mark.parametrize("loading", STRATEGIES)
async def test_single_books(database: Database, loading: Loading, ids: list[int], expected: dict[int, Any]) -> None:
    """A single book is the same as on a page; for any id without a book the result is None."""
    for book_id in [*ids[:3], ids[len(ids) // 2], *ids[-len(TITLES) :]]:
        assert await single_book(database, loading, book_id) == expected[book_id]
    for missing in (0, -1, 5, ids[-1] + 1, 2**31, 2**63 - 1, -(2**63)):
        assert await single_book(database, loading, missing) is None


COUNTS: dict[Loading, tuple[int, int]] = {
    "lazy": (1 + 2 * 20, 3),
    "joined": (1, 1),
    "selectin": (3, 3),
    "subquery": (3, 3),
    "rows": (3, 3),
    "json": (1, 1),
}


@pytest.mark.parametrize(("loading", "counts"), COUNTS.items(), ids=COUNTS)
async def test_statements_are_counted(database: Database, loading: Loading, counts: tuple[int, int]) -> None:
    """A page of 20 books and a single book take exactly the number of statements of the strategy."""
    for_page, for_one = counts
    with statements(database) as sent:
        assert len((await page(database, loading, 100, 20))["items"]) == 20
    assert len(sent) == for_page, sent
    with statements(database) as sent:
        assert (await single_book(database, loading, 100))["id"] == 100
    assert len(sent) == for_one, sent


@pytest.mark.parametrize("loading", [name for name in STRATEGIES if name != "lazy"])
async def test_statements_do_not_grow_with_the_page(database: Database, loading: Loading) -> None:
    """All strategies except lazy take the same number of statements for 1 and 200 books."""
    counts = set[int]()
    for limit in (1, 200):
        with statements(database) as sent:
            await page(database, loading, 100, limit)
        counts.add(len(sent))
    assert counts == {COUNTS[loading][0]}


@pytest.mark.parametrize("loading", STRATEGIES)
async def test_an_empty_page_is_one_statement(database: Database, loading: Loading) -> None:
    """An empty page needs no statements for authors and genres."""
    with statements(database) as sent:
        assert (await page(database, loading, 2**62, 20)) == {"items": [], "next_cursor": None}
    assert len(sent) == 1


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def plan(session: Session, loading: Loading, after: int | None, limit: int) -> list[dict[str, Any]]:
    """The plan nodes of the statement that reads the books of a page."""
    sent: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    engine = session.get_bind()
    sa.event.listen(engine, "before_cursor_execute", record)
    BookRepository(session, loading).page(query(after, limit))
    sa.event.remove(engine, "before_cursor_execute", record)
    statement, parameters = sent[0]
    assert "OFFSET" not in statement.upper()
    explained = session.connection().exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    return list(nodes(explained[0]["Plan"]))


@pytest.fixture(scope="module")
def engine(books_url: sa.URL) -> Iterator[sa.Engine]:
    created = sa.create_engine(for_driver(books_url, "psycopg-sync")[0], poolclass=sa.NullPool)
    yield created
    created.dispose()


@pytest.mark.parametrize("loading", STRATEGIES)
@pytest.mark.parametrize("limit", [20, 200])
def test_the_last_page_costs_what_the_first_does(
    engine: sa.Engine, ids: list[int], loading: Loading, limit: int
) -> None:
    """At the start, in the middle and at the end of the catalogue the plan is the same: an index scan of the primary
    key that starts at the cursor, without skipped rows and sequential scans."""
    shapes = set[tuple[Any, ...]]()
    with Session(engine) as session:
        session.execute(sa.text("SET random_page_cost = 1.1"))  # the setting of the embedded PostgreSQL
        for after in (None, ids[len(ids) // 2], ids[-limit - 2]):
            books = plan(session, loading, after, limit)
            (scan,) = [node for node in books if node.get("Relation Name") == "book"]
            assert scan["Node Type"].startswith("Index")
            assert scan["Index Name"] == "pk_book"
            assert ("id > " in scan.get("Index Cond", "")) == (after is not None)
            scanned = {node["Relation Name"] for node in books if node["Node Type"] == "Seq Scan"}
            assert not scanned & {"book", "book_author", "book_genre"}
            shapes.add(tuple((node["Node Type"], node.get("Index Name")) for node in books))
    assert len(shapes) == 1


def test_every_strategy_has_its_count() -> None:
    """COUNTS covers every strategy that a profile can name."""
    assert set(COUNTS) == set(STRATEGIES)


async def test_before_json_scalar(books_url: sa.URL) -> None:
    """Before PostgreSQL 17, which introduced JSON_SCALAR, the statement uses to_json and returns the same page."""
    database = make_database(EngineProfile(name="old", loading="json"), books_url)
    assert isinstance(database, AsyncDatabase)
    await database.start()
    try:
        answers, statements = [], []
        sa.event.listen(
            database._reading.sync_engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
        )
        own = database._reading.dialect.server_version_info or (0,)
        for version in (own, (16, 4)):
            database._reading.dialect.server_version_info = version
            book_selection.selection.cache_clear()
            page = await database.run(
                lambda session: BookRepository(session, "json").page(BookQuery(limit=50)), reading=True
            )
            answers.append(msgspec.json.encode(page.body))
    finally:
        book_selection.selection.cache_clear()
        await database.stop()
    assert answers[0] == answers[1]
    statements = [statement for statement in statements if "capped" in statement]
    assert ["JSON_SCALAR(" in statement for statement in statements] == [own >= (17,), False]
    assert ["to_json(" in statement for statement in statements] == [own < (17,), True]
