"""lazy, joined, selectin, subquery: SQLAlchemy's own loader strategies, structs made of ORM objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, load_only
from sqlalchemy.orm.strategy_options import _AbstractLoad

from bookstore.catalog import schemas
from bookstore.catalog.loading.etags import CHANGED_AT, TAG
from bookstore.catalog.loading.selection import MEMBERS, LoadedBook, LoadedPage, Parameters, Selection
from bookstore.catalog.models import STATE, Author, Book, Genre

_COLUMNS: Final[Mapping[str, Any]] = {
    name: getattr(Book, name) for name in schemas.ListedBook.__struct_fields__ if name not in {"authors", "genres"}
}


class OrmReader:
    """`load` is the loader option for both relationships."""

    def __init__(self, load: Callable[[Any], _AbstractLoad]) -> None:
        self._load = load
        self._statement = lru_cache(maxsize=512)(self._made)

    def page(self, session: Session, selection: Selection, parameters: Parameters) -> LoadedPage:
        rows = session.execute(self._statement(selection), parameters).unique().all()
        shown = rows[: selection.limit]
        if not shown:
            return LoadedPage([], None, None)
        whole = selection.members == MEMBERS
        books = [
            _struct(row[0], schemas.ListedBook) if whole else _partial_struct(row[0], selection.members)
            for row in shown
        ]
        *place, state = shown[-1][1:]
        return LoadedPage(books, tuple(place) if len(rows) > selection.limit else None, state)

    def book(self, session: Session, selection: Selection, parameters: Parameters) -> LoadedBook | None:
        row = session.execute(self._statement(selection, one=True), parameters).unique().one_or_none()
        return None if row is None else LoadedBook(_struct(row[0], schemas.Book), row.tag, row.changed_at)

    def _made(self, selection: Selection, *, one: bool = False) -> sa.Select[Any]:
        members = selection.members
        # What the wire does not need stays in the database: for 100 books, joined, that is 560 rows of it.
        options = [load_only(Book.id, *(_COLUMNS[name] for name in members if name in _COLUMNS))]
        if "authors" in members:
            options.append(self._load(Book.authors).load_only(Author.id, Author.name))
        if "genres" in members:
            options.append(self._load(Book.genres).load_only(Genre.id, Genre.name))
        extra = (TAG, CHANGED_AT) if one else (*selection.key_columns, STATE)
        return selection.apply(sa.select(Book, *extra).options(*options))


def _struct(item: Book, kind: Any) -> Any:
    """Touches the relationships: with `lazy` each touch is a statement."""
    return kind(
        item.id,
        item.title,
        item.isbn13,
        item.publication_year,
        item.language,
        _authors(item),
        _genres(item),
    )


def _partial_struct(item: Book, members: tuple[str, ...]) -> schemas.ListedBook:
    lists: dict[str, Callable[[Book], Any]] = {"authors": _authors, "genres": _genres}
    values: Any = {name: lists[name](item) if name in lists else getattr(item, name) for name in members}
    return schemas.ListedBook(**values)


def _authors(item: Book) -> list[schemas.Author]:
    return [schemas.Author(one.id, one.name) for one in item.authors]


def _genres(item: Book) -> list[schemas.Genre]:
    return [schemas.Genre(one.id, one.name) for one in item.genres]
