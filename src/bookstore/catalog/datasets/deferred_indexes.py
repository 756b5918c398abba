"""Drops per-row constraints and indexes before a bulk load into an empty catalogue and recreates them after it.

Covers the keys and indexes of links and documents, and the indexes that only order books. PostgreSQL then checks each
foreign key once for all rows and builds each index from sorted rows; row by row this is more than half of the work of a
load. Everything is checked at COMMIT, and a rollback restores everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, LiteralString

import psycopg

_LOCK: Final = "LOCK TABLE genre, author, book, book_author, book_genre, book_document IN ACCESS EXCLUSIVE MODE NOWAIT"

# PostgreSQL generates the statements, so they match any migration. Foreign keys are created last and dropped first.
_STATEMENTS: Final[LiteralString] = """
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
        format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)),
        contype = 'f' AS last
    FROM pg_constraint
    WHERE conrelid IN ('book_author'::regclass, 'book_genre'::regclass, 'book_document'::regclass)
        AND contype IN ('f', 'p', 'u', 'x') AND has_schema_privilege(connamespace, 'CREATE')
    UNION ALL
    SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid), false
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid IN ('book'::regclass, 'book_author'::regclass, 'book_genre'::regclass, 'book_document'::regclass)
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype <> 'f')
        AND has_schema_privilege(relnamespace, 'CREATE')
    ORDER BY last, 2"""

_NOT_DEFERRABLE: Final = (
    psycopg.errors.LockNotAvailable,  # another transaction has read from the tables
    psycopg.errors.InsufficientPrivilege,  # the role may write but does not own the tables
    psycopg.errors.DependentObjectsStillExist,  # another object depends on an index
)


@contextmanager
def deferred(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Run the block without keys and indexes on the links, and recreate them at its end.

    The links must be empty. Does nothing if another transaction has read from the tables, if another role owns them, or
    if other objects depend on them. Readers that arrive during the block wait for the end of the transaction.
    """
    try:
        with connection.transaction():
            connection.execute(_LOCK)
            statements = connection.execute(_STATEMENTS).fetchall()
            for drop, _, _ in reversed(statements):
                connection.execute(drop.encode())
    except _NOT_DEFERRABLE:
        statements = []
    yield
    for _, create, _ in statements:
        connection.execute(create.encode())
