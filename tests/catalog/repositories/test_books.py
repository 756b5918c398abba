"""Lists of books: every filter, order and page against a plain model of the same catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from bookstore.catalog import pagination
from bookstore.catalog.repositories import BookQuery, BookRepository
from bookstore.database.unit_of_work import make_database
from bookstore.exceptions import ApiError
from bookstore.profile.engine_profile import Driver, EngineProfile, Loading

STRATEGIES: tuple[Loading, ...] = get_args(Loading)
DRIVERS: tuple[Driver, ...] = get_args(Driver)
MEMBERS = (
    "id", "title", "isbn13", "publication_year", "language", "authors", "genres", "created_at", "updated_at",
)  # fmt: skip

FILTERS: dict[str, list[Any]] = {
    "author_id": [1, 2, 5, 99],
    "genre": ["1", "drama", "sci-fi", "1984-and", "none", "99", "nothing"],
    "language": ["en", "en-US", "en-AU", "eng", "fr", "fr-CA"],
    "isbn13": ["9780439023481", "9791090648524", "9780306406157"],
    "year_from": [-3000, -1, 0, 1937, 9999],
    "year_to": [-3000, 0, 1936, 1984, 9999],
}
NAMES = ("title", "publication_year", "created_at", "id")

few_filters = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in FILTERS.items()})
orders = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.tuples(*(st.sampled_from([name, f"-{name}"]) for name in names)).map(",".join)
)
strategies = st.sampled_from(STRATEGIES)


def page(session: Session, loading: Loading, query: BookQuery) -> Any:
    """A page as a client decodes its JSON."""
    query.check()
    return json.loads(msgspec.json.encode(BookRepository(session, loading).page(query).body))


def walk(session: Session, loading: Loading, limit: int, **asked: Any) -> list[int]:
    """The ids of all pages, by the cursors."""
    found = list[int]()
    following: str | None = None
    for _ in range(200):
        answer = page(session, loading, BookQuery(limit=limit, cursor=following, **asked))
        found += [book["id"] for book in answer["items"]]
        following = answer["next_cursor"]
        if following is None:
            return found
        assert len(answer["items"]) == limit
    raise AssertionError("no end")


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[str]]:
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    yield sent
    sa.event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in FILTERS.items() for value in values])
def test_a_filter(session: Session, shelf: Any, name: str, value: Any) -> None:
    """Each filter by itself finds what the model finds, by every strategy, and `total` is their number."""
    wanted = shelf.ordered({name: value}, "id")
    for loading in STRATEGIES:
        found = page(session, loading, BookQuery(limit=200, total=True, **{name: value}))
        assert [book["id"] for book in found["items"]] == wanted
        assert found["total"] == len(wanted)
        assert found["next_cursor"] is None


def test_the_filters_find_something(shelf: Any) -> None:
    """Most filters find a part of the books: otherwise nothing here says much."""
    counts = [len(shelf.ordered({name: value}, "id")) for name, values in FILTERS.items() for value in values]
    assert sum(0 < count < len(shelf.books) for count in counts) > len(counts) / 2


@pytest.mark.parametrize("sort", [f"{sign}{name}" for name in NAMES for sign in ("", "-")])
@pytest.mark.parametrize("loading", STRATEGIES)
def test_an_order(session: Session, shelf: Any, loading: Loading, sort: str) -> None:
    """Each order by itself, walked in pages of every small size, gives each book once; years that are not
    known come last both ways."""
    wanted = shelf.ordered({}, sort)
    for limit in range(1, 8) if loading == "json" else (5,):
        assert walk(session, loading, limit, sort=sort) == wanted
    if "year" in sort:
        years = {book["id"]: book["publication_year"] for book in shelf.books}
        assert years[wanted[-1]] is None
        assert years[wanted[0]] is not None


@given(few_filters, orders, st.integers(1, 7), strategies)
@settings(max_examples=60, deadline=None)
def test_walks(session: Session, shelf: Any, filters: Any, sort: str, limit: int, loading: Loading) -> None:
    """Any filters together, in any mixed order, walked by any strategy, give the model's books in its order."""
    assert walk(session, loading, limit, sort=sort, **filters) == shelf.ordered(filters, sort)


