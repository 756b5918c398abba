"""Strategy json: PostgreSQL builds the JSON of the page, and the service sends it on unparsed.

Authors and genres are aggregated once per page and joined to it, instead of in a subquery per book. The page's ids are
passed as an array, which an index scan handles in one descent. Objects are concatenated as text: json_build_object and
row_to_json look up the type of each value for each row, which made the statement a third slower.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, Final, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from bookstore.catalog import schemas
from bookstore.catalog.loading.etags import CHANGED_AT, TAG
from bookstore.catalog.loading.selection import (
    LIMIT,
    ORDER_BY_ID,
    LoadedBook,
    LoadedPage,
    Parameters,
    Selection,
    author,
    book,
    fetch_selected,
    genre,
)
from bookstore.catalog.models import STATE, book_author, book_genre

Text = sa.ColumnElement[str]

_ISO_8601: Final = r"""\"YYYY-MM-DD"T"HH24:MI:SS.US"Z"\""""


class _Quoted(GenericFunction[str]):
    """Text as JSON. Uses JSON_SCALAR, which knows the type of its argument in advance, from PostgreSQL 17 on."""

    inherit_cache = True
    name = "to_json"


@compiles(_Quoted, "postgresql")
def _compile_quoted(element: _Quoted, compiler: SQLCompiler, **options: Any) -> str:
    is_new = (compiler.dialect.server_version_info or (0,)) >= (17,)
    return f"{'JSON_SCALAR' if is_new else 'to_json'}({compiler.process(element.clauses, **options)})"


class AggregateReader:
    """One statement, one row: the comma-separated JSON of the books and the values for the page."""

    def page(self, session: Session, selection: Selection, parameters: Parameters) -> LoadedPage:
        items, has_more, state, *last_key = fetch_selected(session, selection, _page_statement, parameters)[0]
        json = msgspec.Raw(f"[{items or ''}]".encode())
        return LoadedPage(
            cast("list[schemas.ListedBook]", json), tuple(last_key) if has_more else None, state if items else None
        )

    def book(self, session: Session, selection: Selection, parameters: Parameters) -> LoadedBook | None:
        item, tag, changed_at = fetch_selected(session, selection, _book_statement, parameters)[0]
        return None if item is None else LoadedBook(cast("schemas.Book", msgspec.Raw(item.encode())), tag, changed_at)


def _page_statement(selection: Selection) -> sa.Select[Any]:
    capped = selection.capped(*selection.columns)
    page = selection.first(sa.select(capped), capped, LIMIT + 1).cte("page")
    keys, order = selection.key_columns(page), selection.order_by(page)
    ordered = sa.select(page).order_by(*order).limit(LIMIT)
    if selection.keys == ORDER_BY_ID:  # a shorter statement for the most frequent order
        shown = ordered.cte("shown")
        place: sa.ColumnElement[Any] = shown.c.id
        last: list[sa.ColumnElement[Any]] = [sa.func.max(shown.c.id)]
    else:
        shown = ordered.add_columns(sa.func.row_number().over(order_by=order).label("place")).cte("shown")
        place = shown.c.place
        last = [sa.func.max(shown.c[key.name]).filter(place == LIMIT) for key in keys]
    has_more = sa.select(sa.func.count() > LIMIT).select_from(page).scalar_subquery()
    return _aggregate_books(shown, selection, place, has_more, STATE, *last)


def _book_statement(selection: Selection) -> sa.Select[Any]:
    source = selection.single(*selection.columns, TAG, CHANGED_AT).cte("found")
    return _aggregate_books(source, selection, source.c.id, sa.func.max(source.c.tag), sa.func.max(source.c.changed_at))


def _aggregate_books(
    books: sa.CTE, selection: Selection, place: sa.ColumnElement[Any], *columns: sa.ColumnElement[Any]
) -> sa.Select[Any]:
    """Select the comma-separated JSON of the books in the order of `place`, and `columns`."""
    lists = {
        "authors": (book_author, author, book_author.c.author_id, book_author.c.position),
        "genres": (book_genre, genre, book_genre.c.genre_id, book_genre.c.genre_id),
    }
    source: sa.FromClause = books
    values: dict[str, Text] = {}
    for name in selection.members:
        if name in lists:
            links = _aggregate_links(books, *lists[name])
            source = source.outerjoin(links, links.c.book_id == books.c.id)
            values[name] = _array(links.c["items"])
        else:
            values[name] = _value(books.c[name], book.c[name])
    item = _object(**values)
    return sa.select(sa.func.string_agg(item, aggregate_order_by(_literal(","), place)), *columns).select_from(source)


def _aggregate_links(
    shown: sa.CTE, link: sa.Table, target: sa.Table, key: sa.Column[Any], order: sa.Column[Any]
) -> sa.CTE:
    """Return (book_id, items): the comma-separated JSON of each book's authors or genres in `order`."""
    item = _object(id=sa.cast(key, sa.Text), name=_quoted(target.c.name))
    ids = sa.any_(sa.func.array(sa.select(shown.c.id).scalar_subquery()))
    return (
        sa.select(link.c.book_id, sa.func.string_agg(item, aggregate_order_by(_literal(","), order)).label("items"))
        .join_from(link, target, target.c.id == key)
        .where(link.c.book_id == ids)
        .group_by(link.c.book_id)
        .cte(f"{target.name}s")
    )


def _object(**members: Text) -> Text:
    """Return `{"name":value,…}` for values that are JSON already."""
    parts: list[Text] = []
    for name, value in members.items():
        opening = "," if parts else "{"
        parts += [sa.literal_column(f"""'{opening}"{name}":'""", sa.Text()), value]
    return reduce(lambda left, right: left.concat(right), [*parts, sa.literal_column("'}'", sa.Text())])


def _value(value: sa.ColumnElement[Any], column: sa.Column[Any]) -> Text:
    """Return `value`, which has the type of `column`, as JSON."""
    if isinstance(column.type, sa.Integer):
        text: Text = sa.cast(value, sa.Text)
    elif isinstance(column.type, sa.String):
        text = _quoted(value)
    else:  # the format of msgspec for times in UTC
        text = sa.func.replace(
            sa.func.to_char(sa.func.timezone(_literal("UTC"), value), _literal(_ISO_8601)),
            _literal(".000000Z"),
            _literal("Z"),
        )
    return sa.func.coalesce(text, _literal("null")) if column.nullable else text


def _literal(text: str) -> Text:
    """Return a literal in the SQL, because the only parameters of the statement are those of the selection."""
    return sa.literal_column(f"'{text}'", sa.Text())


def _quoted(value: sa.ColumnElement[str]) -> Text:
    return sa.cast(_Quoted(value), sa.Text)


def _array(items: Text) -> Text:
    opening, closing = sa.literal_column("'['", sa.Text()), sa.literal_column("']'", sa.Text())
    return opening.concat(sa.func.coalesce(items, sa.literal_column("''", sa.Text()))).concat(closing)
