"""Strategy rows: Core rows grouped into structs in Python, without ORM objects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog import schemas
from bookstore.catalog.loading.etags import CHANGED_AT, TAG
from bookstore.catalog.loading.selection import (
    LIMIT,
    LoadedBook,
    LoadedPage,
    Parameters,
    Selection,
    author,
    fetch,
    fetch_selected,
    genre,
)
from bookstore.catalog.models import STATE, book_author, book_genre

_IDS: Final = sa.bindparam("ids", type_=sa.ARRAY(sa.BigInteger))

# An array is one parameter, so one statement serves every page. IN (…) would need a statement for each length.
_AUTHORS_OF: Final = (
    sa.select(book_author.c.book_id, author.c.id, author.c.name)
    .join_from(book_author, author)
    .where(book_author.c.book_id == sa.any_(_IDS))
    .order_by(book_author.c.book_id, book_author.c.position)
)
_GENRES_OF: Final = (
    sa.select(book_genre.c.book_id, genre.c.id, genre.c.name)
    .join_from(book_genre, genre)
    .where(book_genre.c.book_id == sa.any_(_IDS))
    .order_by(book_genre.c.book_id, book_genre.c.genre_id)
)


class RowsReader:
    """Three statements: the books, all their authors, all their genres."""

    def page(self, session: Session, selection: Selection, parameters: Parameters) -> LoadedPage:
        rows = fetch_selected(session, selection, _page_statement, parameters)
        shown = rows[: parameters["limit"]]
        if not shown:
            return LoadedPage([], None, None)
        *last_key, state = shown[-1][len(selection.columns) :]
        books = _structs(session, shown, selection, schemas.ListedBook)
        return LoadedPage(books, tuple(last_key) if len(rows) > len(shown) else None, state)

    def book(self, session: Session, selection: Selection, parameters: Parameters) -> LoadedBook | None:
        rows = fetch_selected(session, selection, _book_statement, parameters)
        if not rows:
            return None
        return LoadedBook(_structs(session, rows, selection, schemas.Book)[0], *rows[0][-2:])


def _page_statement(selection: Selection) -> sa.Select[Any]:
    capped = selection.capped(*selection.columns)
    columns = [capped.c[column.name] for column in selection.columns]
    return selection.first(sa.select(*columns, *selection.key_columns(capped), STATE), capped, LIMIT + 1)


def _book_statement(selection: Selection) -> sa.Select[Any]:
    return selection.single(*selection.columns, TAG, CHANGED_AT)


def _structs(session: Session, rows: Sequence[Any], selection: Selection, kind: Any) -> list[Any]:
    """Return a struct of `kind` for each row. Rows begin with the columns of the selection."""
    ids = {"ids": [row[0] for row in rows]}
    grouped: dict[str, dict[int, list[Any]]] = {}
    for name, statement, part in (("authors", _AUTHORS_OF, schemas.Author), ("genres", _GENRES_OF, schemas.Genre)):
        if name in selection.members:
            grouped[name] = defaultdict(list)
            for book_id, *values in fetch(session, statement, ids):
                grouped[name][book_id].append(part(*values))
    places = [
        (column.name, place) for place, column in enumerate(selection.columns) if column.name in selection.members
    ]
    return [
        kind(**{name: row[place] for name, place in places}, **{name: lists[row[0]] for name, lists in grouped.items()})
        for row in rows
    ]
