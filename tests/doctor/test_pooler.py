"""A real PgBouncer between doctor and the database."""

from __future__ import annotations

import sqlalchemy as sa
from tests.conftest import Pooled

from .conftest import Examined


def test_pooler(examined: Examined, pooled: Pooled, url: sa.URL) -> None:
    """A pooler is detected: a profile that is not made for it is a warning, one that is made for it is fine."""
    assert examined(url, "pooler") == []
    with pooled() as pooler:
        pooler_url = pooler.url(str(url.database))
        [found] = examined(pooler_url, "pooler", BOOKSTORE_PROFILE="default")
        assert found.level == "warning"
        assert found.do.endswith("it needs behind_pooler: on")
        [found] = examined(pooler_url, "pooler", BOOKSTORE_PROFILE="psycopg-pgbouncer")
        assert found.level == "ok", found
    with pooled(connect_query="SELECT 1") as pooler:
        found, *_ = examined(pooler.url(str(url.database)), "pooler", BOOKSTORE_PROFILE="psycopg-pgbouncer")
        assert found.level == "warning"
        assert "connect_query" in found.do
