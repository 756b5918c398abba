"""What authors and genres have in common: reading and writing named entities that books refer to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, Final, TypeVar

import msgspec
import sqlalchemy as sa
from advanced_alchemy.repository import SQLAlchemySyncRepository
from msgspec import UNSET
from sqlalchemy.orm import Session

from bookstore.catalog import pagination, schemas, search, sorting
from bookstore.catalog.inputs import AuthorInput, GenreInput
from bookstore.catalog.loading import LIMIT, MAX_LIMIT, book, fetch
from bookstore.catalog.models import STATE, Author, Genre
from bookstore.catalog.repositories import ranking
from bookstore.exceptions import ApiError

_MATCHING: Final = {is_common: search.name_matches(is_common=is_common) for is_common in (False, True)}
_RANKED: Final = {"relevance": sorting.column_key(_MATCHING[False].c.distance, int)}

M = TypeVar("M", Author, Genre)
Precondition = Callable[[str], None]


class NamedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of a list of authors or genres. Only authors have `q`."""

    q: str | None = None
    sort: str | None = None
    limit: int
    cursor: str | None = None
    total: bool = False

    def order(self) -> str:
        return self.sort or ("id" if self.q is None else "relevance")


class NamedEntityRepository(SQLAlchemySyncRepository[M]):
    """Reads rows of `columns` as structs of `item_type`, and writes structs of `input_type`.

    `tag` identifies the state of a row, `changed_at` is the time of its last change in seconds since 1970, null if
    unknown. `link_column` is the column by which books refer to a row.
    """

    table: ClassVar[sa.Table]
    columns: ClassVar[tuple[sa.ColumnElement[Any], ...]]
    tag: ClassVar[sa.ColumnElement[str]]
    changed_at: ClassVar[sa.ColumnElement[Any]]
    link_column: ClassVar[sa.Column[int]]
    orders: ClassVar[sorting.Orders]
    item_type: ClassVar[type[msgspec.Struct]]
    page_type: ClassVar[type[msgspec.Struct]]
    input_type: ClassVar[type[AuthorInput | GenreInput]]

    def __init__(self, session: Session) -> None:
        select_all: Any = sa.select(self.model_type)  # advanced-alchemy's type hint is for SQLAlchemy 2.0
        super().__init__(session=session, statement=select_all, wrap_exceptions=False)
        self._session = session

    @classmethod
    def check(cls, query: NamedQuery) -> None:
        """Raise ApiError if the query is invalid, the cursor aside. Does not access the database."""
        cls._sort_keys(query)

    @classmethod
    def not_found_message(cls, row_id: int | str) -> str:
        """Return the detail of the problem `not_found`."""
        return f"There is no {cls.table.name} {row_id}."

    def page(self, query: NamedQuery) -> schemas.Representation:
        """Return the requested page and the state of the database when it was read."""
        key, state = pagination.signing_key(self._session), None
        search_query, values = self._decode_cursor(query, key)
        if query.q is not None and search_query is None:
            search_query, state = search.interpret_name(self._session, query.q)
        is_common = None if search_query is None else search_query.is_common
        keys = self._sort_keys(query, is_common=bool(is_common))
        parameters: dict[str, Any] = {} if search_query is None else {"query": search_query.query}
        keyset = pagination.keyset_parameters(values, keys) if values else {}
        statement = self._page_statement(keys, is_common, has_cursor=bool(values))
        rows = fetch(self._session, statement, parameters | keyset | {"limit": query.limit})
        shown = rows[: query.limit]
        width = len(self.columns)
        items = [self.item_type(*row[:width]) for row in shown]
        next_cursor: str | None = None
        if len(rows) > query.limit:
            interpretation: tuple[Any, ...] = search_query or ()
            next_cursor = pagination.encode(interpretation + tuple(shown[-1][width:-1]), self._list_key(query), key)
        # After the rows: the state may be older than the response, never newer.
        total = fetch(self._session, self._count_statement(is_common), parameters)[0][0] if query.total else UNSET
        tag = (state or shown[-1][-1]) if shown else None
        return schemas.Representation(self.page_type(items, next_cursor, total), tag)

    def find(self, row_id: int) -> schemas.Representation | None:
        """Return the row with this id and its validators, or None."""
        rows = fetch(self._session, self._row_statement(), {"id": row_id})
        if not rows:
            return None
        *values, tag, changed_at = rows[0]
        return schemas.Representation(self.item_type(*values), tag, changed_at)

    def id_of(self, key: int | str) -> int:
        """Return the id of the row with this key, or 0, which no row has."""
        return int(key)

    def create(self, new: msgspec.Struct) -> int:
        """Insert a row and return its id. Raises ApiError `name_taken` if a value must be unique and is in use."""
        values = msgspec.structs.asdict(new)
        self.check_unique(values, None)
        row_id: int = self._session.execute(
            sa.insert(self.table).values(values).returning(self.table.c.id)
        ).scalar_one()
        self.add_words(row_id)
        return row_id

    def change(
        self, row_id: int, precondition: Precondition, edit: Callable[[Any], msgspec.Struct]
    ) -> schemas.Representation | None:
        """Replace the row by the result of `edit`; return the new version, or None if there is no row.

        `precondition` as in BookRepository.change. Raises ApiError `name_taken`.
        """
        if not self._lock(row_id, precondition):
            return None
        columns = [self.table.c[name] for name in self.input_type.__struct_fields__]
        old = self.input_type(
            **self._session.execute(sa.select(*columns).where(self.table.c.id == row_id)).mappings().one()
        )
        new = edit(old)
        if new != old:
            values = msgspec.structs.asdict(new)
            self.check_unique(values, row_id)
            # Books before their recorded changes, which the update's trigger locks: the order of every writer.
            book_ids = self.lock_described(row_id)
            self._session.execute(
                sa.update(self.table).where(self.table.c.id == row_id).values(values | _next_version(self.table))
            )
            if book_ids:
                search.refresh_documents(self._session, book_ids)  # and the words of all names in them
            else:
                self.add_words(row_id)
        return self.find(row_id)

    def remove(self, row_id: int, precondition: Precondition, *, detach: bool) -> bool:
        """Delete the row; return False if there is none. `precondition` as in BookRepository.change.

        Raises ApiError `in_use` if books refer to the row, unless `detach`: then it is removed from these books, which
        makes a new version of each.
        """
        if not self._lock(row_id, precondition):
            return False
        book_ids = self.book_ids(row_id, lock=detach)
        if book_ids and not detach:
            detail = f"Books that refer to it: {len(book_ids)}; to remove it from them, send ?detach=true."
            raise ApiError("in_use", detail)
        if book_ids:
            ids = sa.any_(sa.bindparam("ids", book_ids, type_=sa.ARRAY(sa.BigInteger)))
            self._session.execute(sa.update(book).where(book.c.id == ids).values(_next_version(book)))
            self._session.execute(sa.delete(self.link_column.table).where(self.link_column == row_id))
            search.refresh_documents(self._session, book_ids)
        self._session.execute(sa.delete(self.table).where(self.table.c.id == row_id))
        return True

    def book_ids(self, row_id: int, *, lock: bool) -> list[int]:
        """Return the ids of the books that refer to the row, in order.

        `lock` locks them until the commit, in the order that every writer uses.
        """
        link = self.link_column.table
        books = (
            sa.select(book.c.id)
            .join(link, link.c.book_id == book.c.id)
            .where(self.link_column == row_id)
            .order_by(book.c.id)
        )
        return list(self._session.scalars(books.with_for_update(of=book) if lock else books))

    @abstractmethod
    def check_unique(self, values: dict[str, Any], row_id: int | None) -> None:
        """Raise ApiError `name_taken` if a row other than `row_id` has one of `values` that must be unique."""

    @abstractmethod
    def add_words(self, row_id: int) -> None:
        """Add the words of the row's name to its vocabulary of search, if it has one."""

    @abstractmethod
    def lock_described(self, row_id: int) -> list[int]:
        """Lock the books whose search documents contain the row's name, and return their ids."""

    def _lock(self, row_id: int, precondition: Precondition) -> bool:
        # A separate statement: only the next one sees what the transactions committed that this one waited for.
        if not self._session.scalar(sa.select(sa.true()).where(self.table.c.id == row_id).with_for_update()):
            return False
        current = self.find(row_id)
        assert current is not None
        assert current.tag is not None
        precondition(current.tag)
        return True

    @classmethod
    def _decode_cursor(cls, query: NamedQuery, key: bytes) -> tuple[search.Interpretation | None, list[Any]]:
        """Return the cursor's interpretation of `q` and its sort key values, as BookQuery.decode_cursor."""
        if query.cursor is None:
            return None, []
        values = pagination.decode(query.cursor, cls._list_key(query), key)
        if query.q is None:
            return None, values
        return pagination.convert_values(values[:2], search.Interpretation), values[2:]

    @classmethod
    def _sort_keys(cls, query: NamedQuery, *, is_common: bool = False) -> sorting.SortKeys:
        orders = cls.orders if query.q is None else {**cls.orders, **_RANKED}
        return ranking.sort_keys(query.order(), orders, has_words=query.q is not None, is_common=is_common)

    @classmethod
    def _list_key(cls, query: NamedQuery) -> str:
        """Return what identifies the list in its cursors."""
        return f"{cls.table.name} {query.order()}" + ("" if query.q is None else f" {query.q}")

    @classmethod
    @lru_cache(maxsize=32)
    def _page_statement(cls, keys: sorting.SortKeys, is_common: bool | None, *, has_cursor: bool) -> sa.Select[Any]:
        extra = (key.column.label(f"key_{number}") for number, key in enumerate(keys))
        statement = cls._found(sa.select(*cls.columns, *extra, STATE), is_common).order_by(
            *(key.order_by() for key in keys)
        )
        if has_cursor:
            statement = statement.where(sorting.keyset_condition(keys))
        # The inner limit as in Selection.capped.
        capped = statement.limit(sa.literal_column(str(MAX_LIMIT + 1))).subquery("capped")
        order = zip(keys, (capped.c[f"key_{number}"] for number in range(len(keys))), strict=True)
        return (
            sa.select(capped)
            .order_by(*(column.desc() if key.descending else column.asc() for key, column in order))
            .limit(LIMIT + 1)
        )

    @classmethod
    @lru_cache(maxsize=2)
    def _row_statement(cls) -> sa.Select[Any]:
        row_id = sa.bindparam("id", type_=sa.BigInteger)
        return sa.select(*cls.columns, cls.tag, cls.changed_at).where(cls.table.c.id == row_id)

    @classmethod
    @lru_cache(maxsize=6)
    def _count_statement(cls, is_common: bool | None) -> sa.Select[Any]:
        return cls._found(sa.select(sa.func.count()).select_from(cls.table), is_common)

    @classmethod
    def _found(cls, statement: sa.Select[Any], is_common: bool | None) -> sa.Select[Any]:
        """Join the rows that match the parameter `query`; `is_common` is None without a search text."""
        if is_common is None:
            return statement
        matching = _MATCHING[is_common]
        return statement.join(matching, matching.c.author_id == cls.table.c.id)


def _next_version(table: sa.Table) -> dict[str, Any]:
    """Return the values of a new version. Not now(): it is the start of the transaction, which may have waited."""
    return {"version": table.c.version + 1, "updated_at": sa.func.clock_timestamp()}
