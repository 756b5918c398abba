"""Filters of book lists: the condition of each, and the index that lists its books."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog import sorting
from bookstore.catalog.loading import book, fetch
from bookstore.catalog.models import Genre, book_author, book_genre

MAX_GENRES: Final = 5
"""Genres of which a book must have all."""
MAX_SORTED: Final = 5000
"""Books that are fetched to be filtered and sorted in memory; about 20 ms."""


class Filter(NamedTuple):
    """A filter's condition on a row of `book`, and the index on (`prefix`, `book_id`) that lists its books.

    The filter applies if its `parameter` has a value. `lists` is the condition on `table`, which has the index.
    `value` is the value of `prefix` that the filter fixes: then the index lists the books in the order of their ids. It
    is None for a range of values. All values are parameters.
    """

    parameter: str
    passes: sa.ColumnElement[bool]
    table: sa.FromClause
    book_id: sa.ColumnElement[int]
    prefix: sa.ColumnElement[Any]
    lists: sa.ColumnElement[bool]
    value: sa.ColumnElement[Any] | None = None

    def ids(self, maximum: int) -> sa.Select[Any]:
        """Return the ids of the first `maximum` books in the index."""
        # The order by both columns leaves PostgreSQL no other plan than this index, whatever it expects of the values.
        ordered = sa.select(self.book_id).where(self.lists).order_by(self.prefix, self.book_id)
        return ordered.limit(sa.literal_column(str(maximum)))

    def ids_from(self, key: sorting.SortKey, *, has_cursor: bool) -> sa.Select[Any]:
        """Return the ids of all books in the order of `key`, which is the id; with a cursor, those after it."""
        assert self.value is not None
        place = [sorting.SortKey(column, int, key.descending) for column in (self.prefix, self.book_id)]
        ordered = sa.select(self.book_id).where(self.lists).order_by(*(part.order_by() for part in place))
        if has_cursor:
            ordered = ordered.where(sorting.after(place, [self.value, sorting.last_value(0, key)]))
        return ordered


def _parameter(name: str, kind: Any) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=kind)


def _linked(table: sa.Table, column: sa.Column[Any], parameter: str, value: sa.ColumnElement[Any]) -> Filter:
    """Return the filter for the books that `table` links with the row `value`."""
    # An alias of its own: the other use is a subquery correlated with `book`.
    links = table.alias(f"{table.name}_index")
    # Not EXISTS, for which PostgreSQL would read all books of the row into a hash table first.
    passes = sa.select(sa.true()).where(table.c.book_id == book.c.id, column == value).scalar_subquery()
    prefix = links.c[column.name]
    return Filter(parameter, passes, links, links.c.book_id, prefix, prefix == value, value)


_INDEXED: Final = book.alias("book_index")


def _equal(column: Callable[[sa.FromClause], sa.ColumnElement[str]], parameter: str) -> Filter:
    """Return the filter for the books where `column(book)`, an expression with an index, has the value."""
    prefix, value = column(_INDEXED), _parameter(parameter, sa.Text)
    # A range: for an equality, PostgreSQL would consider reading all books in the order of the primary key.
    lists = prefix.between(value, value)
    return Filter(parameter, column(book) == value, _INDEXED, _INDEXED.c.id, prefix, lists, value)


def _any_of(column: str, kind: Any) -> Filter:
    """Return the filter for the books whose `column`, which is unique, has one of the values of an array.

    An array is one parameter, so one statement serves any number of values.
    """
    values = sa.any_(_parameter(column, sa.ARRAY(kind)))
    return Filter(
        column, book.c[column] == values, _INDEXED, _INDEXED.c.id, _INDEXED.c[column], _INDEXED.c[column] == values
    )


def _genre_named(parameter: str) -> sa.ColumnElement[int]:
    """Return the id of the genre with this slug or id; NULL, which no book has, if there is none."""
    name = _parameter(parameter, sa.Text)
    found = sa.select(Genre.id).where(sa.or_(Genre.slug == name, sa.cast(Genre.id, sa.Text) == name))
    return found.scalar_subquery()


def _language(table: sa.FromClause) -> sa.ColumnElement[str]:
    return sa.func.split_part(table.c.language, sa.literal_column("'-'"), sa.literal_column("1"), type_=sa.Text())


def _year(table: sa.FromClause) -> sa.ColumnElement[int]:
    """Return an expression that has an index. A book without a year is in no range."""
    year = sa.cast(table.c.publication_year, sa.Integer)
    return sa.func.coalesce(year, sa.literal_column("-32768"), type_=sa.Integer())


_FROM: Final = _parameter("year_from", sa.Integer)
_TO: Final = _parameter("year_to", sa.Integer)
_SINCE: Final = _parameter("updated_since", sa.DateTime(timezone=True))
_AUTHOR_ID: Final = _parameter("author_id", sa.BigInteger)
_GENRE_ID: Final = _parameter("genre_id", sa.BigInteger)
_GENRE_OF_SLUG: Final = sa.select(Genre.id).where(Genre.slug == _parameter("genre_slug", sa.Text)).scalar_subquery()

FILTERS: Final[Mapping[str, Filter]] = {
    "id": _any_of("id", sa.BigInteger),
    "isbn13": _any_of("isbn13", sa.Text),
    "author_id": _linked(book_author, book_author.c.author_id, "author_id", _AUTHOR_ID),
    "genre_id": _linked(book_genre, book_genre.c.genre_id, "genre_id", _GENRE_ID),
    "genre_slug": _linked(book_genre, book_genre.c.genre_id, "genre_slug", _GENRE_OF_SLUG),
    **{
        name: _linked(book_genre, book_genre.c.genre_id, name, _genre_named(name))
        for name in (f"genre_{number}" for number in range(2, MAX_GENRES + 1))
    },
    "region": _equal(lambda table: table.c.language, "region"),
    "language": _equal(_language, "language"),
    "updated_since": Filter(
        "updated_since",
        book.c.updated_at >= _SINCE,
        _INDEXED,
        _INDEXED.c.id,
        _INDEXED.c.updated_at,
        _INDEXED.c.updated_at >= _SINCE,
    ),
    "years": Filter(
        "year_from",
        book.c.publication_year.between(_FROM, _TO),
        _INDEXED,
        _INDEXED.c.id,
        _year(_INDEXED),
        _year(_INDEXED).between(_FROM, _TO),
    ),
}
"""The filters, those with the fewest books first. `years` needs both `year_from` and `year_to`."""


def year_range(key: sorting.SortKey) -> sa.ColumnElement[bool]:
    """Return the condition of `years` on a sort key by year: then a range of one index has the filter and the order."""
    return key.column.between(-_TO, -_FROM) if key is sorting.LATEST_YEAR_FIRST else key.column.between(_FROM, _TO)


def narrowest(session: Session, names: Sequence[str], parameters: Mapping[str, Any]) -> str | None:
    """Return the filter with the fewest books, or None if each has more than MAX_SORTED."""
    for name in ("id", "isbn13"):  # each value has one book at most, so nothing needs to be counted
        if name in names and len(parameters[name]) <= MAX_SORTED:
            return name
    counts = fetch(session, _counts(tuple(names)), parameters)[0]
    books, name = min(zip(counts, names, strict=True))
    return name if books <= MAX_SORTED else None


@lru_cache(maxsize=128)
def _counts(names: tuple[str, ...]) -> sa.Select[Any]:
    counted = (FILTERS[name].ids(MAX_SORTED + 1).subquery() for name in names)
    return sa.select(*(sa.select(sa.func.count()).select_from(ids).scalar_subquery() for ids in counted))
