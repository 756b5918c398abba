"""Loads entries in one transaction: COPY into a temporary table, then merge in sets.

Works in batches, so that neither this process nor the server's queue of foreign key checks grows with the file. The id
of a book is `last id before + row - 1`: ids need no second pass, and the id of a book stored earlier in the same load
gives its row.
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
"""Rows per merge. Smaller batches cost more planning; larger ones are not faster and take more memory."""

NAME_SEPARATOR: Final = "\x1f"
"""Separates names in a column of the temporary table. It is white space, so no clean name contains it."""

LOCK_TIMEOUT: Final = "10s"

_TABLES: Final[dict[str, LiteralString]] = {"book": "book", "author": "author", "genre": "genre"}

Connection = psycopg.Connection[Any]


class LoadCounts(msgspec.Struct):
    """Rows that a load has inserted so far, and entries that existed before."""

    books: int = 0
    authors: int = 0
    genres: int = 0
    already_there: int = 0


class BulkLoad:
    """A load in progress. Its transaction is the only one that may write to the tables."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        for statement in statements.PREPARE:
            self._run(statement)
        self.last_id = {table: self._last_id(table) for table in _TABLES}
        self._base = self.last_id["book"] - 1
        self.counts = LoadCounts()

    def merge(self, rows: bytes) -> list[Finding]:
        """Insert the books of a `payload` that do not exist yet, and return findings for repetitions of earlier rows.

        Row numbers must increase from call to call."""
        self._copy(rows)
        self._run(statements.KNOWN_BY_ISBN)
        self._run(statements.KNOWN_WITHOUT_ISBN)
        self._run(statements.REPEATED_IN_BATCH, base=self._base)
        repeated = self._repeated()
        self.counts.books += self._run(statements.ADD_BOOKS, base=self._base)
        self._run(statements.REMEMBER_WITHOUT_ISBN, base=self._base)
        self._add_authors()
        self._add_genres()
        self._run(statements.ADD_DOCUMENTS, base=self._base)
        return repeated

    def finish(self) -> None:
        """Set the identity columns to continue after the last id."""
        for table, before in self.last_id.items():
            self._connection.execute(_for_table(table, statements.SET_LAST_ID), {"before": before})

    def _copy(self, rows: bytes) -> None:
        self._run("TRUNCATE load_row")
        with self._connection.cursor() as cursor, cursor.copy(statements.COPY) as copy:
            copy.write(rows)

    def _repeated(self) -> list[Finding]:
        findings = []
        for row, isbn13, first in self._connection.execute(statements.REPEATED, {"base": self._base}):
            if first <= 1:  # its id is not above the last id before the load
                self.counts.already_there += 1
            else:
                column, value = ("isbn13", isbn13) if isbn13 else ("title", "no ISBN")
                value = f"{value}, as in row {first}"
                findings.append(Finding(row, Outcome.REFUSED, column, value, "the book is in an earlier row"))
        return findings

    def _add_authors(self) -> None:
        self._run("TRUNCATE load_credit, load_author")
        self._run(statements.CREDITS)
        self._run(statements.BATCH_AUTHORS)
        last = self.last_id["author"] + self.counts.authors
        self.counts.authors += self._run(statements.ADD_AUTHORS, last=last)
        self._run(statements.ADD_BOOK_AUTHORS, base=self._base)

    def _add_genres(self) -> None:
        names = [name for (name,) in self._connection.execute(statements.NEW_GENRES)]
        taken = {slug_ for (slug_,) in self._connection.execute(statements.LIKE_SLUGS, [list(map(slug, names))])}
        last = self.last_id["genre"] + self.counts.genres
        for name in names:
            last += 1
            taken.add(new_slug := unused_slug(name, taken))
            self._run(statements.ADD_GENRE, id=last, name=name, slug=new_slug)
        self.counts.genres += len(names)
        self._run(statements.ADD_BOOK_GENRES, base=self._base)

    def _last_id(self, table: str) -> int:
        # Ids that were rolled back or whose book was deleted are not used again.
        row = self._connection.execute(_for_table(table, statements.LAST_ID)).fetchone()
        return int(row[0]) if row else 0

    def _run(self, statement: LiteralString, **values: Any) -> int:
        # Not prepared: a plan from when the tables were small would be reused.
        return self._connection.execute(statement, values or None, prepare=False).rowcount


@contextmanager
def bulk_load(connection: Connection) -> Iterator[BulkLoad]:
    """Run the block in a transaction that is rolled back on any error.

    Writers wait for its end; readers wait only if the catalogue was empty. Raises ConfigurationError if the database is
    not migrated or another transaction keeps writing.
    """
    check_migrated(connection)
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        connection.execute("SET LOCAL statement_timeout = 0")  # PgBouncer's limit is meant for requests
        try:
            # EXCLUSIVE excludes row locks too: otherwise a writer with a row lock that waits for this transaction
            # would deadlock with a foreign key check after much work. Same order as for inserting a book.
            connection.execute("LOCK TABLE author, genre, book, book_author, book_genre IN EXCLUSIVE MODE")
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            raise ConfigurationError(
                f"another transaction has been writing to the books for over {LOCK_TIMEOUT}; try again"
            ) from None
        with nullcontext() if has_books(connection) else deferred_indexes.deferred(connection):
            load = BulkLoad(connection)
            yield load
            load.finish()


def check_migrated(connection: Connection) -> None:
    """Raise ConfigurationError if the tables are not at the revision of this version."""
    with connection.transaction():
        (table,) = connection.execute("SELECT to_regclass(%s)", [VERSION_TABLE]).fetchone() or (None,)
        version = sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(VERSION_TABLE))
        (revision,) = (connection.execute(version).fetchone() if table else None) or ("none",)
    if revision != SCHEMA_REVISION:
        raise ConfigurationError(
            f"the database is at revision {revision}, not {SCHEMA_REVISION}; run `bookstore db upgrade`"
        )


def has_books(connection: Connection) -> bool:
    """Return whether there are books."""
    row = connection.execute("SELECT EXISTS (SELECT FROM book)").fetchone()
    return bool(row and row[0])


def vacuum(connection: Connection) -> None:
    """Update planner statistics and the visibility map, which index-only scans need."""
    autocommit = connection.autocommit
    connection.autocommit = True
    try:
        connection.execute(
            "VACUUM (ANALYZE) book, author, genre, book_author, book_genre, book_document, author_word, search_word, "
            "book_change"
        )
    finally:
        connection.autocommit = autocommit


def payload(entries: Iterable[Entry]) -> bytes:
    """Return `entries` in the text format of COPY, with NULL as the empty string."""
    lines = [
        f"{row}\t{title}\t{isbn13 or ''}\t{'' if year is None else year}\t{language or ''}\t"
        f"{NAME_SEPARATOR.join(authors)}\t{NAME_SEPARATOR.join(genres)}\n"
        for row, title, isbn13, year, language, authors, genres in entries
    ]
    # Clean texts contain no tabs and no line ends, so only backslashes need escaping.
    return "".join(lines).replace("\\", "\\\\").encode()


def _for_table(table: str, statement: LiteralString) -> sql.Composed:
    # Not sql.Identifier: pg_get_serial_sequence takes the name as text, so {table} is also used within quotes.
    return sql.SQL(statement).format(table=sql.SQL(_TABLES[table]))
