"""Authors and genres: what has a name and is on books."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import msgspec
import sqlalchemy as sa
from advanced_alchemy.repository import SQLAlchemySyncRepository
from msgspec import UNSET
from sqlalchemy.orm import Session

from bookstore import cursor, schemas, sorting
from bookstore.loading import STATE, fetch
from bookstore.models import Author, Genre
from bookstore.repositories import paging

M = TypeVar("M", Author, Genre)


class NamedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What clients ask a list of authors or genres for."""

    sort: str = "id"
    limit: int
    cursor: str | None = None
    total: bool = False


class NamedRepository(SQLAlchemySyncRepository[M]):
    """Reads rows of `columns` as structs of `item`; the columns of the tag say which state a row is in."""

    columns: ClassVar[tuple[sa.ColumnElement[Any], ...]]
    tag: ClassVar[sa.ColumnElement[str]]
    orders: ClassVar[sorting.Orders]
    item: ClassVar[type[msgspec.Struct]]
    pages: ClassVar[type[msgspec.Struct]]

    def __init__(self, session: Session) -> None:
        every: Any = sa.select(self.model_type)  # advanced-alchemy's hint is of SQLAlchemy 2.0
        super().__init__(session=session, statement=every, wrap_exceptions=False)
        self._in = session

    @classmethod
    def check(cls, query: NamedQuery) -> None:
        """Raises Fault for anything that is wrong with the query, without a database."""
        cls._place(query)

    @classmethod
    def _place(cls, query: NamedQuery) -> tuple[sorting.Keys, dict[str, Any]]:
        keys = paging.keys(query.sort, cls.orders)
        values = [] if query.cursor is None else paging.opened(query.cursor, query.sort)
        return keys, paging.parameters(values, keys) if query.cursor is not None else {}

    def page(self, query: NamedQuery) -> schemas.Seen:
        """The page that `query` asks for, and the state it was read in."""
        keys, parameters = self._place(query)
        total = fetch(self._in, self._count(), {})[0][0] if query.total else UNSET
        rows = fetch(self._in, self._listed(keys, query.limit, bool(parameters)), parameters)
        shown = rows[: query.limit]
        width = len(self.columns)
        items = [self.item(*row[:width]) for row in shown]
        more = len(rows) > query.limit
        following = cursor.encode(shown[-1][width:-1], query.sort) if more else None
        return schemas.Seen(self.pages(items, following, total), shown[-1][-1] if shown else None)

    def one(self, of: int) -> schemas.Seen | None:
        """The row of this id and its validators, or None."""
        rows = fetch(self._in, self._single(), {"id": of})
        if not rows:
            return None
        *values, tag, changed_at = rows[0]
        return schemas.Seen(self.item(*values), tag, changed_at)

    @classmethod
    @lru_cache(maxsize=512)
    def _listed(cls, keys: sorting.Keys, limit: int, goes_on: bool) -> sa.Select[Any]:
        extra = (key.column.label(f"key_{place}") for place, key in enumerate(keys))
        statement = sa.select(*cls.columns, *extra, STATE).order_by(*(key.ordered() for key in keys))
        if goes_on:
            statement = statement.where(sorting.beyond(keys))
        return statement.limit(sa.literal_column(str(limit + 1)))

    @classmethod
    @lru_cache(maxsize=2)
    def _single(cls) -> sa.Select[Any]:
        model: Any = cls.model_type
        changed_at = sa.cast(sa.func.floor(sa.extract("epoch", model.updated_at)), sa.BigInteger)
        key = sa.bindparam("id", type_=sa.BigInteger)
        return sa.select(*cls.columns, cls.tag, changed_at).where(model.id == key)

    @classmethod
    @lru_cache(maxsize=2)
    def _count(cls) -> sa.Select[Any]:
        return sa.select(sa.func.count()).select_from(cls.model_type)
