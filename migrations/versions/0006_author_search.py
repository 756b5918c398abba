"""Add search by authors' names: an index of their words, and the vocabulary of names."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # First, because writers of authors wait from here on: the vocabulary misses no name. Readers are never blocked.
    op.create_index(
        "ix_author_words",
        "author",
        [sa.text("search_words(name)")],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},  # otherwise each search scans the pending list first
    )
    op.create_table(
        "author_word",
        sa.Column("word", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("word", name="pk_author_word"),
    )
    op.execute(
        "INSERT INTO author_word SELECT DISTINCT word FROM author, search_vocabulary(search_words(name)) AS word"
    )
    op.execute("CREATE INDEX ix_author_word_spelling ON author_word USING gin (spelling(word) gin_trgm_ops)")


def downgrade() -> None:
    op.drop_table("author_word")
    op.drop_index("ix_author_words", "author")
