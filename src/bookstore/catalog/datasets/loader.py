"""Entries -> the tables: COPY into a temporary table, then merge set by set, all in one transaction.

Batch by batch, so that neither this process nor the server's queue of foreign key checks grows with the
file. A book's id is `last id before + row - 1`: no second pass is needed to know them, and a book stored
earlier in the same load tells the row it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final, LiteralString

import msgspec
import psycopg
from psycopg import sql

from bookstore.catalog.datasets import deferred_indexes
from bookstore.catalog.datasets import sql as statements
from bookstore.catalog.datasets.entry import Entry, Finding, Outcome
from bookstore.catalog.models import SCHEMA_REVISION, VERSION_TABLE
from bookstore.catalog.slug import slug, unused_slug
from bookstore.exceptions import ConfigurationError

BATCH_ROWS: Final = 20_000
"""Rows a merge; smaller ones pay more for planning, larger ones gain nothing and take more memory."""

NAME_SEPARATOR: Final = "\x1f"
"""Between names in one column of the temporary table. It is white space, so no clean name holds it."""

LOCK_TIMEOUT: Final = "10s"

_TABLES: Final[dict[str, LiteralString]] = {"book": "book", "author": "author", "genre": "genre"}

Connection = psycopg.Connection[Any]


class LoadCounts(msgspec.Struct):
    """What a load has added so far, and how many of its entries were there before."""

    books: int = 0
    authors: int = 0
    genres: int = 0
    already_there: int = 0


class BulkLoad:
    """The tables, while this transaction alone may write to them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        for statement in statements.PREPARE:
            self._run(statement)
        self.last_id = {table: self._last_id(table) for table in _TABLES}
        self._base = self.last_id["book"] - 1
        self.stored = LoadCounts()

    def merge(self, rows: bytes) -> list[Finding]:
        """Adds the books of a `payload` that are not there yet, and returns the refused: those whose book
        stands in an earlier row. Rows have to rise from call to call."""
        self._copy(rows)
        self._run(statements.KNOWN_BY_ISBN)
        self._run(statements.KNOWN_WITHOUT_ISBN)
        self._run(statements.REPEATED_IN_BATCH, base=self._base)
        repeated = self._repeated()
        self.stored.books += self._run(statements.ADD_BOOKS, base=self._base)
        self._run(statements.REMEMBER_WITHOUT_ISBN, base=self._base)
        self._add_authors()
        self._add_genres()
        self._run(statements.ADD_DOCUMENTS, base=self._base)
        return repeated

    def finish(self) -> None:
        """Lets the identity columns go on behind the last id."""
        for table, before in self.last_id.items():
            self._connection.execute(_for_table(table, statements.SET_LAST_ID), {"before": before})

    def _copy(self, rows: bytes) -> None:
        self._run("TRUNCATE load_row")
        with self._connection.cursor() as cursor, cursor.copy(statements.COPY) as copy:
            copy.write(rows)

    def _repeated(self) -> list[Finding]:
        findings = []
        for row, isbn13, first in self._connection.execute(statements.REPEATED, {"base": self._base}):
            if first <= 1:  # its id is not above the last one before
                self.stored.already_there += 1
            else:
                column, found = ("isbn13", isbn13) if isbn13 else ("title", "no ISBN")
                found = f"{found}, as in row {first}"
                findings.append(Finding(row, Outcome.REFUSED, column, found, "the book stands in an earlier row"))
        return findings

    def _add_authors(self) -> None:
        self._run("TRUNCATE load_credit, load_author")
        self._run(statements.CREDITS)
        self._run(statements.BATCH_AUTHORS)
        last = self.last_id["author"] + self.stored.authors
        self.stored.authors += self._run(statements.ADD_AUTHORS, last=last)
        self._run(statements.ADD_BOOK_AUTHORS, base=self._base)

    def _add_genres(self) -> None:
        names = [name for (name,) in self._connection.execute(statements.NEW_GENRES)]
        taken = {found for (found,) in self._connection.execute(statements.LIKE_SLUGS, [list(map(slug, names))])}
        last = self.last_id["genre"] + self.stored.genres
        for name in names:
            last += 1
            taken.add(free := unused_slug(name, taken))
            self._run(statements.ADD_GENRE, id=last, name=name, slug=free)
        self.stored.genres += len(names)
        self._run(statements.ADD_BOOK_GENRES, base=self._base)

    def _last_id(self, table: str) -> int:
        # An id given out and rolled back, or whose book was deleted, is not used again.
        row = self._connection.execute(_for_table(table, statements.LAST_ID)).fetchone()
        return int(row[0]) if row else 0

    def _run(self, statement: LiteralString, **values: Any) -> int:
        # Not prepared: a plan made while the tables were small would be kept.
        return self._connection.execute(statement, values or None, prepare=False).rowcount