@given(orders, st.integers(1, 7), st.sampled_from(["rows", "json"]), st.data())
@settings(max_examples=25, deadline=None)
def test_walks_while_books_come_and_go(
    session: Session, shelf: Any, sort: str, limit: int, loading: Loading, data: st.DataObject
) -> None:
    """Whatever is inserted and deleted between the pages, also the very book that a cursor was made of: no
    book comes twice, and those that were there all the time come once, in their order."""
    there = {book["id"] for book in shelf.books}
    stayed, seen = set(there), list[int]()
    following: str | None = None
    try:
        for number in range(100):
            answer = page(session, loading, BookQuery(limit=limit, cursor=following, sort=sort))
            seen += [book["id"] for book in answer["items"]]
            following = answer["next_cursor"]
            if following is None:
                break
            if number > 8:
                continue
            gone = data.draw(st.sets(st.sampled_from(sorted(there)), max_size=2))
            gone |= {seen[-1]} & there if data.draw(st.booleans()) else set()
            session.execute(sa.text("DELETE FROM book WHERE id = ANY(:ids)"), {"ids": sorted(gone)})
            there -= gone
            stayed -= gone
            new = data.draw(st.sampled_from(shelf.books))
            session.execute(
                sa.text("INSERT INTO book (title, publication_year, created_at) VALUES (:title, :year, :created_at)"),
                {"title": new["title"], "year": new["publication_year"], "created_at": new["created_at"]},
            )
        assert following is None
        assert len(set(seen)) == len(seen)
        kept = [book_id for book_id in shelf.ordered({}, sort) if book_id in stayed]
        assert [book_id for book_id in seen if book_id in stayed] == kept
    finally:
        session.rollback()


@pytest.mark.parametrize("loading", STRATEGIES)
@pytest.mark.parametrize("members", [["id", "title"], ["authors"], ["genres", "language"], ["created_at"], MEMBERS])
def test_fields(engine: sa.Engine, shelf: Any, loading: Loading, members: list[str]) -> None:
    """`fields` gives those members in the order of the wire, and what is not wanted is not read: no statement
    names the table of authors, genres or a column that nobody asked for."""
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


def test_the_model_is_what_is_read(session: Session, shelf: Any) -> None:
    """Each book comes with the model's values."""
    items = page(session, "rows", BookQuery(limit=200, fields=",".join(MEMBERS[:-1])))["items"]
    for item, book in zip(items, shelf.books, strict=True):
        assert [one["id"] for one in item.pop("authors")] == book["authors"]
        assert [one["id"] for one in item.pop("genres")] == book["genres"]
        moment = msgspec.convert(item.pop("created_at"), type(book["created_at"]))
        assert moment == book["created_at"]
        assert item == {name: book[name] for name in item}


QUERIES: list[dict[str, Any]] = [
    {"limit": 7, "fields": ",".join(MEMBERS), "total": True},
    {"limit": 7, "sort": "-created_at,title", "fields": "created_at,updated_at"},
    {"limit": 3, "sort": "publication_year,-title", "language": "en"},
    {"limit": 3, "sort": "-title", "genre": "drama", "author_id": 2},
    {"limit": 3, "q": "emile", "total": True},
    {"limit": 2, "q": "emiel zola", "sort": "-relevance,title", "year_from": -3000},
    {"limit": 200, "isbn13": "9780439023481"},
]


@pytest.mark.anyio
@pytest.mark.parametrize("driver", DRIVERS)
async def test_every_driver_and_strategy_answers_the_same(session: Session, shelf: Any, driver: Driver) -> None:
    """All pages of a list are byte for byte the same under every driver and strategy, cursors included."""
    database = make_database(EngineProfile(name="test", driver=driver, pool_size=1), shelf.url)
    await database.start()
    try:
        for asked in QUERIES:
            query = BookQuery(**asked)
            for _ in range(3):
                wanted = page(session, "selectin", query)
                assert wanted["items"]
                for loading in STRATEGIES:
                    seen = await database.run(
                        lambda one, query=query, loading=loading: BookRepository(one, loading).page(query),  # type: ignore[misc] # the loop's values
                        reading=True,
                    )
                    assert json.loads(msgspec.json.encode(seen.body)) == wanted
                if wanted["next_cursor"] is None:
                    break
                query = BookQuery(**asked, cursor=wanted["next_cursor"])
    finally:
        await database.stop()


@pytest.mark.parametrize("loading", STRATEGIES)
@pytest.mark.parametrize(("filters", "table"), [({"genre": "1"}, "book_genre"), ({"author_id": 1}, "book_author")])
def test_a_page_begins_at_its_place_in_the_joined_table(
    engine: sa.Engine, loading: Loading, filters: Any, table: str
) -> None:
    """The last page of an author's or a genre's books does not read the links of all pages before: the range
    is said of the links too, for PostgreSQL does not conclude it."""
    with Session(engine) as session:
        following = page(session, loading, BookQuery(limit=1, **filters))["next_cursor"]
        with statements(engine) as sent:
            page(session, loading, BookQuery(limit=1, cursor=following, **filters))
    assert re.search(rf"\({table}\.book_id\) > \(%", sent[0])


