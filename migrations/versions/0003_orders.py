"""Add indexes for lists of books ordered by year and title, and the key that signs cursors."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TITLE = 'sort_key(title) COLLATE "C"'


def upgrade() -> None:
    # With all columns in one direction, the next page is one range of the index. Books without a year are last.
    op.create_index(
        "ix_book_first_year_title", "book", [sa.text("coalesce(publication_year::int, 32767)"), sa.text(_TITLE), "id"]
    )
    op.create_index(
        "ix_book_latest_year_title",
        "book",
        [sa.text("(- coalesce(publication_year::int, -32768))"), sa.text(_TITLE), "id"],
    )
    op.create_table(
        "cursor_key",
        sa.Column("is_only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("is_only", name="is_only"),
        sa.PrimaryKeyConstraint("is_only", name="pk_cursor_key"),
    )
    # Both UUIDs have 122 bits from the server's cryptographic random numbers.
    op.execute(
        "INSERT INTO cursor_key (key) SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))"
    )


def downgrade() -> None:
    op.drop_table("cursor_key")
    op.drop_index("ix_book_latest_year_title", "book")
    op.drop_index("ix_book_first_year_title", "book")
