"""Strategies lazy, joined, selectin, subquery: SQLAlchemy's loader strategies, with ORM objects copied into structs."""

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
    """Reads with the loader option `load` for both relationships."""

    def __init__(self, load: Callable[[Any], _AbstractLoad]) -> None:
        self._load = load
        self._statement = lru_cache(maxsize=512)(self._build_statement)

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
        *last_key, state = shown[-1][1:]
        return LoadedPage(books, tuple(last_key) if len(rows) > selection.limit else None, state)

    def book(self, session: Session, selection: Selection, parameters: Parameters) -> LoadedBook | None:
        row = session.execute(self._statement(selection, single=True), parameters).unique().one_or_none()
        return None if row is None else LoadedBook(_struct(row[0], schemas.Book), row.tag, row.changed_at)

    def _build_statement(self, selection: Selection, *, single: bool = False) -> sa.Select[Any]:
        members = selection.members
        # Reads only the columns that are sent: joined returns 560 rows for 100 books.
        options = [load_only(Book.id, *(_COLUMNS[name] for name in members if name in _COLUMNS))]
        if "authors" in members:
            options.append(self._load(Book.authors).load_only(Author.id, Author.name))
        if "genres" in members:
            options.append(self._load(Book.genres).load_only(Genre.id, Genre.name))
        extra = (TAG, CHANGED_AT) if single else (*selection.key_columns, STATE)
        return selection.apply(sa.select(Book, *extra).options(*options))


def _struct(item: Book, kind: Any) -> Any:
    """Build a struct. Accesses the relationships, which with `lazy` executes a statement each."""
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
    return [schemas.Author(author.id, author.name) for author in item.authors]


def _genres(item: Book) -> list[schemas.Genre]:
    return [schemas.Genre(genre.id, genre.name) for genre in item.genres]
