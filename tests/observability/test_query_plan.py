from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.observability.query_plan import explain, is_explainable, normalise, number_parameters, shape_hash


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("SELECT 1", "SELECT 1"),
        ("a = %(a)s::BIGINT AND b = %(b_1)s AND c = %(a)s", "a = $1::BIGINT AND b = $2 AND c = $1"),
        ("a LIKE '50%%' AND b %% %(b)s = 0", "a LIKE '50%' AND b % $1 = 0"),
    ],
)
def test_number_parameters(statement: str, text: str) -> None:
    """psycopg's named parameters become PostgreSQL's numbers; asyncpg's statements stay unchanged."""
    assert number_parameters(statement, "pyformat") == text
    assert number_parameters(text, "numeric_dollar") == text


def test_normalise() -> None:
    """A statement is on one line, and is the same for any length of its IN lists."""
    for ids in ("$1::BIGINT, $2::BIGINT", "$1::BIGINT, $2::BIGINT, $3::BIGINT"):
        assert normalise(f"id\n  IN ({ids})\n AND x") == "id IN ($1::BIGINT, …) AND x"
    assert normalise("id IN ($1, $2)") == "id IN ($1, …)"


def test_is_explainable() -> None:
    """Only statements that have a plan are explainable."""
    assert all(map(is_explainable, ["SELECT 1", "  with x AS (SELECT 1) SELECT", "(SELECT 1)", "UPDATE x"]))
    assert not any(map(is_explainable, ["SET x = 1", "LOCK TABLE x", "SHOW x", "", "SELECT $bookstore$ $bookstore$"]))


def test_shape(url: sa.URL) -> None:
    """The hash does not depend on parameters or the table's size, and changes without the index. Nothing is
    executed."""
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg"))
    statement = "SELECT title, 'it''s' FROM book WHERE id = $1::BIGINT LIMIT $2::INTEGER"
    grow = "INSERT INTO book (title) SELECT 'Book ' || n FROM generate_series(1, 3000) n"

    def plan(session: Session, text: str) -> str:
        return shape_hash(explain(session, text))

    with Session(engine) as session:
        session.execute(sa.text(grow))
        session.execute(sa.text("ANALYZE book"))
        before = plan(session, statement)
        session.execute(sa.text(grow))
        session.execute(sa.text("ANALYZE book"))
        assert plan(session, statement) == before
        assert plan(session, statement.replace("$1", "$2")) == before
        removal = plan(session, "DELETE FROM book WHERE id = $1")
        assert len({before, removal, plan(session, "SELECT count(*) FROM book")}) == 3
        session.execute(sa.text("ALTER TABLE book DROP CONSTRAINT pk_book CASCADE"))
        assert plan(session, statement) != before
        assert session.execute(sa.text("SELECT count(*) FROM book")).scalar_one() == 6000
    engine.dispose()
