"""deploy/pgbouncer: the shipped configuration with only its addresses changed."""

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
PASSWORD = 'of "two" words'  # noqa: S105 - not a real password
Pooled = Callable[..., AbstractContextManager[PgBouncer]]


@pytest.fixture
def shipped(pooled: Pooled, url: sa.URL) -> Iterator[sa.URL]:
    """The URL, with password, of a PgBouncer in front of the test's database that runs with the shipped
    pgbouncer.ini."""
    role, port = f"{url.database}_role", free_port()
    with psycopg.connect(conninfo(url), autocommit=True) as owner, pooled() as pgbouncer:
        pgbouncer.stop()
        owner.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{PASSWORD}'".encode())
        changes = {
            "host=db port=5432 dbname=bookstore": f"host={url.query['host']} port=5432 dbname={url.database}",
            "listen_addr = *": "listen_addr = 127.0.0.1",
            "listen_port = 6432": f"listen_port = {port}",
            "/run/pgbouncer/": f"{pgbouncer.folder}/",
            "stats_users = bookstore": f"stats_users = {role}",
        }
        text = (DEPLOY / "pgbouncer.ini").read_text()
        for shipped_text, test_text in changes.items():
            assert shipped_text in text
            text = text.replace(shipped_text, test_text)
        (pgbouncer.folder / "pgbouncer.ini").write_text(text)
        doubled = PASSWORD.replace('"', '""')
        (pgbouncer.folder / "userlist.txt").write_text(f'"{role}" "{doubled}"\n')
        pgbouncer.launch()
        yield sa.URL.create("postgresql", role, PASSWORD, "127.0.0.1", port, "bookstore")
        pgbouncer.stop()
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
    """With the password clients connect in transaction mode. Every shipped profile with behind_pooler fits without
    remarks: timeouts, time zone and budget."""
    _until_open(shipped)
    probe = preflight.probe(shipped)
    assert isinstance(probe.pooler, Limits)
    assert probe.pooler.pool_mode == "transaction"
    assert (probe.pooler.capacity.max_client_conn, probe.pooler.capacity.sessions) == (1000, 20)
    for profile in [loader.load(name) for name in layers.names()]:
        if profile.behind_pooler:
            assert preflight.check_pooler(profile, probe) == []
            preflight.check_budget(profile, probe)


def test_rejects_other_users(shipped: sa.URL) -> None:
    """A wrong password and another user are rejected. The service can query PgBouncer's console but not control it."""
    _until_open(shipped)
    for wrong in (shipped.set(password="wrong"), shipped.set(username="postgres")):  # noqa: S106 - not a real password
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(conninfo(wrong))
    with pooler.console(shipped) as console, pytest.raises(psycopg.Error, match="admin access needed"):
        console.execute("PAUSE")