@pytest.mark.parametrize("loading", STRATEGIES)
def test_years_are_known_to_the_planner(engine: sa.Engine, loading: Loading) -> None:
    """A year is part of the statement, not a parameter: whether few or many books are in a range decides on
    how they are found."""
    with Session(engine) as session, statements(engine) as sent:
        page(session, loading, BookQuery(limit=1, year_from=-7, year_to=1984))
    assert "-7 <= coalesce(" in sent[0]
    assert "1984 >= coalesce(" in sent[0]


def refused(query: BookQuery) -> ApiError:
    with pytest.raises(ApiError) as caught:
        query.check()
    assert caught.value.code == "invalid_parameter"
    return caught.value


LISTS: list[dict[str, Any]] = [
    {}, {"sort": "-id"}, {"sort": "title"}, {"sort": "-title"}, {"sort": "title,-id"}, {"sort": "created_at"},
    {"language": "en"}, {"language": "en-US"}, {"year_from": 1}, {"year_to": 1}, {"genre": "1"},
    {"genre": "drama"}, {"author_id": 1}, {"isbn13": "9780439023481"}, {"q": "emile"}, {"q": "zola"},
    {"q": "emile", "sort": "id"},
]  # fmt: skip


def test_a_cursor_belongs_to_one_list(session: Session) -> None:
    """A cursor with other filters, words or another order is refused; another limit, fields or total is fine."""
    for asked in LISTS:
        if "isbn13" in asked:
            continue
        following = page(session, "json", BookQuery(limit=1, **asked))["next_cursor"]
        assert following is not None, asked
        BookQuery(limit=9, cursor=following, fields="id", total=True, **asked).check()
        for other in LISTS:
            if other != asked:
                assert "cursor" in str(refused(BookQuery(limit=1, cursor=following, **other)).detail)


@pytest.mark.parametrize("asked", [{}, {"sort": "-title"}, {"q": "emile"}, {"sort": "created_at"}], ids=str)
def test_tampered_cursors(session: Session, asked: dict[str, Any]) -> None:
    """A cursor that was cut, or in which any letter was changed, is refused: it never gives another page."""
    following = page(session, "json", BookQuery(limit=1, **asked))["next_cursor"]
    for place, letter in enumerate(following):
        for other in {"A", "Z", "a", "0", "_", "-"} - {letter}:
            refused(BookQuery(limit=1, cursor=following[:place] + other + following[place + 1 :], **asked))
        refused(BookQuery(limit=1, cursor=following[:place], **asked))


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({}, []), ({}, [1, 2]), ({}, ["1"]), ({}, [None]), ({}, [1.5]), ({}, [True]), ({"sort": "title"}, [1, 1]),
        ({"sort": "created_at"}, ["yesterday", 1]), ({"q": "x"}, [1]), ({"q": "x"}, ["x", 0, 1, 1]),
        ({"q": "x"}, ["((", False, 1, 1]), ({"q": "x"}, ["'a", False, 1, 1]), ({"q": "x"}, ["('a':*)", False, 1, 1]),
        ({"q": "x"}, ["('a') | ('b')", False, 1, 1]), ({"q": "x"}, ["('a\0')", False, 1, 1]),
        ({"q": "x"}, [f"('{'a' * 3000}')", False, 1, 1]), ({"q": "x"}, ["('a') & !('b')", False, 1, 1]),
    ],
)  # fmt: skip
def test_forged_cursors(asked: dict[str, Any], place: list[Any]) -> None:
    """A cursor with the right digest and what no page ends with is refused before the database is asked."""
    forged = pagination.encode(place, BookQuery(limit=1, **asked).list_key())
    refused(BookQuery(limit=1, cursor=forged, **asked))


@pytest.mark.parametrize(
    ("parameter", "asked"),
    [
        ("sort", {"sort": "price"}), ("sort", {"sort": "title,,id"}), ("sort", {"sort": "title,-title"}),
        ("sort", {"sort": "relevance"}), ("sort", {"sort": "--id"}), ("sort", {"sort": " id"}),
        ("fields", {"fields": "price"}), ("fields", {"fields": "id,"}), ("fields", {"fields": "ID"}),
    ],
)  # fmt: skip
def test_what_is_not_known(parameter: str, asked: dict[str, Any]) -> None:
    """An order or a member that is not known is refused; the answer says what is allowed."""
    fault = refused(BookQuery(limit=1, **asked))
    assert [mistake.parameter for mistake in fault.errors] == [parameter]
