"""Loading strategies: how books are read from PostgreSQL together with their authors and genres.

A `Selection` defines which books to read, a strategy defines how. All strategies return the same JSON; they differ in
the number of statements, in the bytes transferred and in where rows are grouped into books:

| strategy | statements for N books | grouping |
|---|---|---|
| lazy | 1 + 2N | in the ORM, one statement at the first access of each relationship |
| joined | 1 | in the ORM, from authors x genres rows per book |
| selectin, subquery | 3 | in the ORM |
| rows | 3 | in Python: Core rows into structs, without ORM objects |
| json | 1 | in PostgreSQL: the page as one JSON text, sent on unparsed |

Belongs here: reading books. Does not belong here: parsing queries and writing (see `repositories`).
`repositories` and `http` import it.
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
    LIMIT,
    MAX_LIMIT,
    MAX_SCANNED,
    MEMBERS,
    LoadedBook,
    LoadedPage,
    Reader,
    Selection,
    author,
    book,
    fetch,
    fetch_selected,
    genre,
)
from bookstore.profile.engine_profile import Loading

__all__ = [
    "BY_ID",
    "BY_ISBN",
    "LIMIT",
    "MAX_LIMIT",
    "MAX_SCANNED",
    "MEMBERS",
    "LoadedBook",
    "LoadedPage",
    "Reader",
    "Selection",
    "author",
    "book",
    "fetch",
    "fetch_selected",
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
    """Return the reader of the strategy `loading`."""
    return _READERS[loading]
