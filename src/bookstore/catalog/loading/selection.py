"""Interface of the loading strategies: which books and members to read, in which order, and the result types."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog import schemas, sorting
from bookstore.catalog.models import Author, Book, Genre

book = cast("sa.Table", Book.__table__)
author = cast("sa.Table", Author.__table__)
genre = cast("sa.Table", Genre.__table__)

MEMBERS: Final = schemas.Book.__struct_fields__
"""The members of a book in a response without `fields`."""

MAX_LIMIT: Final = 200
"""Books on a page, at most."""

MAX_SCANNED: Final = 10_000
"""Rows that a page reads in the order of an index to find those that pass; 10 ms, in the order of titles 50."""

LIMIT: Final = sa.bindparam("limit", type_=sa.Integer)
"""The parameter that every page needs: the maximum number of books."""

Parameters = Mapping[str, Any]
ORDER_BY_ID: Final = (sorting.BOOKS["id"](False),)
T = TypeVar("T")


class Selection:
    """Which books to read, in which order and with which members.

    All values, the limit included, are parameters that are bound later: the number of different statements depends on
    the shapes of queries and not on what clients send. `passes` are conditions that are checked row by row in the
    order of an index, for MAX_SCANNED rows at most; `where` has the conditions that the index serves. `scanned` is the
    statement that reads the index, if that is not the index of the order.
    """

    def __init__(
        self,
        *where: sa.ColumnElement[bool],
        passes: Sequence[sa.ColumnElement[bool]] = (),
        scanned: sa.Select[Any] | None = None,
        joins: Mapping[sa.FromClause, sa.ColumnElement[bool]] = {},
        keys: sorting.SortKeys = ORDER_BY_ID,
        members: Sequence[str] = MEMBERS,
    ) -> None:
        self.where = where
        self.passes = passes
        self.scanned = scanned
        self.joins = joins
        self.keys = keys
        self.members = tuple(members)
        self._kept: dict[Hashable, Any] = {}

    @property
    def columns(self) -> tuple[sa.Column[Any], ...]:
        """The columns of `book` among the members, in their order, after the id."""
        return (book.c.id, *(book.c[name] for name in self.members if name in book.c and name != "id"))

    def keep(self, make: Callable[..., T], *arguments: Hashable) -> T:
        """Return `make(self, *arguments)`, which is called once. Statements live as long as their selection."""
        key = (make, *arguments)
        if key not in self._kept:
            self._kept[key] = make(self, *arguments)
        return cast("T", self._kept[key])

    def single(self, *columns: Any) -> sa.Select[Any]:
        """Return the statement that reads `columns` of the book, for conditions that hold for one book at most."""
        return self._apply(sa.select(*columns))

    def capped(self, *columns: sa.ColumnElement[Any]) -> sa.Subquery:
        """Return the first books that a page can need, with `columns` and the values of the sort keys.

        A page is the first LIMIT of them. PostgreSQL's generic plan assumes a tenth of the rows for a limit that is a
        parameter: of the whole table it would sort that tenth, or plan each request separately. A tenth of these is
        about a page.
        """
        found = sa.select(*columns, *(key.column.label(_name(number)) for number, key in enumerate(self.keys)))
        if self.passes:
            found = found.add_columns(sa.and_(*self.passes).label("passes"))
        found = self._apply(found).order_by(*(key.order_by() for key in self.keys))
        return found.limit(sa.literal_column(str(MAX_SCANNED if self.passes else MAX_LIMIT + 1))).subquery("capped")

    def first(self, statement: sa.Select[Any], capped: sa.Subquery, limit: sa.ColumnElement[int]) -> sa.Select[Any]:
        """Return `statement`, which selects from `capped`, for the first `limit` books in their order."""
        if self.passes:
            statement = statement.where(capped.c.passes)
        return statement.order_by(*self.order_by(capped)).limit(limit)

    def key_columns(self, source: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        """Return the columns of `source`, which is `capped` or selects from it, that have the sort keys' values."""
        return [source.c[_name(number)] for number in range(len(self.keys))]

    def order_by(self, source: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        columns = zip(self.key_columns(source), self.keys, strict=True)
        return [column.desc() if key.descending else column.asc() for column, key in columns]

    def last_scanned(self, session: Session, parameters: Parameters) -> Sequence[Any]:
        """Return the sort key values of the row after which a page stopped reading; no rows if it read all."""
        return fetch_selected(session, self, Selection._last_scanned, parameters) if self.passes else ()

    def _last_scanned(self) -> sa.Select[Any]:
        statement = self.scanned
        if statement is None:
            statement = self._apply(sa.select(*(key.column for key in self.keys)))
            statement = statement.order_by(*(key.order_by() for key in self.keys))
        return statement.offset(sa.literal_column(str(MAX_SCANNED - 1))).limit(sa.literal_column("1"))

    def _apply(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        statement = statement.select_from(book)
        for table, on in self.joins.items():
            statement = statement.join(table, on)
        return statement.where(*self.where)


def _name(number: int) -> str:
    return f"key_{number}"


class LoadedPage(NamedTuple):
    """A page of books, at most as many as the parameter `limit`.

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


class _Compiled(NamedTuple):
    sql: str
    order: list[str] | None
    """The names of the parameters if they are positional."""
    constants: dict[str, Any]
    """The values of the constant parameters."""


def fetch(session: Session, statement: sa.Select[Any], parameters: Parameters) -> Sequence[Any]:
    """Return all rows of a constant Core statement whose columns need no conversion by SQLAlchemy.

    The statement is compiled once. Session.execute looks the compiled form up by a key that it builds from every part
    of the statement each time; under load that took as long as the rest of the request.
    """
    return _execute(session.connection(), _compile(statement, session.connection().dialect), parameters)


def fetch_selected(
    session: Session, selection: Selection, build: Callable[[Selection], sa.Select[Any]], parameters: Parameters
) -> Sequence[Any]:
    """Return all rows of `build(selection)`, as `fetch` does. The compiled statement is kept by the selection."""
    connection = session.connection()
    return _execute(connection, selection.keep(_compile_selected, build, connection.dialect), parameters)


def _execute(connection: sa.Connection, compiled: _Compiled, parameters: Parameters) -> Sequence[Any]:
    sql, order, constants = compiled
    values = {**constants, **parameters}
    return connection.exec_driver_sql(sql, values if order is None else tuple(values[name] for name in order)).all()


def _compile_selected(
    selection: Selection, build: Callable[[Selection], sa.Select[Any]], dialect: sa.Dialect
) -> _Compiled:
    return _compile.__wrapped__(build(selection), dialect)


@lru_cache(maxsize=256)
def _compile(statement: sa.Select[Any], dialect: sa.Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect)
    constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    return _Compiled(str(compiled), compiled.positiontup if compiled.positional else None, constants)
