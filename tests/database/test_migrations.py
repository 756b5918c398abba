from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa

from bookstore.catalog import models
from bookstore.database import migrations
from bookstore.database.url import conninfo
from bookstore.exceptions import ConfigurationError


def test_up_down_up(blank_url: sa.URL) -> None:
    """A database is upgraded, downgraded and upgraded again; then models and tables agree."""
    url = blank_url.set(drivername="postgresql+psycopg")
    assert migrations.current(url) is None
    migrations.upgrade(url)
    assert migrations.current(url) == models.SCHEMA_REVISION
    migrations.downgrade(url, "base")
    assert migrations.current(url) is None
    migrations.upgrade(url)
    assert migrations.differences(url) is None
    assert migrations.revisions()[-1] == models.SCHEMA_REVISION


@pytest.mark.parametrize("extra", ["extra", "Extra Tools"])
def test_extensions_in_another_schema(blank_url: sa.URL, extra: str) -> None:
    """unaccent is called with its schema, so it works without a search_path, as when a dump is restored."""
    with psycopg.connect(conninfo(blank_url)) as connection:
        connection.execute(f'CREATE SCHEMA "{extra}"')
        connection.execute(f'CREATE EXTENSION unaccent SCHEMA "{extra}"')
    migrations.upgrade(blank_url.set(drivername="postgresql+psycopg"))
    with psycopg.connect(conninfo(blank_url)) as connection:
        connection.execute("INSERT INTO author (name) VALUES ('\u00c9mile'), ('Zola')")
        connection.execute("SET search_path = ''")
        connection.execute("REINDEX TABLE public.author")
        connection.execute("ANALYZE public.author")
        assert connection.execute("SELECT public.sort_key('\u00c9mile')").fetchone() == ("emile",)


def test_concurrent_upgrades(blank_url: sa.URL) -> None:
    """Two concurrent migrations of one database both succeed: the second finds nothing to do."""
    url = blank_url.set(drivername="postgresql+psycopg")
    with ThreadPoolExecutor(2) as threads:
        # Alembic keeps its context in the process, so each command runs in its own process.
        list(threads.map(lambda _: _upgrade_in_a_process(url), range(2)))
    assert migrations.current(url) == models.SCHEMA_REVISION


def _upgrade_in_a_process(url: sa.URL) -> None:
    result = _upgrade(url)
    assert result.returncode == 0, result.stderr


def _upgrade(url: sa.URL, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATABASE_URL": conninfo(url)}
    command = [sys.executable, "-m", "bookstore", "db", "upgrade", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_missing_privilege(blank_url: sa.URL) -> None:
    """A role that must not create tables gets an error message instead of a traceback."""
    role = f"bookstore_test_{os.getpid()}_reader"
    with psycopg.connect(conninfo(blank_url), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{role}'")
        try:
            url = blank_url.set(drivername="postgresql+psycopg", username=role, password=role)
            with pytest.raises(ConfigurationError, match="permission denied for schema public"):
                migrations.upgrade(url)
        finally:
            connection.execute(f'DROP ROLE "{role}"')


def test_waiting_for_a_server_that_answers(blank_url: sa.URL) -> None:
    """`db upgrade --wait`, with or without a number, migrates at once if the database accepts connections."""
    for option in (["--wait"], ["--wait", "5"], ["--wait=5", "head"]):
        result = _upgrade(blank_url, *option)
        assert (result.returncode, result.stdout) == (0, f"{models.SCHEMA_REVISION}\n"), result.stderr


def test_waiting_for_a_server_that_does_not() -> None:
    """--wait prints once what it waits for, and exits with code 2 after its seconds."""
    with socket.socket() as unused:  # nothing listens on it
        unused.bind(("127.0.0.1", 0))
        url = sa.make_url(f"postgresql://me@127.0.0.1:{unused.getsockname()[1]}/books")
        result = _upgrade(url, "--wait", "1")
    assert result.returncode == 2
    first, last = result.stderr.splitlines()
    assert first.startswith("waiting for the database: database books at 127.0.0.1")
    assert last.startswith("bookstore: database books at 127.0.0.1")
    assert last.endswith("Connection refused (tried for 1 s)")


def test_wait_option_needs_a_number() -> None:
    """A --wait value that is not a number of seconds is rejected."""
    for value in ("0", "3601", "x"):
        result = _upgrade(sa.make_url("postgresql://me@127.0.0.1:1/books"), f"--wait={value}")
        assert result.returncode == 2
        assert f"Invalid value for '--wait': {value!r}" in result.stderr or f"{value} is not in the" in result.stderr
