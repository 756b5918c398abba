"""Query parameters of book lists (filters, order, members, cursor), and their translation into a Selection."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog import pagination, schemas, search, sorting
from bookstore.catalog.loading import MEMBERS, Selection, book
from bookstore.catalog.models import book_document
from bookstore.catalog.repositories.filters import FILTERS, YEARS

_ALL_MEMBERS: Final = schemas.ListedBook.__struct_fields__
_MATCHING: Final = search.matches()
_RANKED: Final = {**sorting.BOOKS, "relevance": sorting.column_key(_MATCHING.c.distance, int)}


class BookQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of a list of books; None if not sent. `genre` is a slug or an id."""

    author_id: int | None = None
    genre: str | None = None
    language: str | None = None
    isbn13: str | None = None
    year_from: int | None = None
    year_to: int | None = None
    q: str | None = None
    sort: str | None = None
    fields: str | None = None
    limit: int
    cursor: str | None = None
    total: bool = False

    def filters(self) -> dict[str, Any]:
        """Return the values of the FILTERS and YEARS that apply."""
        plain = ("author_id", "isbn13", "year_from", "year_to")
        values: dict[str, Any] = {name: value for name in plain if (value := getattr(self, name)) is not None}
        if self.genre is not None:
            values |= {"genre_id": int(self.genre)} if self.genre.isdigit() else {"genre_slug": self.genre}
        if self.language is not None:  # en also matches en-US; en-US matches only itself (RFC 4647, basic filtering)
            values["region" if "-" in self.language else "language"] = self.language
        return values

    def order(self) -> str:
        return self.sort or ("id" if self.q is None else "relevance")

    def list_key(self) -> str:
        """Return what identifies the list in its cursors: filters, search text and order."""
        return repr((sorted(self.filters().items()), self.q, self.order()))

    def members(self) -> tuple[str, ...]:
        """Return the members in `fields`, in response order. Raises ApiError for unknown members."""
        if self.fields is None:
            return MEMBERS
        wanted = self.fields.split(",")
        for name in wanted:
            if name not in _ALL_MEMBERS:
                raise pagination.invalid_parameter(
                    "fields", f"found '{name[:40]}'; allowed is {', '.join(_ALL_MEMBERS)}"
                )
        return tuple(name for name in _ALL_MEMBERS if name in wanted)

    def check(self) -> None:
        """Raise ApiError if the query is invalid. Does not access the database."""
        self.members()
        search_query, values = self.decode_cursor()
        if self.cursor is not None:
            is_common = search_query is not None and search_query.is_common
            pagination.keyset_parameters(
                values, sort_keys(self.order(), has_words=search_query is not None, is_common=is_common)
            )

    def decode_cursor(self) -> tuple[search.Interpretation | None, list[Any]]:
        """Return the cursor's interpretation of the search text and its sort key values; (None, []) without a cursor.

        Raises ApiError for a cursor of another list or an unknown order.
        """
        sort_keys(self.order(), has_words=self.q is not None)
        if self.cursor is None:
            return None, []
        values = pagination.decode(self.cursor, self.list_key())
        if self.q is None:
            return None, values
        return pagination.convert_values(values[:2], search.Interpretation), values[2:]


class ResolvedQuery(NamedTuple):
    """A query ready to execute: the selection of a page, the statement that counts all books, and their parameters."""

    selection: Selection
    count_statement: sa.Select[Any]
    parameters: Mapping[str, Any]
    search_query: search.Interpretation | None
    state: str | None
    """The state of the database when the search text was interpreted, None if it was not."""

    def next_cursor(self, query: BookQuery, last_key: tuple[Any, ...] | None) -> str | None:
        if last_key is None:
            return None
        return pagination.encode([*(self.search_query or ()), *last_key], query.list_key())


