from __future__ import annotations

import sqlalchemy as sa

from bookstore import models, schema


def test_up_down_up(blank_url: sa.URL) -> None:
    """A database migrates up, down and up again, and models and migrations then agree."""
    url = blank_url.set(drivername="postgresql+psycopg")
    assert schema.current(url) is None
    schema.upgrade(url)
    assert schema.current(url) == models.SCHEMA_REVISION
    schema.downgrade(url, "base")
    assert schema.current(url) is None
    schema.upgrade(url)
    assert schema.differences(url) is None
    assert schema.revisions()[-1] == models.SCHEMA_REVISION
