"""Sort orders and keyset pagination: `sort=-publication_year,title` as sort keys, and the condition for the next page.

Every order ends with the id. This makes it total: the rows after a position stay the same whatever is inserted or
deleted before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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


# Ascending, unlike `-publication_year`: with the title in the same direction, the next page is one range of an index.
LATEST_YEAR_FIRST: Final = SortKey(-_year_key(True).column, int)

BOOKS: Final[Orders] = {
    "id": column_key(Book.id.expression, int),
    "title": _text_key(Book.title.expression),
    "publication_year": _year_key,
    "created_at": column_key(Book.created_at.expression, datetime),
    "updated_at": column_key(Book.updated_at.expression, datetime),
}
BOOK_PAIRS: Final[Mapping[str, SortKeys]] = {
    "publication_year,title": (_year_key(False), BOOKS["title"](False), BOOKS["id"](False)),
    "-publication_year,title": (LATEST_YEAR_FIRST, BOOKS["title"](False), BOOKS["id"](False)),
}
"""The orders of books by two keys that have an index."""

AUTHORS: Final[Orders] = {"id": column_key(Author.id.expression, int), "name": _text_key(Author.name.expression)}
GENRES: Final[Orders] = {"id": column_key(Genre.id.expression, int), "name": _text_key(Genre.name.expression)}


def parse(text: str, orders: Orders) -> SortKeys:
    """Parse comma-separated names of `orders`, with a leading `-` for descending. Appends `id` if it is missing.

    Raises ValueError that names an unknown or repeated key.
    """
    names = canonical(text, orders)
    keys = [orders[name.removeprefix("-")](name.startswith("-")) for name in names]
    return tuple(keys) if names[-1] in {"id", "-id"} else (*keys, orders["id"](keys[-1].descending))


def parse_indexed(text: str, orders: Orders, pairs: Mapping[str, SortKeys] = {}) -> SortKeys:
    """Parse like `parse` an order that has an index: one key, or one of `pairs`.

    Without an index, each page would sort all rows or, after an index on the first key, all rows with an equal value,
    and an import makes as many as it has rows. Raises ValueError for other orders.
    """
    names = canonical(text, orders)
    order = ",".join(names)
    if order in pairs:
        return pairs[order]
    if len(names) == 1:
        return parse(text, orders)
    several = f", and {', '.join(pairs)}" if pairs else ""
    raise ValueError(
        f"found '{order}', an order without an index; allowed is one of {', '.join(orders)}, "
        f"with an optional - for descending{several}"
    )


def canonical(text: str, orders: Orders) -> tuple[str, ...]:
    """Return the names in the order `text`, with their signs, without those that have no effect.

    These are the names after the id, because ids are unique, and an id at the end in the direction of the name before.
    Raises ValueError as `parse`.
    """
    names: list[str] = []
    seen: set[str] = set()
    for part in text.split(","):
        name = part.removeprefix("-")
        if name not in orders:
            raise ValueError(
                f"found '{name[:40]}'; allowed is {', '.join(orders)}, each with an optional - for descending"
            )
        if name in seen:
            raise ValueError(f"found '{name}' twice")
        if "id" not in seen:
            names.append(part)
        seen.add(name)
    if len(names) > 1 and names[-1] == ("-id" if names[-2].startswith("-") else "id"):
        names.pop()
    return tuple(names)


def choices(names: Iterable[str]) -> list[str]:
    """Return the keys that `parse` accepts for these names: each one ascending and descending."""
    return [f"{sign}{name}" for name in names for sign in ("", "-")]


def keyset_parameter(number: int) -> str:
    """Return the name of the parameter for the last row's value of sort key `number`, from 0."""
    return f"after_{number}"


def keyset_condition(keys: SortKeys) -> sa.ColumnElement[bool]:
    """Return the condition for rows after the position given by the `keyset_parameter` values."""
    return after(keys, [last_value(number, key) for number, key in enumerate(keys)])


def last_value(number: int, key: SortKey) -> sa.BindParameter[Any]:
    """Return the parameter for the last row's value of `key`, which is sort key `number`."""
    return sa.bindparam(keyset_parameter(number), type_=key.column.type)


def after(keys: Sequence[SortKey], values: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[bool]:
    """Return the condition for rows after `values` in the order of `keys`.

    If all keys have the same direction, it is one row comparison, which is one range of an index. Otherwise it compares
    key by key, with a redundant condition on the first key so that an index scan can start there.
    """
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
