"""What is read, whatever the strategy: which books in which order, which of their members, what comes back."""

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
"""Of a book on the wire, where nobody asks for others."""

Parameters = Mapping[str, Any]
ORDER_BY_ID: Final = (sorting.BOOKS["id"](False),)


class Selection:
    """Which books, in which order, how many at most, with which members. Values come later, as parameters by
    name: a Selection is built once, and so are its statements.

    The limit is written into the SQL: PostgreSQL's generic plans assume a tenth of the table for a limit
    they cannot see, and then plan anew for every request.
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
        """A book's own part of the members, in their order."""
        return tuple(book.c[name] for name in self.members if name in book.c)

    @property
    def key_columns(self) -> tuple[sa.ColumnElement[Any], ...]:
        return tuple(key.column.label(f"key_{place}") for place, key in enumerate(self.keys))

    def apply(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        """Asks for one book more than the limit, to know whether there is one."""
        for table, on in self.joins:
            statement = statement.join(table, on)
        order = [key.order_by() for key in self.keys]
        return statement.where(*self.where).order_by(*order).limit(sa.literal_column(str(self.limit + 1)))


class LoadedPage(NamedTuple):
    """Up to the limit's number of books; the last one's values of the keys where more follow; the state they
    were read in or an older one, None where there is no book.

    The strategy `json` puts the array's JSON in the place of the list (msgspec.Raw, encoded by copying).
    """

    books: list[schemas.ListedBook]
    place: tuple[Any, ...] | None
    state: str | None


class LoadedBook(NamedTuple):
    """A book; its tag and when it was changed, as in `validators`."""

    book: schemas.Book
    tag: str
    changed_at: int


class Reader(Protocol):
    """A strategy. Reads within the session's transaction."""

    def page(self, session: Session, selection: Selection, parameters: Parameters) -> LoadedPage: ...

    def book(self, session: Session, selection: Selection, parameters: Parameters) -> LoadedBook | None: ...


def fetch(session: Session, statement: sa.Select[Any], parameters: Parameters) -> Sequence[Any]:
    """All rows of a Core statement whose columns need no conversion by SQLAlchemy.

    The statement is compiled once. Session.execute would find the compiled form by a key that it makes from
    every part of the statement each time: under load that took as long as the rest of the request.
    """
    connection = session.connection()
    sql, order, constants = _compiled(statement, connection.dialect)
    values = {**constants, **parameters}
    return connection.exec_driver_sql(sql, values if order is None else tuple(values[name] for name in order)).all()


@lru_cache(maxsize=1024)
def _compiled(statement: sa.Select[Any], dialect: sa.Dialect) -> tuple[str, list[str] | None, dict[str, Any]]:
    """The SQL, its parameters in order where they have no names, and the values of those that are constants."""
    compiled = statement.compile(dialect=dialect)
    constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    return str(compiled), compiled.positiontup if compiled.positional else None, constants
