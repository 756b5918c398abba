"""Loading strategies: how books come out of PostgreSQL with their authors and genres.

A `Selection` says which books, a strategy how. All give the same JSON; they differ in statements,
in bytes and in who does the grouping:

| strategy | statements for N books | the grouping is done by |
|---|---|---|
| lazy | 1 + 2N | the ORM, a statement at each first touch of a relationship |
| joined | 1 | the ORM, out of authors x genres rows a book |
| selectin, subquery | 3 | the ORM |
| rows | 3 | Python: Core rows into structs, no ORM object is made |
| json | 1 | PostgreSQL: the page as one JSON text, passed on unparsed |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy.orm import joinedload, lazyload, selectinload, subqueryload

from bookstore.catalog.loading.etags import BY_ID, BY_ISBN, validators
from bookstore.catalog.loading.json_aggregate import AggregateReader
from bookstore.catalog.loading.orm import OrmReader
from bookstore.catalog.loading.rows import RowsReader
from bookstore.catalog.loading.selection import (
    MEMBERS,
    LoadedBook,
    LoadedPage,
    Reader,
    Selection,
    author,
    book,
    fetch,
    genre,
)
from bookstore.profile.engine_profile import Loading

__all__ = [
    "BY_ID",
    "BY_ISBN",
    "MEMBERS",
    "LoadedBook",
    "LoadedPage",
    "Reader",
    "Selection",
    "author",
    "book",
    "fetch",
    "genre",
    "reader",
    "validators",
]

_READERS: Final[Mapping[Loading, Reader]] = {
    "lazy": OrmReader(lazyload),
    "joined": OrmReader(joinedload),
    "selectin": OrmReader(selectinload),
    "subquery": OrmReader(subqueryload),
    "rows": RowsReader(),
    "json": AggregateReader(),
}


def reader(loading: Loading) -> Reader:
    """The way the strategy `loading` reads."""
    return _READERS[loading]
