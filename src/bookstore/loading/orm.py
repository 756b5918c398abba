"""lazy, joined, selectin, subquery: SQLAlchemy's own loader strategies, structs made of ORM objects."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, load_only
from sqlalchemy.orm.strategy_options import _AbstractLoad

from bookstore import schemas
from bookstore.loading.selection import Found, Parameters, Selection
from bookstore.models import Author, Book, Genre

# What the wire does not need stays in the database: for 100 books, joined, that is 560 rows of it.
_WIRE_COLUMNS: Final = load_only(Book.id, Book.title, Book.isbn13, Book.publication_year, Book.language)


class OrmReader:
    """`load` is the loader option for both relationships."""

    def __init__(self, load: Callable[[Any], _AbstractLoad]) -> None:
        authors = load(Book.authors).load_only(Author.id, Author.name)
        genres = load(Book.genres).load_only(Genre.id, Genre.name)
        base = sa.select(Book).options(_WIRE_COLUMNS, authors, genres)
        self._statement = lru_cache(maxsize=512)(lambda selection: selection.apply(base))

    def page(self, session: Session, selection: Selection, parameters: Parameters) -> Found:
        found = session.scalars(self._statement(selection), parameters).unique().all()
        shown = [_struct(item) for item in found[: selection.limit]]
        return Found(shown, shown[-1].id if len(found) > selection.limit else None)

    def one(self, session: Session, selection: Selection, parameters: Parameters) -> schemas.Book | None:
        return next(iter(self.page(session, selection, parameters).books), None)


def _struct(item: Book) -> schemas.Book:
    """Touches the relationships: with `lazy` each touch is a statement."""
    return schemas.Book(
        item.id,
        item.title,
        item.isbn13,
        item.publication_year,
        item.language,
        [schemas.Author(one.id, one.name) for one in item.authors],
        [schemas.Genre(one.id, one.name) for one in item.genres],
    )
