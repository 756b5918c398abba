"""Real PostgreSQL for every test: an embedded cluster for the session, a database of its own for a test."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import LiteralString

import httpx
import psycopg
import pytest
import sqlalchemy as sa

from bookstore.database import embedded, migrations
from bookstore.database.url import conninfo, parse
from bookstore.exceptions import ConfigurationError
from bookstore.lab.testbed.pgbouncer import PgBouncer, executable, pgbouncer
from bookstore.reaper import Reaper

TEMPLATE = f"bookstore_test_template_{os.getpid()}"
_numbers = itertools.count(1)

# A list's ETag names the state of the whole server: autovacuum, which writes too, would change it in between.
SETTINGS = {"max_connections": "100", "autovacuum": "off", "max_wal_size": "128MB"}

MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes the name
MEMORY_BYTES = 2**30
"""Free of it, at least, for the cluster to lie there: to make a database, which most tests do, took 15 ms in memory
and 100 to 300 ms on a disk, for PostgreSQL's 300 files."""

OwnDatabase = Callable[..., AbstractContextManager[sa.URL]]
Deployed = Callable[..., AbstractContextManager[str]]
Pooled = Callable[..., AbstractContextManager[PgBouncer]]
PATIENCE_S = 40.0


def pytest_collection_finish() -> None:
    """What was imported stays: the collector need not look at it again and again, which took a sixth of the time."""
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server_url() -> Iterator[sa.URL]:
    """A server where tests may make databases: BOOKSTORE_TEST_DATABASE_URL's, else an embedded one."""
    given = os.environ.get("BOOKSTORE_TEST_DATABASE_URL")
    if given:
        yield parse(given)
        return
    is_roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES
    with Reaper() as reaper, embedded.temporary(reaper, SETTINGS, MEMORY if is_roomy else None) as cluster:
        yield cluster.url()


@pytest.fixture(scope="session")
def template(server_url: sa.URL) -> Iterator[str]:
    """The name of a migrated, empty database."""
    make_database(server_url, TEMPLATE)
    migrations.upgrade(server_url.set(drivername="postgresql+psycopg", database=TEMPLATE))
    yield TEMPLATE
    drop_database(server_url, TEMPLATE)


@pytest.fixture(scope="session")
def own_database(server_url: sa.URL, template: str) -> OwnDatabase:
    """Makes a migrated database in which the given statements ran, for as long as its block lasts."""

    @contextmanager
    def made(*statements: LiteralString) -> Iterator[sa.URL]:
        name = f"bookstore_test_{os.getpid()}_{next(_numbers)}"
        make_database(server_url, name, template)
        url = server_url.set(database=name)
        try:
            with psycopg.connect(conninfo(url)) as connection:
                for statement in statements:
                    connection.execute(statement)
            yield url
        finally:
            drop_database(server_url, name)

    return made


@pytest.fixture
def url(own_database: OwnDatabase) -> Iterator[sa.URL]:
    """A migrated, empty database for one test, as a URL without a driver."""
    with own_database() as made:
        yield made


@pytest.fixture
def database_url(url: sa.URL) -> str:
    """The same as libpq and DATABASE_URL take it."""
    return conninfo(url)


@pytest.fixture
def blank_url(server_url: sa.URL) -> Iterator[sa.URL]:
    """A database without any table."""
    name = f"bookstore_test_{os.getpid()}_{next(_numbers)}"
    make_database(server_url, name)
    yield server_url.set(database=name)
    drop_database(server_url, name)


@pytest.fixture(scope="session")
def pooled(server_url: sa.URL) -> Pooled:
    """Puts a PgBouncer before the server: `with pooled(default_pool_size="2") as it: it.url(database)`."""
    try:
        executable()
    except ConfigurationError:
        pytest.skip("pgbouncer is not installed")
    if "host" not in server_url.query:
        pytest.skip("PgBouncer is put before a server on a Unix socket only")

    @contextmanager
    def before(connect_query: str | None = None, **settings: str) -> Iterator[PgBouncer]:
        said = {} if connect_query is None else {"connect_query": connect_query}
        with Reaper() as reaper, pgbouncer(server_url, reaper, settings, **said) as it:
            yield it

    return before


def make_database(server: sa.URL, name: str, template: str = "template0") -> None:
    with psycopg.connect(conninfo(server), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')


def drop_database(server: sa.URL, name: str) -> None:
    with psycopg.connect(conninfo(server), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """Serves as operators do: `with deployed(url, VARIABLE=value) as address`."""

    @contextmanager
    def served(url: sa.URL, **environment: str) -> Iterator[str]:
        home = tmp_path_factory.mktemp("home")
        port = _free_port()
        given = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HOME": str(home)}
        ours = {"DATABASE_URL": conninfo(url), "BOOKSTORE_PORT": str(port), "BOOKSTORE_PROFILE": "default@workers=1"}
        command = [sys.executable, "-m", "bookstore", "serve"]
        with (home / "log").open("w") as log:
            server = subprocess.Popen(command, env=given | ours | environment, cwd=home, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            end = time.monotonic() + PATIENCE_S
            while not _is_ready(address):
                assert server.poll() is None, (home / "log").read_text()
                assert time.monotonic() < end, (home / "log").read_text()
                time.sleep(0.05)
            yield address
        finally:
            server.terminate()
            server.wait(PATIENCE_S)

    return served


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health/ready").status_code == 200
    except httpx.TransportError:
        return False
