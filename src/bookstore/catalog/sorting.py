"""Sort orders and keyset pagination: `sort=-publication_year,title` as sort keys, and the condition for the next page.

Every order ends with the id. This makes it total: the rows after a position stay the same whatever is inserted or
deleted before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from bookstore.catalog.models import Author, Book, Genre

Column = sa.ColumnElement[Any]


class SortKey(NamedTuple):
    """A column to sort by. `kind` is the type of its values, in Python and in a cursor."""

    column: Column
    kind: type
    descending: bool = False

    def order_by(self) -> Column:
        return self.column.desc() if self.descending else self.column.asc()


SortKeys = tuple[SortKey, ...]
Orders = Mapping[str, Callable[[bool], SortKey]]
"""Sort key factories by name; the argument is whether the key is descending."""


def column_key(column: Column, kind: type) -> Callable[[bool], SortKey]:
    return lambda descending: SortKey(column, kind, descending)


def _text_key(column: Column) -> Callable[[bool], SortKey]:
    """Sort without accents and case, independent of the server's locale."""
    return column_key(sa.collate(sa.func.sort_key(column, type_=sa.Text()), "C"), str)


def _year_key(descending: bool) -> SortKey:
    """Sort books without a year last in both directions, by giving them a year outside the valid range."""
    absent = sa.literal_column("-32768" if descending else "32767", sa.Integer())
    return SortKey(sa.func.coalesce(sa.cast(Book.publication_year, sa.Integer), absent), int, descending)


BOOKS: Final[Orders] = {
    "id": column_key(Book.id.expression, int),
    "title": _text_key(Book.title.expression),
    "publication_year": _year_key,
    "created_at": column_key(Book.created_at.expression, datetime),
}
AUTHORS: Final[Orders] = {"id": column_key(Author.id.expression, int), "name": _text_key(Author.name.expression)}
GENRES: Final[Orders] = {"id": column_key(Genre.id.expression, int), "name": _text_key(Genre.name.expression)}


def parse(text: str, orders: Orders) -> SortKeys:
    """Parse comma-separated names of `orders`, with a leading `-` for descending. Appends `id` if it is missing.

    Raises ValueError that names an unknown or repeated key.
    """
    keys: list[SortKey] = []
    seen: set[str] = set()
    for part in text.split(","):
        name = part.removeprefix("-")
        if name not in orders:
            raise ValueError(
                f"found '{name[:40]}'; allowed is {', '.join(orders)}, each with an optional - for descending"
            )
        if name in seen:
            raise ValueError(f"found '{name}' twice")
        if "id" not in seen:  # ids are unique, so keys after the id have no effect
            keys.append(orders[name](part.startswith("-")))
        seen.add(name)
    return tuple(keys) if "id" in seen else (*keys, orders["id"](keys[-1].descending))


def pattern(names: Iterable[str]) -> str:
    """Return a regular expression for what `parse` accepts, except that it also matches repeated names."""
    name = f"-?({'|'.join(names)})"
    return f"^{name}(,{name})*$"


def keyset_parameter(number: int) -> str:
    """Return the name of the parameter for the last row's value of sort key `number`, from 0."""
    return f"after_{number}"


def keyset_condition(keys: SortKeys) -> sa.ColumnElement[bool]:
    """Return the condition for rows after the position given by the `keyset_parameter` values.

    If all keys have the same direction, it is one row comparison, which is one range of an index. Otherwise it compares
    key by key, with a redundant condition on the first key so that an index scan can start there.
    """
    values = [sa.bindparam(keyset_parameter(number), type_=key.column.type) for number, key in enumerate(keys)]
    if len({key.descending for key in keys}) == 1:
        row, last = sa.tuple_(*(key.column for key in keys)), sa.tuple_(*values)
        return row < last if keys[0].descending else row > last
    conditions: list[sa.ColumnElement[bool]] = []
    for number, (key, value) in enumerate(zip(keys, values, strict=True)):
        same = [earlier.column == last for earlier, last in zip(keys[:number], values, strict=False)]
        further = key.column < value if key.descending else key.column > value
        conditions.append(sa.and_(*same, further))
    first = keys[0].column <= values[0] if keys[0].descending else keys[0].column >= values[0]
    return sa.and_(first, sa.or_(*conditions))
