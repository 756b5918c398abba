"""A real PgBouncer between doctor and the database."""

from __future__ import annotations

import sqlalchemy as sa
from tests.conftest import Pooled

from .conftest import Examined


def test_a_pooler_is_seen(examined: Examined, pooled: Pooled, url: sa.URL) -> None:
    """A pooler is told from PostgreSQL: what is not made for it is a warning, and what is finds it right."""
    assert examined(url, "pooler") == []
    with pooled() as before:
        through = before.url(str(url.database))
        [found] = examined(through, "pooler", BOOKSTORE_PROFILE="default")
        assert found.level == "warning"
        assert found.do.endswith("it needs behind_pooler: on")
        [found] = examined(through, "pooler", BOOKSTORE_PROFILE="psycopg-pgbouncer")
        assert found.level == "ok", found
    with pooled(connect_query="SELECT 1") as before:
        found, *_ = examined(before.url(str(url.database)), "pooler", BOOKSTORE_PROFILE="psycopg-pgbouncer")
        assert found.level == "warning"
        assert "connect_query" in found.do
