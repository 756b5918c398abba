"""A load into an empty catalogue: what is checked or kept row by row goes before it and comes back after it.

The keys and indexes of the links and of the documents, and the indexes that only order books. PostgreSQL
then checks each foreign key once, for all rows, and builds each index from sorted rows; one by one that is
more than half of its work. Nothing is unchecked at COMMIT, and a rollback brings everything back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, LiteralString

import psycopg

_LOCK: Final = "LOCK TABLE genre, author, book, book_author, book_genre, book_document IN ACCESS EXCLUSIVE MODE NOWAIT"

# PostgreSQL writes the statements, so that this knows no migration. Foreign keys come last and go first.
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
    psycopg.errors.LockNotAvailable,  # somebody is reading
    psycopg.errors.InsufficientPrivilege,  # who may write need not own the tables
    psycopg.errors.DependentObjectsStillExist,  # somebody else's object needs an index
)


@contextmanager
def deferred(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """The block with the links free of keys and indexes; they are back when it ends.

    The links have to be empty. They stay as they are where another transaction has read from the tables,
    where those are somebody else's, and where other objects depend on them. Who comes to read during the
    block waits for the end of the transaction.
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