@contextmanager
def bulk_load(connection: Connection) -> Iterator[BulkLoad]:
    """A Store in a transaction of its own: everything in the block is kept, or, on any error, nothing.

    Writers wait meanwhile; readers do only where there is no book yet. Raises ConfigurationError where the database is
    not migrated or another transaction keeps writing.
    """
    check_migrated(connection)
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        connection.execute("SET LOCAL statement_timeout = 0")  # PgBouncer's is for requests
        try:
            # EXCLUSIVE keeps row locks away too: a writer who holds one and waits for this transaction would be
            # met by a foreign key's check, after much work, as a deadlock. In the order of who adds a book.
            connection.execute("LOCK TABLE author, genre, book, book_author, book_genre IN EXCLUSIVE MODE")
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            raise ConfigurationError(
                f"another transaction writes to the books for over {LOCK_TIMEOUT}; try again"
            ) from None
        with nullcontext() if has_books(connection) else deferred_indexes.deferred(connection):
            store = BulkLoad(connection)
            yield store
            store.finish()


def check_migrated(connection: Connection) -> None:
    """Raises ConfigurationError where the tables are not those of this version."""
    with connection.transaction():
        (table,) = connection.execute("SELECT to_regclass(%s)", [VERSION_TABLE]).fetchone() or (None,)
        version = sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(VERSION_TABLE))
        (found,) = (connection.execute(version).fetchone() if table else None) or ("none",)
    if found != SCHEMA_REVISION:
        raise ConfigurationError(
            f"the database is at revision {found}, needed is {SCHEMA_REVISION}; run `bookstore db upgrade`"
        )


def has_books(connection: Connection) -> bool:
    """Whether there is a book."""
    row = connection.execute("SELECT EXISTS (SELECT FROM book)").fetchone()
    return bool(row and row[0])


def vacuum(connection: Connection) -> None:
    """Fresh statistics for the planner, and a visibility map, without which no scan is index-only."""
    autocommit = connection.autocommit
    connection.autocommit = True
    try:
        connection.execute("VACUUM (ANALYZE) book, author, genre, book_author, book_genre, book_document, search_word")
    finally:
        connection.autocommit = autocommit


def payload(entries: Iterable[Entry]) -> bytes:
    """`entries` as COPY's text format has them, empty meaning NULL."""
    lines = [
        f"{row}\t{title}\t{isbn13 or ''}\t{'' if year is None else year}\t{language or ''}\t"
        f"{NAME_SEPARATOR.join(authors)}\t{NAME_SEPARATOR.join(genres)}\n"
        for row, title, isbn13, year, language, authors, genres in entries
    ]
    # Clean texts hold no tab and no line end; the backslash is all that is left to escape.
    return "".join(lines).replace("\\", "\\\\").encode()


def _for_table(table: str, statement: LiteralString) -> sql.Composed:
    # pg_get_serial_sequence takes the name as a text, which the quotes around {table} make of it.
    return sql.SQL(statement).format(table=sql.SQL(_TABLES[table]))
