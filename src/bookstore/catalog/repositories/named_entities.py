"""Authors and genres: what has a name and is on books; read and written."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import msgspec
import sqlalchemy as sa
from advanced_alchemy.repository import SQLAlchemySyncRepository
from msgspec import UNSET
from sqlalchemy.orm import Session

from bookstore.catalog import pagination, schemas, search, sorting
from bookstore.catalog.inputs import AuthorInput, GenreInput
from bookstore.catalog.loading import book, fetch
from bookstore.catalog.models import STATE, Author, Genre
from bookstore.exceptions import ApiError

M = TypeVar("M", Author, Genre)
Precondition = Callable[[str], None]


class NamedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What clients ask a list of authors or genres for."""

    sort: str = "id"
    limit: int
    cursor: str | None = None
    total: bool = False


class NamedEntityRepository(SQLAlchemySyncRepository[M]):
    """Reads rows of `columns` as structs of `item`; `tag` says which state a row is in, `changed_at` since when,
    in seconds since 1970, or null where that is not known. `key` is the column by which books refer to a row."""

    table: ClassVar[sa.Table]
    columns: ClassVar[tuple[sa.ColumnElement[Any], ...]]
    tag: ClassVar[sa.ColumnElement[str]]
    changed_at: ClassVar[sa.ColumnElement[Any]]
    key: ClassVar[sa.Column[int]]
    orders: ClassVar[sorting.Orders]
    item: ClassVar[type[msgspec.Struct]]
    pages: ClassVar[type[msgspec.Struct]]
    draft: ClassVar[type[AuthorInput | GenreInput]]

    def __init__(self, session: Session) -> None:
        every: Any = sa.select(self.model_type)  # advanced-alchemy's hint is of SQLAlchemy 2.0
        super().__init__(session=session, statement=every, wrap_exceptions=False)
        self._session = session

    @classmethod
    def check(cls, query: NamedQuery) -> None:
        """Raises ApiError for anything that is wrong with the query, without a database."""
        cls._place(query)

    @classmethod
    def not_found_message(cls, of: int) -> str:
        """The sentence for a client who asked for what is not there."""
        return f"There is no {cls.table.name} {of}."

    def page(self, query: NamedQuery) -> schemas.Representation:
        """The page that `query` asks for, and the state it was read in."""
        keys, parameters = self._place(query)
        rows = fetch(self._session, self._listed(keys, query.limit, bool(parameters)), parameters)
        shown = rows[: query.limit]
        width = len(self.columns)
        items = [self.item(*row[:width]) for row in shown]
        more = len(rows) > query.limit
        following = pagination.encode(list(shown[-1][width:-1]), self._asked(query)) if more else None
        # After the rows: the state may be older than what is shown, never newer.
        total = fetch(self._session, self._count(), {})[0][0] if query.total else UNSET
        return schemas.Representation(self.pages(items, following, total), shown[-1][-1] if shown else None)

    def find(self, of: int) -> schemas.Representation | None:
        """The row of this id and its validators, or None."""
        rows = fetch(self._session, self._single(), {"id": of})
        if not rows:
            return None
        *values, tag, changed_at = rows[0]
        return schemas.Representation(self.item(*values), tag, changed_at)

    def create(self, draft: msgspec.Struct) -> int:
        """Adds a row and returns its id. Raises ApiError `name_taken` where another one has what only one may have."""
        values = msgspec.structs.asdict(draft)
        self.check_free(values, None)
        of: int = self._session.execute(sa.insert(self.table).values(values).returning(self.table.c.id)).scalar_one()
        return of

    def change(
        self, of: int, check: Precondition, edit: Callable[[Any], msgspec.Struct]
    ) -> schemas.Representation | None:
        """Makes what `edit` makes of the row, as a draft, its next version; None where there is no row.

        `check` as in BookRepository.change. Raises ApiError `name_taken`.
        """
        if not self._locked(of, check):
            return None
        columns = [self.table.c[name] for name in self.draft.__struct_fields__]
        was = self.draft(**self._session.execute(sa.select(*columns).where(self.table.c.id == of)).mappings().one())
        draft = edit(was)
        if draft != was:
            values = msgspec.structs.asdict(draft)
            self.check_free(values, of)
            self._session.execute(
                sa.update(self.table).where(self.table.c.id == of).values(values | _next_version(self.table))
            )
            self.renamed(of)
        return self.find(of)

    def remove(self, of: int, check: Precondition, *, detach: bool) -> bool:
        """Removes the row; False where there is none. `check` as in BookRepository.change.

        Raises ApiError `in_use` where books refer to it, unless `detach`: then these books lose it, which is a
        new version of each of them.
        """
        if not self._locked(of, check):
            return False
        books = self.books(of, locked=detach)
        if books and not detach:
            raise ApiError("in_use", f"Books that refer to it: {len(books)}; with ?detach=true they lose it.")
        if books:
            ids = sa.any_(sa.bindparam("ids", books, type_=sa.ARRAY(sa.BigInteger)))
            self._session.execute(sa.update(book).where(book.c.id == ids).values(_next_version(book)))
            self._session.execute(sa.delete(self.key.table).where(self.key == of))
            search.refresh_documents(self._session, books)
        self._session.execute(sa.delete(self.table).where(self.table.c.id == of))
        return True

    def books(self, of: int, *, locked: bool) -> list[int]:
        """The ids of the books that refer to the row; `locked`, in the order in which all lock them, until the
        commit."""
        link = self.key.table
        books = sa.select(book.c.id).join(link, link.c.book_id == book.c.id).where(self.key == of).order_by(book.c.id)
        return list(self._session.scalars(books.with_for_update(of=book) if locked else books))

    @abstractmethod
    def check_free(self, values: dict[str, Any], of: int | None) -> None:
        """Raises ApiError `name_taken` where another row than `of` has one of `values` that only one may have."""

    @abstractmethod
    def renamed(self, of: int) -> None:
        """Follows a change of the row up."""

    def _locked(self, of: int, check: Precondition) -> bool:
        # A statement of its own: the next one sees what those committed whom this one waited for.
        if not self._session.scalar(sa.select(sa.true()).where(self.table.c.id == of).with_for_update()):
            return False
        seen = self.find(of)
        assert seen is not None
        assert seen.tag is not None
        check(seen.tag)
        return True

    @classmethod
    def _place(cls, query: NamedQuery) -> tuple[sorting.SortKeys, dict[str, Any]]:
        keys = pagination.sort_keys(query.sort, cls.orders)
        if query.cursor is None:
            return keys, {}
        return keys, pagination.keyset_parameters(pagination.decode(query.cursor, cls._asked(query)), keys)

    @classmethod
    def _asked(cls, query: NamedQuery) -> str:
        """What a cursor belongs to."""
        return f"{cls.table.name} {query.sort}"

    @classmethod
    @lru_cache(maxsize=512)
    def _listed(cls, keys: sorting.SortKeys, limit: int, goes_on: bool) -> sa.Select[Any]:
        extra = (key.column.label(f"key_{place}") for place, key in enumerate(keys))
        statement = sa.select(*cls.columns, *extra, STATE).order_by(*(key.order_by() for key in keys))
        if goes_on:
            statement = statement.where(sorting.keyset_condition(keys))
        return statement.limit(sa.literal_column(str(limit + 1)))

    @classmethod
    @lru_cache(maxsize=2)
    def _single(cls) -> sa.Select[Any]:
        of = sa.bindparam("id", type_=sa.BigInteger)
        return sa.select(*cls.columns, cls.tag, cls.changed_at).where(cls.table.c.id == of)

    @classmethod
    @lru_cache(maxsize=2)
    def _count(cls) -> sa.Select[Any]:
        return sa.select(sa.func.count()).select_from(cls.table)


def _next_version(table: sa.Table) -> dict[str, Any]:
    """A new version. Not of now(), when the transaction began: it may have waited for a later one."""
    return {"version": table.c.version + 1, "updated_at": sa.func.clock_timestamp()}
