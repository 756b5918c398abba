"""Orders of a list: `sort=-publication_year,title` -> keys, and the condition for what follows a place.

Every order ends with the id: then it is total, and the rows behind a place are the same ones whatever is
inserted or deleted before it (keyset pagination).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from bookstore.catalog.models import Author, Book, Genre

Column = sa.ColumnElement[Any]


class SortKey(NamedTuple):
    """What a list is ordered by; `kind` is the type of its values, in Python and in a cursor."""

    column: Column
    kind: type
    descending: bool = False

    def order_by(self) -> Column:
        return self.column.desc() if self.descending else self.column.asc()


SortKeys = tuple[SortKey, ...]
Orders = Mapping[str, Callable[[bool], SortKey]]
"""By name: the key, given whether it is descending."""


def column_key(column: Column, kind: type) -> Callable[[bool], SortKey]:
    return lambda descending: SortKey(column, kind, descending)


def _text_key(column: Column) -> Callable[[bool], SortKey]:
    """Without accents and case, and the same on every server, whatever its locale."""
    return column_key(sa.collate(sa.func.sort_key(column, type_=sa.Text()), "C"), str)


def _year_key(descending: bool) -> SortKey:
    """A book without a year comes last, upwards and downwards: it stands for a year beyond all."""
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
    """The keys of `text`, names of `orders` by comma, `-` before one for descending; `id` comes last in any.

    Raises ValueError naming what is not known or stands twice.
    """
    keys: list[SortKey] = []
    seen: set[str] = set()
    for part in text.split(","):
        name = part.removeprefix("-")
        if name not in orders:
            raise ValueError(f"found '{name[:40]}'; allowed is {', '.join(orders)}, each with - for descending")
        if name in seen:
            raise ValueError(f"found '{name}' twice")
        if "id" not in seen:  # nothing can follow: no two rows have the same
            keys.append(orders[name](part.startswith("-")))
        seen.add(name)
    return tuple(keys) if "id" in seen else (*keys, orders["id"](keys[-1].descending))


def pattern(names: Iterable[str]) -> str:
    """What `parse` takes of these names, as a regular expression that also takes one name twice."""
    name = f"-?({'|'.join(names)})"
    return f"^{name}(,{name})*$"


def keyset_parameter(place: int) -> str:
    """The name of the parameter that holds the last row's value of key `place`."""
    return f"after_{place}"


def keyset_condition(keys: SortKeys) -> sa.ColumnElement[bool]:
    """The rows that follow the place in the parameters.

    One row comparison where all keys go the same way, which is one range of an index. Otherwise the keys
    are compared one after the other, and the first one again by itself, so that an index can begin there.
    """
    at = [sa.bindparam(keyset_parameter(place), type_=key.column.type) for place, key in enumerate(keys)]
    if len({key.descending for key in keys}) == 1:
        row, place = sa.tuple_(*(key.column for key in keys)), sa.tuple_(*at)
        return row < place if keys[0].descending else row > place
    conditions: list[sa.ColumnElement[bool]] = []
    for position, key in enumerate(keys):
        same = [before.column == value for before, value in zip(keys[:position], at, strict=False)]
        further = key.column < at[position] if key.descending else key.column > at[position]
        conditions.append(sa.and_(*same, further))
    first = keys[0].column <= at[0] if keys[0].descending else keys[0].column >= at[0]
    return sa.and_(first, sa.or_(*conditions))
