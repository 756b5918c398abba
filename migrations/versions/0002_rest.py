"""Add indexed sorting and filtering, search, versions of authors and genres, and stored idempotent responses."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_WORDS = "asciiword, word, numword, hword_asciipart, hword_part, hword_numpart"
_COMPOUNDS = "asciihword, hword, numhword"

_FILL_DOCUMENTS = """
    INSERT INTO book_document (book_id, document)
    SELECT book.id, search_document(title, names)
    FROM book LEFT JOIN (
        SELECT book_id, string_agg(name, ' ' ORDER BY position) AS names
        FROM book_author JOIN author ON author.id = author_id GROUP BY book_id
    ) AS credit ON book_id = book.id"""

_FILL_WORDS = "INSERT INTO search_word SELECT DISTINCT unnest(tsvector_to_array(document)) FROM book_document"


def upgrade() -> None:
    _make_functions()
    _make_documents()
    _make_orders()
    _make_versions()
    op.create_table(
        "idempotency",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("owner", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])


def _make_functions() -> None:
    # Both ship with PostgreSQL and are trusted: any role with CREATE on the database may install them.
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.execute("CREATE EXTENSION IF NOT EXISTS unaccent")
    # unaccent is qualified with its schema below, because pg_restore builds indexes without a search_path.
    schema = op.get_bind().scalar(
        sa.text("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'unaccent'")
    )
    op.execute("CREATE TEXT SEARCH CONFIGURATION catalogue (COPY = simple)")
    op.execute(f"ALTER TEXT SEARCH CONFIGURATION catalogue ALTER MAPPING FOR {_WORDS} WITH {schema}.unaccent, simple")
    # Compounds are found by their parts. Punctuation becomes spaces, so that the parser takes "J.R.R. Tolkien" as
    # three initials rather than a host name, and does not take <this> as an HTML tag.
    op.execute(f"ALTER TEXT SEARCH CONFIGURATION catalogue DROP MAPPING FOR {_COMPOUNDS}")
    op.execute(
        "CREATE FUNCTION search_words(text) RETURNS tsvector LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS"
        " $$ SELECT to_tsvector('catalogue', translate($1, './:@_-+<>&', '          ')) $$"
    )
    # An index needs an IMMUTABLE function; unaccent() is only STABLE, because its dictionary can change.
    # Only the first 200 characters are used, because an index entry is limited to 2,704 bytes.
    op.execute(
        "CREATE FUNCTION sort_key(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS"
        f""" $$ SELECT lower({schema}.unaccent('{schema}.unaccent', left($1, 200))) $$"""
    )
    op.execute(
        "CREATE FUNCTION search_document(title text, names text) RETURNS tsvector"
        " LANGUAGE sql IMMUTABLE PARALLEL SAFE AS"
        " $$ SELECT setweight(search_words(title), 'A') || setweight(search_words(coalesce(names, '')), 'B') $$"
    )


def _make_documents() -> None:
    op.create_table(
        "book_document",
        sa.Column("book_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("document", pg.TSVECTOR(), nullable=False),
        sa.ForeignKeyConstraint(["book_id"], ["book.id"], name="fk_book_document_book_id_book", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("book_id", name="pk_book_document"),
    )
    op.create_table(
        "search_word",
        sa.Column("word", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("word", name="pk_search_word"),
    )
    op.execute(_FILL_DOCUMENTS)
    op.execute(_FILL_WORDS)
    op.create_index(
        "ix_book_document_document",
        "book_document",
        ["document"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},  # otherwise each search scans the pending list first
    )
    op.create_index(
        "ix_search_word_word",
        "search_word",
        ["word"],
        postgresql_using="gin",
        postgresql_ops={"word": "gin_trgm_ops"},
    )


def _make_orders() -> None:
    # The trailing id makes each order total and each page a range of the index.
    op.create_index("ix_book_title", "book", [sa.text('sort_key(title) COLLATE "C"'), "id"])
    op.create_index("ix_book_year_or_last", "book", [sa.text("coalesce(publication_year::int, 32767)"), "id"])
    op.create_index("ix_book_year_or_first", "book", [sa.text("coalesce(publication_year::int, -32768)"), "id"])
    op.create_index("ix_book_created_at", "book", ["created_at", "id"])
    op.create_index("ix_book_language", "book", [sa.text("split_part(language, '-', 1)"), "id"])
    op.create_index("ix_book_region", "book", ["language", "id"])
    op.create_index("ix_author_sort_key", "author", [sa.text('sort_key(name) COLLATE "C"'), "id"])


def _make_versions() -> None:
    for table in ("author", "genre"):
        op.add_column(table, sa.Column("version", sa.Integer(), server_default="1", nullable=False))
        for name in ("created_at", "updated_at"):
            op.add_column(
                table, sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)
            )
    # A slug of digits only would be mistaken for an id.
    op.execute("UPDATE genre SET slug = 'genre-' || slug WHERE slug ~ '^[0-9]+$'")
    op.create_check_constraint(op.f("ck_genre_slug_is_no_id"), "genre", "slug !~ '^[0-9]+$'")


def downgrade() -> None:
    op.drop_table("idempotency")
    op.drop_constraint(op.f("ck_genre_slug_is_no_id"), "genre")
    for table in ("author", "genre"):
        for name in ("version", "created_at", "updated_at"):
            op.drop_column(table, name)
    for name in ("title", "year_or_last", "year_or_first", "created_at", "language", "region"):
        op.drop_index(f"ix_book_{name}", "book")
    op.drop_index("ix_author_sort_key", "author")
    op.drop_table("search_word")
    op.drop_table("book_document")
    op.execute("DROP FUNCTION sort_key(text)")
    op.execute("DROP FUNCTION search_document(text, text)")
    op.execute("DROP FUNCTION search_words(text)")
    op.execute("DROP TEXT SEARCH CONFIGURATION catalogue")
    # The extensions stay, because other applications may use them.
