"""Lists of books: every filter, order and page, compared with a Python model of the same catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, get_args

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from bookstore.catalog import pagination, schemas
from bookstore.catalog.loading import selection
from bookstore.catalog.repositories import BookQuery, BookRepository, book_selection, filters
from bookstore.catalog.repositories.book_selection import Shape
from bookstore.database.unit_of_work import make_database
from bookstore.exceptions import ApiError
from bookstore.profile.engine_profile import Driver, EngineProfile, Loading

from .conftest import sort_key

Row = dict[str, Any]

STRATEGIES: tuple[Loading, ...] = get_args(Loading)
DRIVERS: tuple[Driver, ...] = get_args(Driver)
MEMBERS = (
    "id", "title", "isbn13", "publication_year", "language", "authors", "genres", "created_at", "updated_at",
)  # fmt: skip

FILTERS: dict[str, list[Any]] = {
    "author_id": [1, 2, 5, 99],
    "genre": ["1", "drama", "sci-fi", "1984-and", "none", "99", "nothing", "drama,2", "2,1,drama", "1,nothing", "1,99"],
    "language": ["en", "en-US", "en-AU", "eng", "fr", "fr-CA"],
    "id": [(3,), (1, 2), (3, 6, 9, 12, 99), tuple(range(1, 201))],
    "isbn13": [("9780439023481",), ("9791090648524", "9780439023481"), ("9780306406157",)],
    "year_from": [-3000, -1, 0, 1937, 9999],
    "year_to": [-3000, 0, 1936, 1984, 9999],
}
NAMES = ("title", "publication_year", "created_at", "id")

few_filters = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in FILTERS.items()})
ORDERS = (
    *(f"{sign}{name}" for name in NAMES for sign in ("", "-")),
    "publication_year,title",
    "-publication_year,title",
)
orders = st.sampled_from(ORDERS)
any_orders = st.lists(st.sampled_from([*NAMES, "relevance"]), min_size=1, max_size=5, unique=True).flatmap(
    lambda names: st.tuples(*(st.sampled_from([name, f"-{name}"]) for name in names)).map(",".join)
)
strategies = st.sampled_from(STRATEGIES)


def page(session: Session, loading: Loading, query: BookQuery) -> Any:
    """A page as a client decodes it."""
    query.check()
    return json.loads(msgspec.json.encode(BookRepository(session, loading).page(query).body))


def walk(session: Session, loading: Loading, limit: int, *, full: bool = True, **parameters: Any) -> list[int]:
    """The ids of all pages, following the cursors; with `full`, all pages but the last have `limit` books."""
    ids = list[int]()
    cursor: str | None = None
    for _ in range(200):
        answer = page(session, loading, BookQuery(limit=limit, cursor=cursor, **parameters))
        ids += [book["id"] for book in answer["items"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            return ids
        assert len(answer["items"]) == limit or not full
    raise AssertionError("no end")


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[str]]:
    sent: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    sa.event.listen(engine, "before_cursor_execute", record)
    yield sent
    sa.event.remove(engine, "before_cursor_execute", record)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in FILTERS.items() for value in values])
def test_a_filter(session: Session, shelf: Any, name: str, value: Any) -> None:
    """Each filter alone finds the same books as the model, with every strategy, and `total` is their number."""
    expected = shelf.ordered({name: value}, "id")
    for loading in STRATEGIES:
        answer = page(session, loading, BookQuery(limit=200, total=True, **{name: value}))
        assert [book["id"] for book in answer["items"]] == expected
        assert answer["total"] == len(expected)
        assert answer["next_cursor"] is None


def test_the_filters_are_selective(shelf: Any) -> None:
    """Most filters match some but not all books, so the other tests are meaningful."""
    counts = [len(shelf.ordered({name: value}, "id")) for name, values in FILTERS.items() for value in values]
    assert sum(0 < count < len(shelf.books) for count in counts) > len(counts) / 2


@pytest.mark.parametrize("sort", ORDERS)
@pytest.mark.parametrize("loading", STRATEGIES)
def test_an_order(session: Session, shelf: Any, loading: Loading, sort: str) -> None:
    """Each order, read in pages of every small size, returns each book once; unknown years are last in both
    directions."""
    expected = shelf.ordered({}, sort)
    for limit in range(1, 8) if loading == "json" else (5,):
        assert walk(session, loading, limit, sort=sort) == expected
    if "year" in sort:
        years = {book["id"]: book["publication_year"] for book in shelf.books}
        assert years[expected[-1]] is None
        assert years[expected[0]] is not None


@given(few_filters, orders, st.integers(1, 7), strategies)
@settings(max_examples=60, deadline=None)
def test_walks(session: Session, shelf: Any, filters: Any, sort: str, limit: int, loading: Loading) -> None:
    """Any combination of filters and orders returns the model's books in its order, with any strategy."""
    assert walk(session, loading, limit, sort=sort, **filters) == shelf.ordered(filters, sort)


