"""The tables: books, their ordered authors, their genres, search documents, and responses kept for idempotency keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from advanced_alchemy.base import IdentityBase
from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, relationship

SCHEMA_REVISION: Final = "0006"
"""The newest migration. A test checks that it matches the newest file in migrations/versions."""

VERSION_TABLE: Final = "schema_version"
"""The table in which Alembic stores the revision of a database."""

EARLIEST_YEAR: Final = -3000
LATEST_YEAR: Final = 9999
MAX_TITLE_LENGTH: Final = 1000
MAX_NAME_LENGTH: Final = 300
"""Characters, not bytes. Real titles have up to 186, real names up to 52."""

# ISO 2108: the sum of the digits, weighted 1, 3, 1, 3 …, is a multiple of ten. CASE, because PostgreSQL does not
# guarantee the evaluation order of AND, and a letter must not reach the cast.
_ISBN13_VALID = (
    "CASE WHEN isbn13 ~ '^97[89][0-9]{10}$' THEN ("
    + " + ".join(f"{1 if place % 2 else 3} * substr(isbn13, {place}, 1)::int" for place in range(1, 14))
    + ") % 10 = 0 ELSE isbn13 IS NULL END"
)

book_author = Table(
    "book_author",
    IdentityBase.metadata,
    Column("book_id", ForeignKey("book.id", ondelete="CASCADE"), primary_key=True),
    Column("position", SmallInteger, primary_key=True, autoincrement=False),
    Column("author_id", ForeignKey("author.id"), nullable=False),
    CheckConstraint("position >= 0", name="position"),
    # Serves the foreign key and an author's books by id, and keeps an author from being on a book twice.
    Index("uq_book_author_author_id_book_id", "author_id", "book_id", unique=True),
)
"""Authors of books. `position` counts from 0 in the order of the title page."""

book_genre = Table(
    "book_genre",
    IdentityBase.metadata,
    Column("book_id", ForeignKey("book.id", ondelete="CASCADE"), primary_key=True),
    Column("genre_id", ForeignKey("genre.id"), primary_key=True),
    Index("ix_book_genre_genre_id_book_id", "genre_id", "book_id"),
)

book_document = Table(
    "book_document",
    IdentityBase.metadata,
    Column("book_id", ForeignKey("book.id", ondelete="CASCADE"), primary_key=True),
    Column("document", TSVECTOR, nullable=False),
    Index("ix_book_document_document", "document", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
)
"""The searchable words of each book. Words of the title (weight A) rank above those of authors' names (B).

A table of its own keeps the rows of `book` short for lists, and the documents close together for ranking."""

search_word = Table(
    "search_word",
    IdentityBase.metadata,
    Column("word", String, primary_key=True),
    Index(
        "ix_search_word_spelling",
        func.spelling(text("word")).label("spelling"),
        postgresql_using="gin",
        postgresql_ops={"spelling": "gin_trgm_ops"},
    ),
)
"""Every word of the documents, for finding similar words by trigrams. Words of deleted books stay; they match
nothing. Parts of text without spaces, as in Japanese, are not among them."""

author_word = Table(
    "author_word",
    IdentityBase.metadata,
    Column("word", String, primary_key=True),
    Index(
        "ix_author_word_spelling",
        func.spelling(text("word")).label("spelling"),
        postgresql_using="gin",
        postgresql_ops={"spelling": "gin_trgm_ops"},
    ),
)
"""Every word of authors' names, for the same. In search_word, the words of titles would hide a misspelt name."""

idempotency = Table(
    "idempotency",
    IdentityBase.metadata,
    Column("owner", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("created_at", DateTime(timezone=True), server_default=func.now(), nullable=False, index=True),
    Column("request", LargeBinary, nullable=False),
    Column("answer", LargeBinary),
)
"""Responses to requests with an Idempotency-Key. `owner` is the name of the token, `request` a digest."""


book_change = Table(
    "book_change",
    IdentityBase.metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, Computed("change_position(changed_at)", persisted=True)),
    Index("ix_book_change_position", "position", "book_id"),
)
"""The latest change of each book that changed within the last 31 days; a row without a book is a deletion.

Written by triggers only, also for changes of links and of names. `position` is the number of the transaction that wrote
the row: positions below the oldest running transaction are final (see `repositories.changes`)."""

