"""What is read, whatever the strategy: which books, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore import schemas
from bookstore.models import Author, Book, Genre

book = cast("sa.Table", Book.__table__)
author = cast("sa.Table", Author.__table__)
genre = cast("sa.Table", Genre.__table__)

COLUMNS: Final = (book.c.id, book.c.title, book.c.isbn13, book.c.publication_year, book.c.language)
"""A book's own part of the wire."""

Parameters = Mapping[str, Any]


class Selection:
    """Which books, in the order of their ids, how many at most. Values come later, as parameters by name:
    a Selection is built once, and so are its statements.

    The limit is written into the SQL: PostgreSQL's generic plans assume a tenth of the table for a limit
    they cannot see, and then plan anew for every request.
    """

    def __init__(self, *where: sa.ColumnElement[bool], limit: int) -> None:
        self.where = where
        self.limit = limit

    def apply(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        """Asks for one book more than the limit, to know whether there is one."""
        return statement.where(*self.where).order_by(book.c.id).limit(sa.literal_column(str(self.limit + 1)))


class Found(NamedTuple):
    """Up to the limit's number of books, and the last one's id where more follow.

    The strategy `json` puts the array's JSON in the place of the list (msgspec.Raw, encoded by copying).
    """

    books: list[schemas.Book]
    last_id: int | None


class Reader(Protocol):
    """A strategy. Reads within the session's transaction."""

    def page(self, session: Session, selection: Selection, parameters: Parameters) -> Found: ...

    def one(self, session: Session, selection: Selection, parameters: Parameters) -> schemas.Book | None: ...


def fetch(session: Session, statement: sa.Select[Any], parameters: Parameters) -> Sequence[Any]:
    """All rows of a Core statement whose columns need no conversion by SQLAlchemy.

    The statement is compiled once. Session.execute would find the compiled form by a key that it makes from
    every part of the statement each time: under load that took as long as the rest of the request.
    """
    connection = session.connection()
    sql, order = _compiled(statement, connection.dialect)
    values = parameters if order is None else tuple(parameters[name] for name in order)
    return connection.exec_driver_sql(sql, values).all()


@lru_cache(maxsize=1024)
def _compiled(statement: sa.Select[Any], dialect: sa.Dialect) -> tuple[str, list[str] | None]:
    compiled = statement.compile(dialect=dialect)
    return str(compiled), compiled.positiontup if compiled.positional else None
