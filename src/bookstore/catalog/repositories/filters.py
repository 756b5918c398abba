"""Filters of book lists: the condition of each, and the table it needs to join."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from bookstore.catalog.loading import book
from bookstore.catalog.models import Genre, book_author, book_genre


class Filter(NamedTuple):
    """`where` compares with the parameter named like the filter, or with a literal year."""

    where: sa.ColumnElement[bool]
    table: sa.Table | None = None
    on: sa.ColumnElement[bool] | None = None


def _parameter(name: str, kind: Any) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=kind)


# A join instead of IN: PostgreSQL then reads the books of an author or genre in the order of their ids, and stops when
# the page is full.
_OF_AUTHOR: Final = (book_author, book_author.c.book_id == book.c.id)
_OF_GENRE: Final = (book_genre, book_genre.c.book_id == book.c.id)
_GENRE_ID: Final = sa.select(Genre.id).where(Genre.slug == _parameter("genre_slug", sa.Text)).scalar_subquery()

# These must match the expressions of the indexes. A book without a year is in no range of years.
_LANGUAGE: Final = sa.func.split_part(book.c.language, sa.literal_column("'-'"), sa.literal_column("1"))
_YEAR: Final = sa.cast(book.c.publication_year, sa.Integer)
_YEAR_OR_FIRST: Final = sa.func.coalesce(_YEAR, sa.literal_column("-32768"))
_YEAR_OR_LAST: Final = sa.func.coalesce(_YEAR, sa.literal_column("32767"))

FILTERS: Final[Mapping[str, Filter]] = {
    "author_id": Filter(book_author.c.author_id == _parameter("author_id", sa.BigInteger), *_OF_AUTHOR),
    "genre_id": Filter(book_genre.c.genre_id == _parameter("genre_id", sa.BigInteger), *_OF_GENRE),
    "genre_slug": Filter(book_genre.c.genre_id == _GENRE_ID, *_OF_GENRE),
    "language": Filter(_parameter("language", sa.Text) == _LANGUAGE),
    "region": Filter(book.c.language == _parameter("region", sa.Text)),
    "isbn13": Filter(book.c.isbn13 == _parameter("isbn13", sa.Text)),
}


def _year_literal(year: int) -> sa.ColumnElement[int]:
    return sa.literal_column(str(year), sa.Integer())


# Years are literals in the SQL. Only then can PostgreSQL choose between sorting the few books of a small range and
# filtering an ordered scan for a large range. With a parameter it always filters, and reads the whole table if the
# range is empty.
YEARS: Final[Mapping[str, Callable[[int], Filter]]] = {
    "year_from": lambda year: Filter(_year_literal(year) <= _YEAR_OR_FIRST),
    "year_to": lambda year: Filter(_year_literal(year) >= _YEAR_OR_LAST),
}
