"""What a list of books was asked for: filters, order, members and place -> a Selection and its parameters."""

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
    """What clients ask a list of books for; None is what they did not ask. `genre` is a slug or an id."""

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
        """The values of the FILTERS and YEARS that apply."""
        plain = ("author_id", "isbn13", "year_from", "year_to")
        values: dict[str, Any] = {name: value for name in plain if (value := getattr(self, name)) is not None}
        if self.genre is not None:
            values |= {"genre_id": int(self.genre)} if self.genre.isdigit() else {"genre_slug": self.genre}
        if self.language is not None:  # en finds en-US too, en-US no other (RFC 4647, basic filtering)
            values["region" if "-" in self.language else "language"] = self.language
        return values

    def order(self) -> str:
        return self.sort or ("id" if self.q is None else "relevance")

    def list_key(self) -> str:
        """What a cursor belongs to: the filters, the words and the order, as one text."""
        return repr((sorted(self.filters().items()), self.q, self.order()))

    def members(self) -> tuple[str, ...]:
        """The members of `fields`, in the order of the wire. Raises ApiError for unknown ones."""
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
        """Raises ApiError for anything that is wrong with it; asks no database."""
        self.members()
        meaning, values = self.place()
        if self.cursor is not None:
            is_common = meaning is not None and meaning.is_common
            pagination.keyset_parameters(
                values, sort_keys(self.order(), has_words=meaning is not None, is_common=is_common)
            )

    def place(self) -> tuple[search.Interpretation | None, list[Any]]:
        """What the words were taken for, and the last row's values; (None, []) without a cursor.

        Raises ApiError for a cursor or an order that does not belong here.
        """
        sort_keys(self.order(), has_words=self.q is not None)
        if self.cursor is None:
            return None, []
        values = pagination.decode(self.cursor, self.list_key())
        if self.q is None:
            return None, values
        return pagination.convert_values(values[:2], search.Interpretation), values[2:]


class ResolvedQuery(NamedTuple):
    """A query that was understood: the books of a page, how many all pages have, and the values of both."""

    selection: Selection
    whole: sa.Select[Any]
    parameters: Mapping[str, Any]
    meaning: search.Interpretation | None
    state: str | None
    """The one in which the words got their meaning, None where no database was asked."""

    def next_cursor(self, query: BookQuery, place: tuple[Any, ...] | None) -> str | None:
        return None if place is None else pagination.encode([*(self.meaning or ()), *place], query.list_key())


def resolve(session: Session, query: BookQuery) -> ResolvedQuery:
    """The list that `query` asks for.

    What the words mean is found out for the first page and kept in the cursors: a book that comes meanwhile
    may bring the very word that another one stood for.
    """
    meaning, values = query.place()
    state = None
    if query.q is not None and meaning is None:
        meaning, state = search.interpret(session, query.q)
    filters = query.filters()
    years = tuple((name, filters.pop(name)) for name in YEARS if name in filters)
    shape = _Shape(
        tuple(sorted(filters)),
        years,
        query.order(),
        None if meaning is None else meaning.is_common,
        bool(values),
        query.limit,
        query.members(),
    )
    selection = _selection(shape)
    parameters = filters | (pagination.keyset_parameters(values, selection.keys) if values else {})
    if meaning is not None:
        parameters["query"] = meaning.query
    return ResolvedQuery(selection, _count(shape._replace(goes_on=False)), parameters, meaning, state)


@lru_cache(maxsize=256)
def sort_keys(order: str, *, has_words: bool, is_common: bool = False) -> sorting.SortKeys:
    """The keys of `order`. What is common is not ranked: its relevance is the id.

    Raises ApiError for unknown ones, for relevance without words, and for common words in another order: no
    index serves both, and to sort half of a large catalogue takes seconds.
    """
    names = {name.removeprefix("-") for name in order.split(",")}
    if not has_words and "relevance" in names:
        raise pagination.invalid_parameter("sort", "found 'relevance' without q: there are no words to be relevant to")
    if is_common and not names <= {"relevance", "id"}:
        detail = f"more than {search.MAX_RANKED} books have the words of q; allowed is relevance or id, or more words"
        raise pagination.invalid_parameter("sort", detail)
    return (
        pagination.sort_keys("-id" if order == "-id" else "id", _RANKED)
        if is_common
        else pagination.sort_keys(order, _RANKED)
    )


class _Shape(NamedTuple):
    """All of a query but its values."""

    filters: tuple[str, ...]
    years: tuple[tuple[str, int], ...]
    order: str
    is_common: bool | None
    goes_on: bool
    limit: int
    members: tuple[str, ...]


Joins = dict[sa.FromClause, sa.ColumnElement[bool]]


def _conditions(shape: _Shape, has_words: sa.ColumnElement[bool]) -> tuple[Joins, list[sa.ColumnElement[bool]]]:
    """The tables that are joined and what has to hold; `has_words` for words that are common."""
    used = [*(FILTERS[name] for name in shape.filters), *(YEARS[name](year) for name, year in shape.years)]
    joins: Joins = {one.table: one.on for one in used if one.table is not None and one.on is not None}
    where = [one.where for one in used]
    if shape.is_common:
        joins[book_document] = book_document.c.book_id == book.c.id
        where.append(has_words)
    elif shape.is_common is not None:
        joins[_MATCHING] = _MATCHING.c.book_id == book.c.id
    return joins, where


@lru_cache(maxsize=512)
def _selection(shape: _Shape) -> Selection:
    # IS TRUE keeps PostgreSQL from collecting all matches where it only needs the first ones of an order.
    joins, where = _conditions(shape, search.document_matches().is_(sa.true()))
    order = sort_keys(shape.order, has_words=shape.is_common is not None, is_common=bool(shape.is_common))
    if shape.goes_on:
        where.append(sorting.keyset_condition(order))
        if len(order) == 1:  # the id; PostgreSQL passes on to a joined table what is equal, but no range
            where += [sorting.keyset_condition((order[0]._replace(column=table.c.book_id),)) for table in joins]
    return Selection(*where, limit=shape.limit, joins=tuple(joins.items()), keys=order, members=shape.members)


@lru_cache(maxsize=512)
def _count(shape: _Shape) -> sa.Select[Any]:
    joins, where = _conditions(shape, search.document_matches())
    statement = sa.select(sa.func.count()).select_from(book)
    for table, on in joins.items():
        statement = statement.join(table, on)
    return statement.where(*where)