cursor_key = Table(
    "cursor_key",
    IdentityBase.metadata,
    Column("is_only", Boolean, primary_key=True, server_default=text("true")),
    Column("key", LargeBinary, nullable=False),
    CheckConstraint("is_only", name="is_only"),
)
"""One row: the key that signs the cursors of lists, made by the migration."""


class Versioned:
    """Columns of tables that clients change. `version` counts the changes, from 1."""

    version: Mapped[int] = mapped_column(server_default="1", sort_order=3001)
    # advanced-alchemy fills its audit columns in Python; rows from COPY need a default in the database.
    created_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True), server_default=func.now(), sort_order=3002)
    updated_at: Mapped[datetime] = mapped_column(
        DateTimeUTC(timezone=True), server_default=func.now(), onupdate=func.now(), sort_order=3003
    )

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 - SQLAlchemy calls it on the class
        return {"version_id_col": cls.version}


class Author(Versioned, IdentityBase):
    """A person or organisation named on a title page. Two authors may share a name."""

    __tablename__ = "author"
    __table_args__ = (
        CheckConstraint(f"name <> '' AND length(name) <= {MAX_NAME_LENGTH}", name="name"),
        Index("ix_author_name", "name"),
        Index("ix_author_sort_key", text("sort_key(name)"), "id"),
        Index(
            "ix_author_words",
            text("search_words(name)"),
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
        ),
    )

    name: Mapped[str]


class Genre(Versioned, IdentityBase):
    """A genre. `slug` is its name in a URL."""

    __tablename__ = "genre"
    __table_args__ = (
        CheckConstraint(f"name <> '' AND length(name) <= {MAX_NAME_LENGTH}", name="name"),
        CheckConstraint("slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name="slug"),
        CheckConstraint("slug !~ '^[0-9]+$'", name="slug_is_no_id"),
    )

    name: Mapped[str] = mapped_column(unique=True)
    slug: Mapped[str] = mapped_column(String(100), unique=True)


class Book(Versioned, IdentityBase):
    """An edition: its authors in the order of the title page, its genres in the order of their ids."""

    __tablename__ = "book"
    __table_args__ = (
        CheckConstraint(f"title <> '' AND length(title) <= {MAX_TITLE_LENGTH}", name="title"),
        CheckConstraint(_ISBN13_VALID, name="isbn13"),
        CheckConstraint(f"publication_year BETWEEN {EARLIEST_YEAR} AND {LATEST_YEAR}", name="publication_year"),
        CheckConstraint("language ~ '^[a-z]{2,3}(-[A-Z]{2})?$'", name="language"),
        # Each index ends with the id: the order is total, and the rest of a list is one range of the index. The
        # migration creates text indexes with collation "C", which Alembic cannot compare.
        Index("ix_book_title", text("sort_key(title)"), "id"),
        Index("ix_book_year_or_last", text("coalesce(publication_year::int, 32767)"), "id"),
        Index("ix_book_year_or_first", text("coalesce(publication_year::int, -32768)"), "id"),
        Index(
            "ix_book_first_year_title", text("coalesce(publication_year::int, 32767)"), text("sort_key(title)"), "id"
        ),
        Index(
            "ix_book_latest_year_title",
            text("(- coalesce(publication_year::int, -32768))"),
            text("sort_key(title)"),
            "id",
        ),
        Index("ix_book_created_at", "created_at", "id"),
        Index("ix_book_updated_at", "updated_at", "id"),
        Index("ix_book_language", text("split_part(language, '-', 1)"), "id"),
        Index("ix_book_region", "language", "id"),
    )

    title: Mapped[str]
    isbn13: Mapped[str | None] = mapped_column(String(13), unique=True)
    publication_year: Mapped[int | None] = mapped_column(SmallInteger)
    language: Mapped[str | None] = mapped_column(String(6))

    authors: Mapped[list[Author]] = relationship(secondary=book_author, order_by=book_author.c.position, viewonly=True)
    genres: Mapped[list[Genre]] = relationship(secondary=book_genre, order_by=Genre.id)


# The current snapshot as text: while it is unchanged, every query returns the same rows. Transaction numbers restart
# after a crash, so the text includes the server's start time; all databases of a server share them, so it also
# includes the database name.
STATE_SQL: Final = "(SELECT pg_current_snapshot()::text || pg_postmaster_start_time()::text || current_database())"

STATE: Final = sa.literal_column(STATE_SQL, sa.Text()).label("state")
"""The state of the snapshot that a statement reads, as a column."""
