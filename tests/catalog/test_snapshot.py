"""The state of a database, by which lists are known."""

from __future__ import annotations

from typing import Any

import psycopg

from bookstore.catalog import snapshot
from bookstore.database.url import conninfo


def test_two_databases_have_two_states(own_database: Any) -> None:
    """Two databases of one server, of which nobody writes to either, are never in the same state."""
    with (
        own_database() as one,
        own_database() as other,
        psycopg.connect(conninfo(one), autocommit=True) as first,
        psycopg.connect(conninfo(other), autocommit=True) as second,
    ):
        states = [it.execute(f"SELECT {snapshot.SQL}".encode()).fetchone() for it in (first, second)]
    assert states[0] != states[1]
