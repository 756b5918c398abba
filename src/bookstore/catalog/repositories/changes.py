"""Changes of books in an order that is safe under concurrent writes: first a copy of all books, then what changed.

Triggers record the latest change of each book with the number of the writing transaction as its position. A change is
shown once every transaction with a lower number has ended. From then on no change can appear at or before its position,
so a client that continues after the last position misses nothing, in whatever order transactions commit. Bodies are
read after the positions: a book is at least as new as the change that announces it, and a later change announces it
again. A book that no longer exists is a deletion.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Final, NamedTuple, cast

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.orm import Session

from bookstore.catalog import pagination, schemas
from bookstore.catalog.loading import Selection, book, reader
from bookstore.catalog.models import book_change
from bookstore.exceptions import ApiError, FieldError
from bookstore.profile.engine_profile import Loading

RETENTION_DAYS: Final = 30
"""A cursor is refused if its client has not caught up for so long. The database keeps changes a day longer."""

_LIST_KEY: Final = "changes"
_BOOKS: Final = Selection(book.c.id == sa.any_(sa.bindparam("ids", type_=sa.ARRAY(sa.BigInteger))))
_LARGEST: Final = 2**63 - 1
_Int64 = Annotated[int, Meta(ge=-(2**63), le=_LARGEST)]

# Positions are comparable only within one history of one server: a restored backup or a promoted standby may lack
# transactions that clients have seen, and its next ones get the same numbers. A restore of a dump makes a new server,
# database or table; a recovery makes a new timeline. pg_walfile_name begins with the timeline and fails on a standby.
_NOW: Final = sa.text("""
    SELECT left(md5(concat_ws(' ', system_identifier, CASE WHEN pg_is_in_recovery()
            THEN lpad(to_hex((pg_control_checkpoint()).timeline_id), 8, '0')
            ELSE lower(left(pg_walfile_name(pg_current_wal_lsn()), 8))
        END, pg_database.oid, 'book_change'::regclass::oid)), 12),
        floor(extract(epoch FROM statement_timestamp()))::bigint,
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    FROM pg_control_system(), pg_database WHERE datname = current_database()""")


class Cursor(NamedTuple):
    """A client's place in the feed. `caught_up_at` is when it last had everything, in seconds since 1970.

    While it copies, `book_id` is the last book of the copy, and `position` where the changes since its start begin.
    """

    history: str
    caught_up_at: Annotated[int, Meta(ge=0, le=2**40)]
    is_copying: bool
    position: _Int64
    book_id: _Int64


class ChangeRepository:
    """Reads changes with the books in their current state, by the profile's loading strategy."""

    def __init__(self, session: Session, loading: Loading) -> None:
        self._session = session
        self._reader = reader(loading)

    def page(self, since: str | None, limit: int) -> schemas.ChangePage:
        """Return up to `limit` changes after `since`, or the beginning of a copy.

        Raises ApiError `invalid_parameter` if `since` is no cursor of this feed, and `cursor_expired` if changes after
        it may be lost.
        """
        history, now, oldest_running = self._session.execute(_NOW).one()
        key = pagination.signing_key(self._session)
        cursor = decode(since, key) if since else Cursor(history, now, True, oldest_running, -(2**63))
        if cursor.history != history or now - cursor.caught_up_at > RETENTION_DAYS * 86_400:
            detail = (
                f"The changes since this cursor are no longer known: it is older than {RETENTION_DAYS} days or from "
                "before a restore of the database. Discard your copy and start again without since."
            )
            raise ApiError("cursor_expired", detail, FieldError(detail, parameter="since"))
        place = {"position": cursor.position, "book_id": cursor.book_id}
        rows = self._session.execute(_statement(cursor.is_copying, limit), place).all()
        shown = rows[:limit]
        if len(rows) > limit:
            position = cursor.position if cursor.is_copying else shown[-1].position
            after = cursor._replace(position=position, book_id=shown[-1].id)
        elif cursor.is_copying:  # continue with every change from `position` on
            after = cursor._replace(is_copying=False, position=cursor.position - 1, book_id=_LARGEST)
        else:
            position, book_id = (shown[-1].position, shown[-1].id) if shown else cursor[3:]
            after = cursor._replace(caught_up_at=now, position=position, book_id=book_id)
        return schemas.ChangePage(
            self._items(shown),
            pagination.encode(after, _LIST_KEY, key),
            has_more=cursor.is_copying or len(rows) > limit,
        )

    def _items(self, rows: Any) -> list[schemas.Change]:
        if not rows:
            return []
        ids = [row.id for row in rows]
        books: Any = self._reader.page(self._session, _BOOKS, {"ids": ids, "limit": len(ids)}).books
        if isinstance(books, msgspec.Raw):
            books = msgspec.json.decode(books, type=list[schemas.ListedBook])
        by_id = {item.id: item for item in cast("list[schemas.Book]", books)}
        return [
            schemas.Change(row.id, "upsert", row.changed_at, by_id[row.id])
            if row.id in by_id
            else schemas.Change(row.id, "delete", row.changed_at)
            for row in rows
        ]


def decode(since: str, key: bytes) -> Cursor:
    """Return a cursor as it was encoded. Raises ApiError for any other text."""
    return pagination.convert_values(pagination.decode(since, _LIST_KEY, key, "since"), Cursor, "since")


@lru_cache(maxsize=512)
def _statement(is_copying: bool, limit: int) -> sa.Select[Any]:
    """Return the statement for (id, changed_at, position) after a place: an index range, with the limit as literal."""
    position, book_id = (sa.bindparam(name, type_=sa.BigInteger) for name in ("position", "book_id"))
    more: sa.ColumnElement[int] = sa.literal_column(str(limit + 1))
    if is_copying:
        columns = (book.c.id, book.c.updated_at.label("changed_at"), position.label("position"))
        return sa.select(*columns).where(book.c.id > book_id).order_by(book.c.id).limit(more)
    change = book_change.c
    oldest_running = sa.literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", sa.BigInteger)
    return (
        sa.select(change.book_id.label("id"), change.changed_at, change.position)
        .where(sa.tuple_(change.position, change.book_id) > sa.tuple_(position, book_id))
        .where(change.position < oldest_running)
        .order_by(change.position, change.book_id)
        .limit(more)
    )
