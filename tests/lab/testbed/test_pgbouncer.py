"""The lab's PgBouncer: ready in time, private, and gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from bookstore.database import pooler
from bookstore.database.url import conninfo
from bookstore.exceptions import ConfigurationError
from bookstore.lab.testbed.pgbouncer import PgBouncer, PgBouncerError, pgbouncer
from bookstore.lab.testbed.process import wait_until
from bookstore.reaper import Reaper, is_alive

WITHIN_S = 30
Pooled = Callable[..., AbstractContextManager[PgBouncer]]

OWNER = """
import sys
import sqlalchemy as sa
from bookstore.reaper import Reaper
from bookstore.lab.testbed.pgbouncer import pgbouncer
with Reaper() as reaper, pgbouncer(sa.make_url(sys.argv[1]), reaper) as bouncer:
    print(bouncer.pid, bouncer.folder, flush=True)
    sys.stdin.read()
"""


def test_is_ready_and_gone_afterwards(pooled: Pooled, server_url: sa.URL) -> None:
    """Within the block it serves sessions with its own settings; afterwards nothing is left."""
    with pooled() as bouncer:
        with psycopg.connect(conninfo(bouncer.url(str(server_url.database)))) as connection:
            timeout = connection.execute("SHOW statement_timeout").fetchone()
            backend = connection.execute("SELECT pg_backend_pid()").fetchone()
            assert backend
            assert backend[0] != connection.info.backend_pid
        assert timeout == ("5s",)
        pid, folder = bouncer.pid, bouncer.folder
        assert folder.stat().st_mode & 0o077 == 0
    assert not is_alive(pid)
    assert not folder.exists()


def test_leaves_nothing_when_its_owner_is_killed(pooled: Pooled, server_url: sa.URL) -> None:
    """After kill -9 the reaper ends PgBouncer and removes its folder."""
    url = server_url.render_as_string(hide_password=False)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout
    assert owner.stdin
    pid, folder = owner.stdout.readline().split()
    assert is_alive(int(pid))
    owner.kill()
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    assert wait_until(lambda: not is_alive(int(pid)) and not Path(folder).exists(), WITHIN_S)


def test_tells_why_it_does_not_start(pooled: Pooled) -> None:
    """An invalid setting is reported with PgBouncer's own message, and nothing stays."""
    with pytest.raises(PgBouncerError, match="pool_mode"), pooled(pool_mode="wrong"):
        pass


def test_is_refused_where_it_is_not_installed(
    server_url: sa.URL, reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If PgBouncer is missing, the error says what to install."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ConfigurationError, match="apt install pgbouncer"), pgbouncer(server_url, reaper):
        pass


def test_the_console_tells_of_its_clients(pooled: Pooled, server_url: sa.URL) -> None:
    """SHOW CLIENTS has each client's application name, whichever session it uses."""
    with (
        pooled() as bouncer,
        psycopg.connect(
            conninfo(bouncer.url(str(server_url.database))), application_name=f"bookstore/mine/{os.getpid()}"
        ),
    ):
        with pooler.console(bouncer.url("any")) as console:
            names = [row["application_name"] for row in pooler.show(console, "CLIENTS")]
        assert f"bookstore/mine/{os.getpid()}" in names
