"""Cost of listing books in a small and a large catalogue, query by query, interleaved, in one run.

    DATABASE_URL_SMALL=… DATABASE_URL_LARGE=… python benchmarks/listing/measure.py

Both databases must be migrated, filled (`bookstore catalog generate`) and vacuumed. The queries run in the
service's own units of work under the profile `default`, without HTTP. If an index supports a list, a full page
takes about as long in the large catalogue as in the small one. Otherwise the last column names the scan or sort.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.orm import Session

from bookstore.catalog import pagination, sorting
from bookstore.catalog.repositories import BookQuery, BookRepository, book_selection
from bookstore.catalog.repositories.filters import FILTERS
from bookstore.database.unit_of_work import AsyncDatabase, make_database
from bookstore.database.url import conninfo, parse
from bookstore.profile import loader

LIMIT: Final = 100
ROUNDS: Final = 9
TARGET: Final = 1.5
"""Highest accepted ratio of the times in the large and the small catalogue."""
TARGET_MS: Final = 100.0
"""Highest accepted time in the large catalogue for a list that no single index serves."""
TABLES: Final = {"book", "book_author", "book_genre", "book_document"}

# Filter values are looked up in each catalogue: one that many books have (MANY), and one that few have (FEW).
MANY: Final = {
    "author_id": "SELECT author_id FROM book_author GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1",
    "genre": "SELECT slug FROM book_genre JOIN genre ON id = genre_id GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1",
    "language": "SELECT language FROM book WHERE language IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1",
    "isbn13": "SELECT isbn13 FROM book WHERE isbn13 IS NOT NULL ORDER BY id DESC LIMIT 1",
    "year_from": "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY publication_year) FROM book",
    "year_to": "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY publication_year) FROM book",
}
FEW: Final = {
    "author_id": "SELECT author_id FROM book_author GROUP BY 1 ORDER BY count(*), 1 LIMIT 1",
    "genre": "SELECT slug FROM book_genre JOIN genre ON id = genre_id GROUP BY 1 ORDER BY count(*), 1 LIMIT 1",
    "language": "SELECT language FROM book WHERE language IS NOT NULL GROUP BY 1 ORDER BY count(*), 1 LIMIT 1",
    "year_from": "SELECT max(publication_year) FROM book",
    "year_to": "SELECT min(publication_year) FROM book",
}
WORD: Final = """
    SELECT word FROM (SELECT word, (SELECT count(*) FROM book_document
        WHERE document @@ quote_literal(word)::tsquery) AS books FROM search_word WHERE word ~ '^[a-z]+$'
        ORDER BY word LIMIT 300) AS counted ORDER BY abs(books - %s), word LIMIT 1"""
RARE_LANGUAGE: Final = """
    SELECT language FROM book WHERE language IS NOT NULL GROUP BY 1 HAVING count(*) > 5000 OR count(*) = 1
    ORDER BY count(*) <= 5000, count(*), 1 LIMIT 1"""
"""One that more books have than are sorted, but few; in a small catalogue one that a single book has."""
WORDS: Final = {"rare": 5, "medium": 3000, "common": 10**9}
ORDERS: Final = (*(f"{sign}{name}" for name in sorting.BOOKS for sign in ("", "-")), *sorting.BOOK_PAIRS)
"""Every order that is accepted without a search text."""


class Catalogue:
    """One of the two databases: runs the measured unit of work and explains its plan."""

    def __init__(self, url: sa.URL) -> None:
        database = make_database(loader.load("default"), url)
        assert isinstance(database, AsyncDatabase)
        self._database = database
        self._info = conninfo(url)
        self._sent: list[tuple[str, Any]] = []
        sa.event.listen(database._reading.sync_engine, "before_cursor_execute", self._record_statement)  # noqa: SLF001 - its SQL

    def _record_statement(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        self._sent.append((statement, parameters))

    def value(self, statement: str, *parameters: Any) -> Any:
        with psycopg.connect(self._info) as connection:
            return next(iter(connection.execute(statement.encode(), parameters or None).fetchone() or [None]))

    async def page(self, query: BookQuery) -> tuple[float, int, str | None]:
        """Fetch one page. Return (milliseconds, number of books, next_cursor)."""
        loading = self._database.profile.loading
        started_s = time.perf_counter()
        result = await self._database.run(lambda session: BookRepository(session, loading).page(query), reading=True)
        taken_ms = (time.perf_counter() - started_s) * 1000
        body = json.loads(msgspec.json.encode(result.body))
        return taken_ms, len(body["items"]), body["next_cursor"]

    async def last_page_query(self, query: BookQuery) -> BookQuery:
        """Return the query of the last page: it starts where the reversed order is after one page."""
        if query.q is None:
            return await self._last_page_by_keys(query)
        sort = query.order()
        reversed_sort = sort[1:] if sort.startswith("-") else f"-{sort}"
        reversed_query = msgspec.structs.replace(query, sort=reversed_sort)
        _, _, next_cursor = await self.page(reversed_query)
        if next_cursor is None:
            return query

        def issue(session: Session) -> str:
            key = pagination.signing_key(session)
            return pagination.encode(
                pagination.decode(next_cursor, reversed_query.list_key(), key), query.list_key(), key
            )

        return msgspec.structs.replace(query, cursor=await self._database.run(issue, reading=True))

    async def _last_page_by_keys(self, query: BookQuery) -> BookQuery:
        keys = book_selection.sort_keys(query.order(), has_words=False)
        parameters = query.filters()
        passes = [item.passes for item in FILTERS.values() if item.parameter in parameters]
        backwards = (key.column.asc() if key.descending else key.column.desc() for key in keys)
        statement = sa.select(*(key.column for key in keys)).where(*passes).order_by(*backwards).offset(LIMIT).limit(1)

        def last(session: Session) -> str | None:
            row = session.execute(statement, parameters).first()
            return row and pagination.encode(list(row), query.list_key(), pagination.signing_key(session))

        cursor = await self._database.run(last, reading=True)
        return query if cursor is None else msgspec.structs.replace(query, cursor=cursor)

    async def plan(self, query: BookQuery) -> str:
        """Return the plan nodes that scan or sort more than a page, once the statement is prepared; else "index"."""
        self._sent.clear()
        await self.page(query)
        statement, parameters = next(sent for sent in reversed(self._sent) if "capped" in sent[0])
        values = ", ".join(sql.Literal(value).as_string() for value in parameters or ())
        with psycopg.connect(self._info) as connection:
            connection.execute(f"PREPARE measured AS {statement}".encode())
            explain = f"EXPLAIN (FORMAT JSON) EXECUTE measured{f'({values})' if values else ''}".encode()
            for _ in range(7):  # from the sixth execution on, PostgreSQL may use the generic plan
                (explained,) = connection.execute(explain).fetchone() or ([],)
        plan = explained if isinstance(explained, list) else json.loads(explained)
        slow_nodes = {
            node["Node Type"] + (f" on {node['Relation Name']}" if "Relation Name" in node else "")
            for node in _nodes(plan[0]["Plan"])
            if (node["Node Type"].endswith("Seq Scan") and node["Relation Name"] in TABLES)
            or (node["Node Type"] == "Sort" and node["Plan Rows"] > 20 * LIMIT)
        }
        return ", ".join(sorted(slow_nodes)) or "index"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def queries(catalogue: Catalogue) -> dict[str, BookQuery]:
    """Return every case by name, with values from this catalogue."""
    filters: dict[str, dict[str, Any]] = {"": {}}
    for kind, statements in (("many", MANY), ("few", FEW)):
        for name, statement in statements.items():
            filters[f"{name} ({kind}) "] = {name: catalogue.value(statement)}
    filters["language (no such region) "] = {"language": f"{str(catalogue.value(MANY['language']))[:2]}-ZZ"}
    filters["years (none) "] = {"year_from": -2000, "year_to": -1999}
    many = {name: catalogue.value(MANY[name]) for name in ("genre", "language", "year_from")}
    filters["genre, language, year_from (many) "] = many
    filters["language, years (many, none with both) "] = {
        "language": catalogue.value(RARE_LANGUAGE), "year_from": many["year_from"], "genre": many["genre"],
    }  # fmt: skip
    cases = {f"{name}sort={sort}": values | {"sort": sort} for name, values in filters.items() for sort in ORDERS}
    cases |= {f"q ({name})": {"q": catalogue.value(WORD, books)} for name, books in WORDS.items()}
    cases["q (mistyped)"] = {"q": catalogue.value(WORD, WORDS["rare"])[:-1] + "q"}
    cases |= {
        f"q (medium) sort={sort}": {"q": cases["q (medium)"]["q"], "sort": sort}
        for sort in ("title", "-created_at,title")
    }
    cases["q (medium), genre"] = cases["q (medium)"] | {"genre": many["genre"]}
    return {name: BookQuery(limit=LIMIT, **values) for name, values in cases.items()}


def is_one_range(query: BookQuery) -> bool:
    """Return whether one index has the filter and the order of a list."""
    parameters = query.filters()
    names = tuple(name for name, item in FILTERS.items() if item.parameter in parameters)
    return query.q is None and (not names or book_selection.Shape(names, query.order(), None).is_one_range())


async def main() -> None:
    small, large = (Catalogue(parse(os.environ[name])) for name in ("DATABASE_URL_SMALL", "DATABASE_URL_LARGE"))
    print(f"{'page of 100':<64}{'small: books, ms':>14}{'large: books, ms':>16}{'ratio':>8}   plan in the large one")
    missed = 0
    in_small, in_large = queries(small), queries(large)
    for name, first in in_small.items():
        for page in ("first", "last"):
            pair = [(small, first), (large, in_large[name])]
            if page == "last":
                pair = [(catalogue, await catalogue.last_page_query(query)) for catalogue, query in pair]
            times: list[list[float]] = [[], []]
            books = [0, 0]
            for number in range(ROUNDS + 8):  # the first eight prepare the statements
                for place, (catalogue, query) in enumerate(pair):
                    taken_ms, books[place], _ = await catalogue.page(query)
                    if number >= 8:
                        times[place].append(taken_ms)
            before, after = (statistics.median(values) for values in times)
            limit_ms = TARGET * before if is_one_range(first) else TARGET_MS
            is_met = after <= limit_ms or books[0] < books[1]
            missed += not is_met
            mark = "" if is_met else "  << target missed"
            print(
                f"{name + ' ' + page:<64}{books[0]:4}{before:8.2f}ms{books[1]:6}{after:8.2f}ms{after / before:8.2f}   "
                f"{await large.plan(pair[1][1])}{mark}",
                flush=True,
            )
    sys.exit(f"{missed} targets missed" if missed else 0)


if __name__ == "__main__":
    asyncio.run(main())