def resolve(session: Session, query: BookQuery) -> ResolvedQuery:
    """Translate `query` into statements.

    The search text is interpreted for the first page, and the cursors contain the result: a book added later may
    contain the unknown word that was replaced, which would change the list between two pages.
    """
    search_query, values = query.decode_cursor()
    state = None
    if query.q is not None and search_query is None:
        search_query, state = search.interpret(session, query.q)
    filters = query.filters()
    years = tuple((name, filters.pop(name)) for name in YEARS if name in filters)
    shape = _Shape(
        tuple(sorted(filters)),
        years,
        query.order(),
        None if search_query is None else search_query.is_common,
        bool(values),
        query.limit,
        query.members(),
    )
    selection = _selection(shape)
    parameters = filters | (pagination.keyset_parameters(values, selection.keys) if values else {})
    if search_query is not None:
        parameters["query"] = search_query.query
    return ResolvedQuery(selection, _count(shape._replace(has_cursor=False)), parameters, search_query, state)


@lru_cache(maxsize=256)
def sort_keys(order: str, *, has_words: bool, is_common: bool = False) -> sorting.SortKeys:
    """Return the sort keys of `order`. Common words are not ranked; for them relevance means the id.

    Raises ApiError for unknown keys, for relevance without a search text, and for common words with any order but
    relevance or id: no index serves both, and sorting half of a large catalogue takes seconds.
    """
    names = {name.removeprefix("-") for name in order.split(",")}
    if not has_words and "relevance" in names:
        raise pagination.invalid_parameter("sort", "found 'relevance' without q; sorting by relevance requires q")
    if is_common and not names <= {"relevance", "id"}:
        detail = (
            f"more than {search.MAX_RANKED} books contain the words of q; allowed is relevance or id, or more words"
        )
        raise pagination.invalid_parameter("sort", detail)
    return (
        pagination.sort_keys("-id" if order == "-id" else "id", _RANKED)
        if is_common
        else pagination.sort_keys(order, _RANKED)
    )


class _Shape(NamedTuple):
    """Everything in a query that determines its SQL."""

    filters: tuple[str, ...]
    years: tuple[tuple[str, int], ...]
    order: str
    is_common: bool | None
    has_cursor: bool
    limit: int
    members: tuple[str, ...]


Joins = dict[sa.FromClause, sa.ColumnElement[bool]]


def _conditions(shape: _Shape, has_words: sa.ColumnElement[bool]) -> tuple[Joins, list[sa.ColumnElement[bool]]]:
    """Return the joins and conditions of a query; `has_words` is the condition for common words."""
    used = [*(FILTERS[name] for name in shape.filters), *(YEARS[name](year) for name, year in shape.years)]
    joins: Joins = {item.table: item.on for item in used if item.table is not None and item.on is not None}
    where = [item.where for item in used]
    if shape.is_common:
        joins[book_document] = book_document.c.book_id == book.c.id
        where.append(has_words)
    elif shape.is_common is not None:
        joins[_MATCHING] = _MATCHING.c.book_id == book.c.id
    return joins, where


@lru_cache(maxsize=512)
def _selection(shape: _Shape) -> Selection:
    # IS TRUE keeps PostgreSQL from collecting all matches when only the first ones of an order are needed.
    joins, where = _conditions(shape, search.document_matches().is_(sa.true()))
    order = sort_keys(shape.order, has_words=shape.is_common is not None, is_common=bool(shape.is_common))
    if shape.has_cursor:
        where.append(sorting.keyset_condition(order))
        if len(order) == 1:  # the id; PostgreSQL derives equalities for joined tables, but not ranges
            where += [sorting.keyset_condition((order[0]._replace(column=table.c.book_id),)) for table in joins]
    return Selection(*where, limit=shape.limit, joins=tuple(joins.items()), keys=order, members=shape.members)


@lru_cache(maxsize=512)
def _count(shape: _Shape) -> sa.Select[Any]:
    joins, where = _conditions(shape, search.document_matches())
    statement = sa.select(sa.func.count()).select_from(book)
    for table, on in joins.items():
        statement = statement.join(table, on)
    return statement.where(*where)
