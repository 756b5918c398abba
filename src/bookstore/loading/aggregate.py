"""json: PostgreSQL writes the page, the service passes its bytes on unparsed.

Authors and genres are aggregated once for the page and joined to it, not in a subquery for each book; the
page's ids go in as an array, which an index scan takes in one descent. The objects are put together as
texts: json_build_object and row_to_json look up the type of each value for each row, which made the
statement a third dearer.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from typing import Any, Final, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from bookstore import schemas
from bookstore.loading.selection import COLUMNS, Found, Parameters, Selection, author, fetch, genre
from bookstore.models import book_author, book_genre

Text = sa.ColumnElement[str]

_NULL: Final = sa.literal_column("'null'", sa.Text())
_COMMA: Final = sa.literal_column("','", sa.Text())


class _Quoted(GenericFunction[str]):
    """A text as JSON: JSON_SCALAR, which knows its argument's type beforehand, came with PostgreSQL 17."""

    inherit_cache = True
    name = "to_json"


@compiles(_Quoted, "postgresql")
def _compile_quoted(element: _Quoted, compiler: SQLCompiler, **options: Any) -> str:
    is_new = (compiler.dialect.server_version_info or (0,)) >= (17,)
    return f"{'JSON_SCALAR' if is_new else 'to_json'}({compiler.process(element.clauses, **options)})"


class AggregateReader:
    """One statement and one row: the books' JSON, comma-separated; the last id; whether more follow."""

    def page(self, session: Session, selection: Selection, parameters: Parameters) -> Found:
        items, last_id, more = fetch(session, _statement(selection), parameters)[0]
        json = msgspec.Raw(f"[{items or ''}]".encode())
        return Found(cast("list[schemas.Book]", json), last_id if more else None)

    def one(self, session: Session, selection: Selection, parameters: Parameters) -> schemas.Book | None:
        items, *_ = fetch(session, _statement(selection), parameters)[0]
        return None if items is None else cast("schemas.Book", msgspec.Raw(items.encode()))


@lru_cache(maxsize=512)
def _statement(selection: Selection) -> sa.Select[Any]:
    page = selection.apply(sa.select(*COLUMNS)).cte("page")
    limit: sa.ColumnElement[int] = sa.literal_column(str(selection.limit))
    shown = sa.select(page).order_by(page.c.id).limit(limit).cte("shown")
    authors = _aggregated(shown, book_author, author, book_author.c.author_id, book_author.c.position)
    genres = _aggregated(shown, book_genre, genre, book_genre.c.genre_id, book_genre.c.genre_id)
    item = _object(
        id=_number(shown.c.id),
        title=_quoted(shown.c.title),
        isbn13=_quoted(shown.c.isbn13),
        publication_year=_number(shown.c.publication_year),
        language=_quoted(shown.c.language),
        authors=_array(authors.c["items"]),
        genres=_array(genres.c["items"]),
    )
    more = sa.select(sa.func.count() > limit).select_from(page).scalar_subquery()
    return (
        sa.select(sa.func.string_agg(item, aggregate_order_by(_COMMA, shown.c.id)), sa.func.max(shown.c.id), more)
        .outerjoin_from(shown, authors, authors.c.book_id == shown.c.id)
        .outerjoin(genres, genres.c.book_id == shown.c.id)
    )


def _aggregated(shown: sa.CTE, link: sa.Table, target: sa.Table, key: sa.Column[Any], order: sa.Column[Any]) -> sa.CTE:
    """book_id -> its authors' or genres' JSON, comma-separated in `order`."""
    item = _object(id=_number(key), name=_quoted(target.c.name))
    ids = sa.any_(sa.func.array(sa.select(shown.c.id).scalar_subquery()))
    return (
        sa.select(link.c.book_id, sa.func.string_agg(item, aggregate_order_by(_COMMA, order)).label("items"))
        .join_from(link, target, target.c.id == key)
        .where(link.c.book_id == ids)
        .group_by(link.c.book_id)
        .cte(f"{target.name}s")
    )


def _object(**members: Text) -> Text:
    """`{"name":value,…}`, its values being JSON already."""
    parts: list[Text] = []
    for name, value in members.items():
        opening = "," if parts else "{"
        parts += [sa.literal_column(f"""'{opening}"{name}":'""", sa.Text()), value]
    return reduce(lambda left, right: left.concat(right), [*parts, sa.literal_column("'}'", sa.Text())])


def _number(column: sa.ColumnElement[int]) -> Text:
    return _or_null(sa.cast(column, sa.Text), column)


def _quoted(column: sa.ColumnElement[str]) -> Text:
    return _or_null(sa.cast(_Quoted(column), sa.Text), column)


def _or_null(text: Text, column: sa.ColumnElement[Any]) -> Text:
    return sa.func.coalesce(text, _NULL) if getattr(column, "nullable", True) else text


def _array(items: Text) -> Text:
    opening, closing = sa.literal_column("'['", sa.Text()), sa.literal_column("']'", sa.Text())
    return opening.concat(sa.func.coalesce(items, sa.literal_column("''", sa.Text()))).concat(closing)
