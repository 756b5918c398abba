"""deploy/pgbouncer: the shipped configuration, run as it is but for its addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from bookstore.database import pooler, preflight
from bookstore.database.pooler import Limits
from bookstore.database.url import conninfo
from bookstore.lab.testbed.pgbouncer import PgBouncer
from bookstore.lab.testbed.process import free_port, wait_until
from bookstore.profile import layers, loader

DEPLOY = Path(__file__).parents[2] / "deploy/pgbouncer"
KNOWN = 'of "two" words'
Pooled = Callable[..., AbstractContextManager[PgBouncer]]


@pytest.fixture
def shipped(pooled: Pooled, url: sa.URL) -> Iterator[sa.URL]:
    """Where clients connect, with the password, to a PgBouncer under the shipped pgbouncer.ini before the test's
    database."""
    role, port = f"{url.database}_role", free_port()
    with psycopg.connect(conninfo(url), autocommit=True) as owner, pooled() as it:
        it.stop()
        owner.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{KNOWN}'".encode())
        changes = {
            "host=db port=5432 dbname=bookstore": f"host={url.query['host']} port=5432 dbname={url.database}",
            "listen_addr = *": "listen_addr = 127.0.0.1",
            "listen_port = 6432": f"listen_port = {port}",
            "/run/pgbouncer/": f"{it.folder}/",
            "stats_users = bookstore": f"stats_users = {role}",
        }
        text = (DEPLOY / "pgbouncer.ini").read_text()
        for found, here in changes.items():
            assert found in text
            text = text.replace(found, here)
        (it.folder / "pgbouncer.ini").write_text(text)
        doubled = KNOWN.replace('"', '""')
        (it.folder / "userlist.txt").write_text(f'"{role}" "{doubled}"\n')
        it.launch()
        yield sa.URL.create("postgresql", role, KNOWN, "127.0.0.1", port, "bookstore")
        it.stop()
        owner.execute(f'DROP ROLE "{role}"'.encode())


def _until_open(url: sa.URL) -> None:
    def answers() -> bool:
        try:
            psycopg.connect(conninfo(url)).close()
        except psycopg.OperationalError:
            return False
        return True

    assert wait_until(answers, 20)


def test_serves_the_shipped_profiles(shipped: sa.URL) -> None:
    """Who knows the password is let in, in transaction mode, and each shipped profile that is behind a pooler fits:
    its timeouts and time zone are set, its budget comes out, there is nothing to remark."""
    _until_open(shipped)
    found = preflight.probe(shipped)
    assert isinstance(found.pooler, Limits)
    assert found.pooler.pool_mode == "transaction"
    assert (found.pooler.capacity.max_client_conn, found.pooler.capacity.sessions) == (1000, 20)
    for one in [loader.load(name) for name in layers.names()]:
        if one.behind_pooler:
            assert preflight.check_pooler(one, found) == []
            preflight.check_budget(one, found)


def test_lets_nobody_else_in(shipped: sa.URL) -> None:
    """A wrong password and another user are refused; the service may look at PgBouncer and not change it."""
    _until_open(shipped)
    for wrong in (shipped.set(password="wrong"), shipped.set(username="postgres")):  # noqa: S106 - made up
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(conninfo(wrong))
    with pooler.console(shipped) as console, pytest.raises(psycopg.Error, match="admin access needed"):
        console.execute("PAUSE")
