"""Strategies lazy, joined, selectin, subquery: SQLAlchemy's loader strategies, with ORM objects copied into structs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased, load_only
from sqlalchemy.orm.strategy_options import _AbstractLoad

from bookstore.catalog import schemas
from bookstore.catalog.loading.etags import CHANGED_AT, TAG
from bookstore.catalog.loading.selection import LIMIT, MEMBERS, LoadedBook, LoadedPage, Parameters, Selection
from bookstore.catalog.models import STATE, Author, Book, Genre


class OrmReader:
    """Reads with the loader option `load` for both relationships."""

    def __init__(self, load: Callable[[Any], _AbstractLoad]) -> None:
        self._load = load

    def page(self, session: Session, selection: Selection, parameters: Parameters) -> LoadedPage:
        rows = session.execute(selection.keep(self._page_statement), parameters).unique().all()
        shown = rows[: parameters["limit"]]
        if not shown:
            return LoadedPage([], None, None)
        whole = selection.members == MEMBERS
        books = [
            _struct(row[0], schemas.ListedBook) if whole else _partial_struct(row[0], selection.members)
            for row in shown
        ]
        *last_key, state = shown[-1][1:]
        return LoadedPage(books, tuple(last_key) if len(rows) > len(shown) else None, state)

    def book(self, session: Session, selection: Selection, parameters: Parameters) -> LoadedBook | None:
        row = session.execute(selection.keep(self._book_statement), parameters).unique().one_or_none()
        return None if row is None else LoadedBook(_struct(row[0], schemas.Book), row.tag, row.changed_at)

    def _page_statement(self, selection: Selection) -> sa.Select[Any]:
        capped = selection.capped(*selection.columns)
        entity = aliased(Book, capped)
        statement = sa.select(entity, *selection.key_columns(capped), STATE).options(*self._options(entity, selection))
        return selection.first(statement, capped, LIMIT + 1)

    def _book_statement(self, selection: Selection) -> sa.Select[Any]:
        return selection.single(Book, TAG, CHANGED_AT).options(*self._options(Book, selection))

    def _options(self, entity: Any, selection: Selection) -> list[_AbstractLoad]:
        # Reads only the columns that are sent: joined returns 560 rows for 100 books.
        options = [load_only(*(getattr(entity, column.name) for column in selection.columns))]
        if "authors" in selection.members:
            options.append(self._load(entity.authors).load_only(Author.id, Author.name))
        if "genres" in selection.members:
            options.append(self._load(entity.genres).load_only(Genre.id, Genre.name))
        return options


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
