"""Record which books change, for /changes, and index books by the time of their change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_LINKS = {"author": "book_author", "genre": "book_genre"}

# PostgreSQL computes a generated column when it writes the row, also when it restores a dump. So a position is always
# a transaction of this server, even if the row comes from another one. The function depends on its argument only in
# name, so that every update of changed_at computes the position again; it is declared IMMUTABLE because PostgreSQL
# requires that of a generated column.
_POSITION = """
    CREATE FUNCTION change_position(changed_at timestamptz) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RETURN pg_current_xact_id()::text::bigint; END $$"""

# In the order of the ids, so that two transactions never wait for each other. A change that this transaction has
# recorded already is skipped. Afterwards it deletes expired changes, up to twice as many as it recorded, so that the
# table shrinks whatever is written; 31 days are the 30 of a cursor and a day for transactions that commit late.
_RECORD = """
    CREATE FUNCTION record_changes(ids bigint[]) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        IF cardinality(ids) = 0 THEN RETURN; END IF;
        INSERT INTO book_change (book_id, changed_at)
        SELECT id, clock_timestamp() FROM (SELECT DISTINCT unnest(ids) AS id) AS changed
        WHERE NOT EXISTS (
            SELECT FROM book_change WHERE book_id = id AND position = pg_current_xact_id()::text::bigint
        ) ORDER BY id
        ON CONFLICT (book_id) DO UPDATE SET changed_at = excluded.changed_at;
        IF (SELECT changed_at FROM book_change ORDER BY position, book_id LIMIT 1) < now() - interval '31 days' THEN
            DELETE FROM book_change WHERE changed_at < now() - interval '31 days' AND book_id = ANY (ARRAY(
                SELECT book_id FROM book_change WHERE book_id = ANY (ARRAY(
                    SELECT book_id FROM book_change ORDER BY position, book_id LIMIT 100 + 2 * cardinality(ids)
                )) AND changed_at < now() - interval '31 days' FOR UPDATE SKIP LOCKED
            ));
        END IF;
    END $$"""

# before_rows and after_rows exist only for some operations; PL/pgSQL plans a statement when it is first executed.
_ROWS_CHANGED = """
    CREATE FUNCTION {table}_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        CASE TG_OP
            WHEN 'INSERT' THEN PERFORM record_changes(ARRAY(SELECT {id} FROM after_rows));
            WHEN 'DELETE' THEN PERFORM record_changes(ARRAY(SELECT {id} FROM before_rows));
            WHEN 'TRUNCATE' THEN PERFORM record_changes(ARRAY(SELECT {id} FROM {table}));
            ELSE PERFORM record_changes(ARRAY(SELECT {id} FROM before_rows UNION SELECT {id} FROM after_rows));
        END CASE;
        RETURN NULL;
    END $$"""

# FOR UPDATE waits for transactions that are adding books of the author or genre: they hold its key (FOR KEY SHARE).
# The next statement sees what they committed. Otherwise their books would keep the old name in a client's copy.
_NAME_CHANGED = """
    CREATE FUNCTION {table}_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    DECLARE renamed bigint[] := ARRAY(
        SELECT id FROM before_rows JOIN after_rows USING (id) WHERE before_rows.name <> after_rows.name
    );
    BEGIN
        IF cardinality(renamed) > 0 THEN
            PERFORM FROM {table} WHERE id = ANY (renamed) ORDER BY id FOR UPDATE;
            PERFORM record_changes(ARRAY(SELECT book_id FROM {link} WHERE {table}_id = ANY (renamed)));
        END IF;
        RETURN NULL;
    END $$"""

_TRANSITIONS = {
    "insert": "AFTER INSERT ON {table} REFERENCING NEW TABLE AS after_rows",
    "update": "AFTER UPDATE ON {table} REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows",
    "delete": "AFTER DELETE ON {table} REFERENCING OLD TABLE AS before_rows",
    "truncate": "BEFORE TRUNCATE ON {table}",
}


def upgrade() -> None:
    # Readers are never blocked. Writers wait for the index (SHARE), then for the triggers (SHARE ROW EXCLUSIVE), which
    # are last and take no time: books that did not change yet need no row in book_change.
    op.create_index("ix_book_updated_at", "book", ["updated_at", "id"])
    op.execute(_POSITION)
    op.create_table(
        "book_change",
        sa.Column("book_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("position", sa.BigInteger(), sa.Computed("change_position(changed_at)", persisted=True)),
        sa.PrimaryKeyConstraint("book_id", name="pk_book_change"),
    )
    op.create_index("ix_book_change_position", "book_change", ["position", "book_id"])
    op.execute(_RECORD)
    for table, id_ in (("book", "id"), ("book_author", "book_id"), ("book_genre", "book_id")):
        op.execute(_ROWS_CHANGED.format(table=table, id=id_))
        for operation in _TRANSITIONS:
            _create_trigger(table, operation)
    for table, link in _LINKS.items():
        op.execute(_NAME_CHANGED.format(table=table, link=link))
        _create_trigger(table, "update")


def _create_trigger(table: str, operation: str) -> None:
    event = _TRANSITIONS[operation].format(table=table)
    op.execute(f"CREATE TRIGGER record_{operation} {event} FOR EACH STATEMENT EXECUTE FUNCTION {table}_changed()")


def downgrade() -> None:
    for table in ("book", "book_author", "book_genre", "author", "genre"):
        op.execute(f"DROP FUNCTION {table}_changed() CASCADE")  # with its triggers
    op.execute("DROP FUNCTION record_changes(bigint[])")
    op.drop_table("book_change")
    op.execute("DROP FUNCTION change_position(timestamptz)")
    op.drop_index("ix_book_updated_at", "book")