@given(few_filters, any_orders, st.integers(1, 7), strategies)
@settings(max_examples=40, deadline=None)
def test_walks_of_words(session: Session, shelf: Any, filters: Any, sort: str, limit: int, loading: Loading) -> None:
    """Books with words that are not common are returned once each, by any combination of keys."""
    assert sorted(walk(session, loading, limit, q="emile", sort=sort, **filters)) == sorted(
        book["id"]
        for book in shelf.matching(filters)
        if "emile" in sort_key(book["title"]).decode() or {2, 3} & {*book["authors"]}
    )


@pytest.fixture
def tight_bounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Any three books are too many to sort, and a page reads five rows to find those that pass."""
    caches = (book_selection.selection, book_selection.count, filters._counts)
    with monkeypatch.context() as patched:
        for module in (filters, book_selection):
            patched.setattr(module, "MAX_SORTED", 2)
        for other in (selection, book_selection):
            patched.setattr(other, "MAX_SCANNED", 5)
        for cache in caches:
            cache.cache_clear()
        yield
    for cache in caches:
        cache.cache_clear()


@given(few_filters, orders, st.integers(1, 7), strategies)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.usefixtures("tight_bounds")
def test_walks_with_short_pages(
    session: Session, shelf: Any, filters: Any, sort: str, limit: int, loading: Loading
) -> None:
    """Lists with more books than can be sorted, and longer than a page may read, are complete and in order: pages are
    short, and the next one begins where the last one stopped reading."""
    assert walk(session, loading, limit, full=False, sort=sort, **filters) == shelf.ordered(filters, sort)


@pytest.mark.usefixtures("tight_bounds")
def test_a_page_reads_a_bounded_number_of_rows(session: Session, shelf: Any) -> None:
    """A page ends after the rows that it may read, without any book if none of them passes."""
    answer = page(session, "json", BookQuery(limit=7, sort="title", language="en", genre="drama", year_from=0))
    assert len(answer["items"]) <= 5
    assert answer["next_cursor"] is not None


@given(orders, st.integers(1, 7), st.sampled_from(["rows", "json"]), st.data())
@settings(max_examples=25, deadline=None)
def test_walks_while_books_come_and_go(
    session: Session, shelf: Any, sort: str, limit: int, loading: Loading, data: st.DataObject
) -> None:
    """If books are inserted and deleted between pages, even the last book of a page, no book is returned twice, and
    books that exist throughout are returned once, in order."""
    existing = {book["id"] for book in shelf.books}
    stayed, returned = set(existing), list[int]()
    cursor: str | None = None
    try:
        for number in range(100):
            answer = page(session, loading, BookQuery(limit=limit, cursor=cursor, sort=sort))
            returned += [book["id"] for book in answer["items"]]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
            if number > 8:
                continue
            deleted = data.draw(st.sets(st.sampled_from(sorted(existing)), max_size=2))
            deleted |= {returned[-1]} & existing if data.draw(st.booleans()) else set()
            session.execute(sa.text("DELETE FROM book WHERE id = ANY(:ids)"), {"ids": sorted(deleted)})
            existing -= deleted
            stayed -= deleted
            new = data.draw(st.sampled_from(shelf.books))
            session.execute(
                sa.text("INSERT INTO book (title, publication_year, created_at) VALUES (:title, :year, :created_at)"),
                {"title": new["title"], "year": new["publication_year"], "created_at": new["created_at"]},
            )
        assert cursor is None
        assert len(set(returned)) == len(returned)
        kept = [book_id for book_id in shelf.ordered({}, sort) if book_id in stayed]
        assert [book_id for book_id in returned if book_id in stayed] == kept
    finally:
        session.rollback()


@pytest.mark.parametrize("loading", STRATEGIES)
@pytest.mark.parametrize("members", [["id", "title"], ["authors"], ["genres", "language"], ["created_at"], MEMBERS])
def test_fields(engine: sa.Engine, shelf: Any, loading: Loading, members: list[str]) -> None:
    """`fields` returns these members in response order, and other members are not read: no statement contains their
    columns, or the tables of authors or genres."""
    with Session(engine) as session:
        whole = page(session, loading, BookQuery(limit=9, fields=",".join(MEMBERS)))["items"]
        with statements(engine) as sent:
            items = page(session, loading, BookQuery(limit=9, fields=",".join(reversed(members))))["items"]
    assert items == [{name: book[name] for name in members} for book in whole]
    assert list(items[0]) == [name for name in MEMBERS if name in members]
    sql = " ".join(sent)
    for name, table in (("authors", "author"), ("genres", "genre")):
        assert (f"book_{table}" in sql) == (name in members)
    for name in ("title", "isbn13", "publication_year", "language", "created_at", "updated_at"):
        assert (f"book.{name}" in sql) == (name in members)
    if not {"authors", "genres"} & set(members):
        assert len(sent) == 1


def test_books_match_the_model(session: Session, shelf: Any) -> None:
    """Each book has the values of the model."""
    items = page(session, "rows", BookQuery(limit=200, fields=",".join(MEMBERS[:-1])))["items"]
    for item, book in zip(items, shelf.books, strict=True):
        assert [author["id"] for author in item.pop("authors")] == book["authors"]
        assert [genre["id"] for genre in item.pop("genres")] == book["genres"]
        created_at = msgspec.convert(item.pop("created_at"), type(book["created_at"]))
        assert created_at == book["created_at"]
        assert item == {name: book[name] for name in item}


QUERIES: list[dict[str, Any]] = [
    {"limit": 7, "fields": ",".join(MEMBERS), "total": True},
    {"limit": 7, "sort": "-created_at", "fields": "created_at,updated_at"},
    {"limit": 3, "sort": "-publication_year,title", "language": "en"},
    {"limit": 3, "sort": "-title", "genre": "drama", "author_id": 2},
    {"limit": 3, "q": "emile", "total": True},
    {"limit": 2, "q": "emiel zola", "sort": "-relevance,title", "year_from": -3000},
    {"limit": 200, "isbn13": ("9780439023481", "9791090648524")},
]


@pytest.mark.anyio
@pytest.mark.parametrize("driver", DRIVERS)
async def test_every_driver_and_strategy_answers_the_same(session: Session, shelf: Any, driver: Driver) -> None:
    """All pages of a list, including cursors, are the same with every driver and strategy."""
    database = make_database(EngineProfile(name="test", driver=driver, pool_size=1), shelf.url)
    await database.start()
    try:
        for parameters in QUERIES:
            query = BookQuery(**parameters)
            for _ in range(3):
                expected = page(session, "selectin", query)
                assert expected["items"]
                for loading in STRATEGIES:
                    answer = await database.run(
                        lambda session, query=query, loading=loading: BookRepository(session, loading).page(query),  # type: ignore[misc] # binds the loop variables
                        reading=True,
                    )
                    assert json.loads(msgspec.json.encode(answer.body)) == expected
                if expected["next_cursor"] is None:
                    break
                query = BookQuery(**parameters, cursor=expected["next_cursor"])
    finally:
        await database.stop()


@pytest.mark.parametrize("loading", STRATEGIES)
@pytest.mark.parametrize(("filters", "table"), [({"genre": "1"}, "book_genre"), ({"author_id": 1}, "book_author")])
def test_a_page_starts_at_its_position_in_the_joined_table(
    engine: sa.Engine, loading: Loading, filters: Any, table: str
) -> None:
    """The last page of an author's or genre's books does not read the links of all previous pages."""
    with Session(engine) as session:
        cursor = page(session, loading, BookQuery(limit=1, **filters))["next_cursor"]
        with statements(engine) as sent:
            page(session, loading, BookQuery(limit=1, cursor=cursor, **filters))
    assert re.search(rf"{table}_index\.book_id\) > \(%", sent[0])


@pytest.mark.parametrize("loading", STRATEGIES)
def test_values_are_parameters(engine: sa.Engine, loading: Loading) -> None:
    """Lists that differ only in the values of limit, filters and cursor execute the same statements.

    SQLAlchemy's selectin writes a parameter for each book of a page, so it has a statement for each number of books.
    """
    lists: list[Row] = [
        {"year_from": 1900}, {"year_to": 1984}, {"year_from": 1900, "sort": "title"}, {"language": "en"},
        {"author_id": 1, "year_to": 1984}, {"genre": "drama", "sort": "-publication_year,title"}, {"q": "emile"},
    ]  # fmt: skip
    with Session(engine) as session:
        for filters in lists:
            known: set[str] = set()
            for number in range(12):
                query: Row = {
                    name: value + number if isinstance(value, int) else value for name, value in filters.items()
                }
                with statements(engine) as sent:
                    answer = page(session, loading, BookQuery(limit=number + 1, **query))
                    if answer["next_cursor"]:
                        page(session, loading, BookQuery(limit=number + 2, cursor=answer["next_cursor"], **query))
                if number > 5:
                    assert {text for text in sent if "primary_keys" not in text} <= known, filters
                known |= set(sent)


def test_cached_statements_are_bounded(session: Session) -> None:
    """The cache of statements has an upper limit, and different values need no further entry."""
    book_selection.selection.cache_clear()
    for number in range(600):
        page(session, "json", BookQuery(limit=number % 200 + 1, year_from=number, year_to=2 * number))
    assert book_selection.selection.cache_info().currsize == 1
    for number in range(1, 2 ** len(MEMBERS)):
        fields = ",".join(name for place, name in enumerate(MEMBERS) if number >> place & 1)
        book_selection.selection(
            Shape(("author_id",), "id", None), BookQuery(limit=1, fields=fields).members(), has_cursor=False
        )
    info = book_selection.selection.cache_info()
    assert info.currsize == info.maxsize == 256


def check(query: BookQuery, session: Session | None) -> None:
    """Check a query; its cursor needs a session."""
    query.check()
    if session is not None:
        query.decode_cursor(session)


def check_error(query: BookQuery, session: Session | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        check(query, session)
    assert caught.value.code == "invalid_parameter"
    return caught.value


LISTS: list[dict[str, Any]] = [
    {}, {"sort": "-id"}, {"sort": "title"}, {"sort": "-title"}, {"sort": "-publication_year,title"},
    {"sort": "created_at"}, {"language": "en"}, {"language": "en-US"}, {"year_from": 1}, {"year_to": 1}, {"genre": "1"},
    {"genre": "drama"}, {"author_id": 1}, {"isbn13": ("9780439023481", "9791090648524")}, {"q": "emile"}, {"q": "zola"},
    {"q": "emile", "sort": "id"},
]  # fmt: skip


def test_a_cursor_belongs_to_one_list(session: Session) -> None:
    """A cursor is rejected with other filters, words or order, and accepted with another limit, fields or total."""
    for parameters in LISTS:
        if "isbn13" in parameters:
            continue
        cursor = page(session, "json", BookQuery(limit=1, **parameters))["next_cursor"]
        assert cursor is not None, parameters
        BookQuery(limit=9, cursor=cursor, fields="id", total=True, **parameters).decode_cursor(session)
        for other in LISTS:
            if other != parameters:
                assert "cursor" in str(check_error(BookQuery(limit=1, cursor=cursor, **other), session).detail)


@pytest.mark.parametrize("parameters", [{}, {"sort": "-title"}, {"q": "emile"}, {"sort": "created_at"}], ids=str)
def test_tampered_cursors(session: Session, parameters: dict[str, Any]) -> None:
    """A truncated cursor and a cursor with a changed character are rejected and never give another page."""
    cursor = page(session, "json", BookQuery(limit=1, **parameters))["next_cursor"]
    for index, letter in enumerate(cursor):
        for other in {"A", "Z", "a", "0", "_", "-"} - {letter}:
            check_error(BookQuery(limit=1, cursor=cursor[:index] + other + cursor[index + 1 :], **parameters), session)
        check_error(BookQuery(limit=1, cursor=cursor[:index], **parameters), session)


@pytest.mark.parametrize(
    ("parameters", "values"),
    [
        ({}, [7]),
        ({"sort": "title"}, ["a", 7]),
        ({"q": "the"}, ["('the')", False, -1, 7]),
        ({"q": "the"}, ["", True, 7]),
    ],
)
def test_forged_cursors(session: Session, parameters: dict[str, Any], values: list[Any]) -> None:
    """A cursor signed with another key is rejected whatever it says, for example that common words are not common."""
    for key in (b"", bytes(31) + b"1"):
        forged = pagination.encode(values, BookQuery(limit=1, **parameters).list_key(), key)
        check_error(BookQuery(limit=1, cursor=forged, **parameters), session)
    issued = pagination.encode(values, BookQuery(limit=1, **parameters).list_key(), pagination.signing_key(session))
    BookQuery(limit=1, cursor=issued, **parameters).decode_cursor(session)


def read_page(session: Session, query: BookQuery) -> schemas.Representation:
    return BookRepository(session, "json").page(query)


@pytest.mark.anyio
async def test_workers_accept_each_others_cursors(shelf: Any) -> None:
    """A cursor from one engine is accepted by another on the same database, and the key is read once for each."""
    answers: list[Any] = []
    cursor = None
    for driver in DRIVERS:
        database = make_database(EngineProfile(name="test", driver=driver, pool_size=1), shelf.url)
        await database.start()
        try:
            with statements(database.engine) as sent:
                for _ in range(2):
                    query = BookQuery(limit=3, sort="title", cursor=cursor)
                    read = partial(read_page, query=query)
                    answers.append(json.loads(msgspec.json.encode((await database.run(read, reading=True)).body)))
                    cursor = answers[-1]["next_cursor"]
            assert sum("FROM cursor_key" in text for text in sent) == 1
        finally:
            await database.stop()
    assert [book["id"] for answer in answers for book in answer["items"]] == shelf.ordered({}, "title")[:18]


@pytest.mark.parametrize(
    ("parameter", "parameters"),
    [
        ("sort", {"sort": "price"}), ("sort", {"sort": "title,,id"}), ("sort", {"sort": "title,-title"}),
        ("sort", {"sort": "relevance"}), ("sort", {"sort": "created_at,title"}), ("sort", {"sort": "title,-id"}),
        ("sort", {"sort": "publication_year,-title"}), ("sort", {"sort": "-publication_year,-title"}),
        ("sort", {"sort": "title,created_at", "author_id": 1}), ("sort", {"sort": "created_at,-id,title"}),
        ("sort", {"sort": "--id"}), ("sort", {"sort": " id"}),
        ("fields", {"fields": "price"}), ("fields", {"fields": "id,"}), ("fields", {"fields": "ID"}),
    ],
)  # fmt: skip
def test_unknown_orders_and_members(parameter: str, parameters: dict[str, Any]) -> None:
    """An unknown order or member is rejected with an error for the parameter."""
    error = check_error(BookQuery(limit=1, **parameters))
    assert [field.parameter for field in error.errors] == [parameter]
