"""Create books, authors and genres."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Not imported from the models: a migration must stay fixed when the models change.
_ISBN13_VALID = (
    "CASE WHEN isbn13 ~ '^97[89][0-9]{10}$' THEN ("
    + " + ".join(f"{1 if place % 2 else 3} * substr(isbn13, {place}, 1)::int" for place in range(1, 14))
    + ") % 10 = 0 ELSE isbn13 IS NULL END"
)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(start=1, increment=1), primary_key=True)


def upgrade() -> None:
    op.create_table(
        "author",
        _id(),
        sa.Column("name", sa.String(), nullable=False),
        sa.CheckConstraint("name <> '' AND length(name) <= 300", name="name"),
        sa.PrimaryKeyConstraint("id", name="pk_author"),
    )
    op.create_index("ix_author_name", "author", ["name"])
    op.create_table(
        "genre",
        _id(),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("slug", sa.String(100), nullable=False),
        sa.CheckConstraint("name <> '' AND length(name) <= 300", name="name"),
        sa.CheckConstraint("slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name="slug"),
        sa.PrimaryKeyConstraint("id", name="pk_genre"),
        sa.UniqueConstraint("name", name="uq_genre_name"),
        sa.UniqueConstraint("slug", name="uq_genre_slug"),
    )
    op.create_table(
        "book",
        _id(),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("isbn13", sa.String(13)),
        sa.Column("publication_year", sa.SmallInteger()),
        sa.Column("language", sa.String(6)),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("title <> '' AND length(title) <= 1000", name="title"),
        sa.CheckConstraint(_ISBN13_VALID, name="isbn13"),
        sa.CheckConstraint("publication_year BETWEEN -3000 AND 9999", name="publication_year"),
        sa.CheckConstraint("language ~ '^[a-z]{2,3}(-[A-Z]{2})?$'", name="language"),
        sa.PrimaryKeyConstraint("id", name="pk_book"),
        sa.UniqueConstraint("isbn13", name="uq_book_isbn13"),
    )
    op.create_table(
        "book_author",
        sa.Column("book_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("position >= 0", name="position"),
        sa.ForeignKeyConstraint(["author_id"], ["author.id"], name="fk_book_author_author_id_author"),
        sa.ForeignKeyConstraint(["book_id"], ["book.id"], name="fk_book_author_book_id_book", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("book_id", "position", name="pk_book_author"),
    )
    op.create_index("uq_book_author_author_id_book_id", "book_author", ["author_id", "book_id"], unique=True)
    op.create_table(
        "book_genre",
        sa.Column("book_id", sa.BigInteger(), nullable=False),
        sa.Column("genre_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["book_id"], ["book.id"], name="fk_book_genre_book_id_book", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["genre_id"], ["genre.id"], name="fk_book_genre_genre_id_genre"),
        sa.PrimaryKeyConstraint("book_id", "genre_id", name="pk_book_genre"),
    )
    op.create_index("ix_book_genre_genre_id_book_id", "book_genre", ["genre_id", "book_id"])


def downgrade() -> None:
    for table in ("book_genre", "book_author", "book", "genre", "author"):
        op.drop_table(table)
