"""Interface of the loading strategies: which books and members to read, in which order, and the result types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog import schemas, sorting
from bookstore.catalog.models import Author, Book, Genre

book = cast("sa.Table", Book.__table__)
author = cast("sa.Table", Author.__table__)
genre = cast("sa.Table", Genre.__table__)

MEMBERS: Final = schemas.Book.__struct_fields__
"""The members of a book in a response without `fields`."""

Parameters = Mapping[str, Any]
ORDER_BY_ID: Final = (sorting.BOOKS["id"](False),)


class Selection:
    """Which books to read, in which order, with which members, and the maximum number of books.

    Values are named parameters that are bound later, so that a Selection and its statements are built once. The limit
    is a literal in the SQL: for a limit that is a parameter, PostgreSQL's generic plan assumes a tenth of the table,
    and PostgreSQL then plans every request separately.
    """

    def __init__(
        self,
        *where: sa.ColumnElement[bool],
        limit: int,
        joins: Sequence[tuple[sa.FromClause, sa.ColumnElement[bool]]] = (),
        keys: sorting.SortKeys = ORDER_BY_ID,
        members: Sequence[str] = MEMBERS,
    ) -> None:
        self.where = where
        self.limit = limit
        self.joins = joins
        self.keys = keys
        self.members = tuple(members)

    @property
    def columns(self) -> tuple[sa.Column[Any], ...]:
        """The columns of `book` among the members, in their order."""
        return tuple(book.c[name] for name in self.members if name in book.c)

    @property
    def key_columns(self) -> tuple[sa.ColumnElement[Any], ...]:
        return tuple(key.column.label(f"key_{number}") for number, key in enumerate(self.keys))

    def apply(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        """Return `statement` with joins, conditions, order and a limit one above `limit`, to detect a next page."""
        for table, on in self.joins:
            statement = statement.join(table, on)
        order = [key.order_by() for key in self.keys]
        return statement.where(*self.where).order_by(*order).limit(sa.literal_column(str(self.limit + 1)))


class LoadedPage(NamedTuple):
    """A page of books, at most the limit of the selection.

    `last_key` has the sort key values of the last book if there is a next page. `state` is the state of the database
    at the time of reading or before, None if there are no books. In the strategy `json`, `books` is the JSON of the
    array (msgspec.Raw, which is encoded by copying).
    """

    books: list[schemas.ListedBook]
    last_key: tuple[Any, ...] | None
    state: str | None


class LoadedBook(NamedTuple):
    """A book, its tag and its change time as in `validators`."""

    book: schemas.Book
    tag: str
    changed_at: int


class Reader(Protocol):
    """A loading strategy. Reads within the transaction of the session."""

    def page(self, session: Session, selection: Selection, parameters: Parameters) -> LoadedPage: ...

    def book(self, session: Session, selection: Selection, parameters: Parameters) -> LoadedBook | None: ...


def fetch(session: Session, statement: sa.Select[Any], parameters: Parameters) -> Sequence[Any]:
    """Return all rows of a Core statement whose columns need no conversion by SQLAlchemy.

    The statement is compiled once. Session.execute looks the compiled form up by a key that it builds from every part
    of the statement each time; under load that took as long as the rest of the request.
    """
    connection = session.connection()
    sql, order, constants = _compile(statement, connection.dialect)
    values = {**constants, **parameters}
    return connection.exec_driver_sql(sql, values if order is None else tuple(values[name] for name in order)).all()


@lru_cache(maxsize=1024)
def _compile(statement: sa.Select[Any], dialect: sa.Dialect) -> tuple[str, list[str] | None, dict[str, Any]]:
    """Return the SQL, the order of its parameters if they are positional, and the values of constant parameters."""
    compiled = statement.compile(dialect=dialect)
    constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    return str(compiled), compiled.positiontup if compiled.positional else None, constants
