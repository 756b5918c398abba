"""The statements of book lists: which index finds the books of a page, and how much is read to find them.

A page reads a bounded number of rows, whatever the filters, order and catalogue:

- One index has the filter and the order: the page is read from it.
- A filter has at most MAX_SORTED books: they are fetched, filtered by the others, and sorted.
- Otherwise books are read in the order of an index and filtered one by one, MAX_SCANNED at most. The page may then be
  short; the next one begins where it ended.

This choice is not left to PostgreSQL. For it, values would have to be part of the SQL, and each value would need a
statement of its own, compiled, prepared and kept. Values that are parameters are unknown to the generic plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog import search, sorting
from bookstore.catalog.loading import LIMIT, MAX_SCANNED, Selection, book
from bookstore.catalog.models import book_document
from bookstore.catalog.repositories import ranking
from bookstore.catalog.repositories.filters import FILTERS, MAX_SORTED, narrowest, year_range

_MATCHING: Final = search.matches()
_RANKED: Final = {**sorting.BOOKS, "relevance": sorting.column_key(_MATCHING.c.distance, int)}


@lru_cache(maxsize=256)
def sort_keys(order: str, *, has_words: bool, is_common: bool = False) -> sorting.SortKeys:
    """Return the sort keys of `order`. Raises ApiError as `ranking.sort_keys`."""
    orders = _RANKED if has_words else sorting.BOOKS
    return ranking.sort_keys(order, orders, sorting.BOOK_PAIRS, has_words=has_words, is_common=is_common)


class Shape(NamedTuple):
    """What determines the SQL of a list."""

    filters: tuple[str, ...]
    order: str
    is_common: bool | None
    """Whether the words are common; None without words."""
    few: str | None = None
    """The filter that has at most MAX_SORTED books."""

    @classmethod
    def choose(cls, session: Session, order: str, is_common: bool | None, parameters: Mapping[str, Any]) -> Shape:
        """Return the shape of a list. Counts the books of each filter, to MAX_SORTED, if the SQL depends on it."""
        filters = tuple(name for name, item in FILTERS.items() if item.parameter in parameters)
        shape = cls(filters, order, is_common)
        if not filters or is_common is False or shape.is_one_range():
            return shape
        return shape._replace(few=narrowest(session, filters, parameters))

    @property
    def keys(self) -> sorting.SortKeys:
        return sort_keys(self.order, has_words=self.is_common is not None, is_common=bool(self.is_common))

    def is_one_range(self) -> bool:
        """Return whether one index has the only filter and the order."""
        if len(self.filters) != 1 or self.is_common:
            return False
        if self.filters == ("updated_since",):
            return self.is_by_update()
        return self.is_by_year() if self.filters == ("years",) else self.listing() is not None

    def is_by_year(self) -> bool:
        return self.is_common is None and self.order.removeprefix("-").startswith("publication_year")

    def is_by_update(self) -> bool:
        return self.is_common is None and self.order.removeprefix("-") == "updated_at"

    def listing(self) -> str | None:
        """Return the filter whose index has the order of the list, which is then the id."""
        return next((name for name in self.filters if FILTERS[name].value is not None and len(self.keys) == 1), None)


@lru_cache(maxsize=256)
def selection(shape: Shape, members: tuple[str, ...], *, has_cursor: bool) -> Selection:
    """Return the selection of a page: the first one, or one after a place."""
    keys = shape.keys
    others = {name: FILTERS[name].passes for name in shape.filters}
    where: list[sa.ColumnElement[bool]] = []
    joins: dict[sa.FromClause, sa.ColumnElement[bool]] = {}
    scanned: sa.Select[Any] | None = None
    if shape.is_common is not None:
        table: sa.FromClause = book_document if shape.is_common else _MATCHING
        joins[table] = table.c.book_id == book.c.id
    if shape.is_common:
        others["words"] = search.document_matches()
    if shape.few is not None:
        del others[shape.few]
        where.append(_is_one_of(FILTERS[shape.few].ids(MAX_SORTED)))
    elif shape.is_common is not False and (listing := shape.listing()):
        del others[listing]
        scanned = FILTERS[listing].ids_from(keys[0], has_cursor=has_cursor)
        where.append(_is_one_of(scanned.limit(sa.literal_column(str(MAX_SCANNED)) if others else LIMIT + 1)))
    elif shape.is_by_year() and others.pop("years", None) is not None:
        where.append(year_range(keys[0]))
    elif shape.is_by_update() and (since := others.pop("updated_since", None)) is not None:
        where.append(since)  # a range of the index that has the order
    if has_cursor:
        where.append(sorting.keyset_condition(keys))
        if len(keys) == 1:  # the id; PostgreSQL derives equalities for joined tables, but not ranges
            where += [sorting.keyset_condition((keys[0]._replace(column=table.c.book_id),)) for table in joins]
    if shape.few is not None or shape.is_common is False:
        return Selection(*where, *others.values(), joins=joins, keys=keys, members=members)
    return Selection(*where, passes=tuple(others.values()), scanned=scanned, joins=joins, keys=keys, members=members)


@lru_cache(maxsize=128)
def count(shape: Shape) -> sa.Select[Any]:
    """Return the statement that counts all books of a list."""
    if shape.is_one_range():
        (name,) = shape.filters
        return sa.select(sa.func.count()).select_from(FILTERS[name].table).where(FILTERS[name].lists)
    statement = sa.select(sa.func.count()).select_from(book)
    if shape.is_common is False:
        statement = statement.join(_MATCHING, _MATCHING.c.book_id == book.c.id)
    elif shape.is_common:
        statement = statement.join(book_document, book_document.c.book_id == book.c.id).where(search.document_matches())
    if shape.few is not None:
        statement = statement.where(_is_one_of(FILTERS[shape.few].ids(MAX_SORTED)))
    return statement.where(*(FILTERS[name].passes for name in shape.filters))


def _is_one_of(ids: sa.Select[Any]) -> sa.ColumnElement[bool]:
    # An array: an index scan handles it in one descent. With a join, PostgreSQL might read all books.
    return book.c.id == sa.any_(sa.func.array(ids.scalar_subquery()))
