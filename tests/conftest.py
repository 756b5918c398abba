"""Shared fixtures: a real PostgreSQL cluster for the session, and a separate database for each test."""

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

# A list's ETag depends on the state of the whole server, which autovacuum would change between requests.
SETTINGS = {"max_connections": "100", "autovacuum": "off", "max_wal_size": "128MB"}

MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes the name
MEMORY_BYTES = 2**30
"""The free memory required to put the cluster there: creating a database, which most tests do, takes 15 ms in memory
and 100 to 300 ms on a disk, because PostgreSQL writes 300 files."""

OwnDatabase = Callable[..., AbstractContextManager[sa.URL]]
Deployed = Callable[..., AbstractContextManager[str]]
Pooled = Callable[..., AbstractContextManager[PgBouncer]]
PATIENCE_S = 40.0


def pytest_collection_finish() -> None:
    """Freeze imported objects: collecting them again and again took a sixth of the time."""
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server_url() -> Iterator[sa.URL]:
    """A server for test databases: BOOKSTORE_TEST_DATABASE_URL, or an embedded one."""
    external = os.environ.get("BOOKSTORE_TEST_DATABASE_URL")
    if external:
        yield parse(external)
        return
    is_roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES
    with Reaper() as reaper, embedded.temporary_cluster(reaper, SETTINGS, MEMORY if is_roomy else None) as cluster:
        yield cluster.url()


@pytest.fixture(scope="session")
def template(server_url: sa.URL) -> Iterator[str]:
    """The name of a migrated, empty database."""
    make_database(server_url, TEMPLATE)
    migrations.upgrade(server_url.set(drivername="postgresql+psycopg", database=TEMPLATE))
    with psycopg.connect(conninfo(server_url.set(database=TEMPLATE))) as connection:
        # A key that tests and the API guide know, to make the cursors that they expect.
        connection.execute("UPDATE cursor_key SET key = %s", [bytes(32)])
    yield TEMPLATE
    drop_database(server_url, TEMPLATE)


@pytest.fixture(scope="session")
def own_database(server_url: sa.URL, template: str) -> OwnDatabase:
    """Creates a migrated database, runs the given statements in it, and drops it when the block ends."""

    @contextmanager
    def create(*statements: LiteralString) -> Iterator[sa.URL]:
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

    return create


@pytest.fixture
def url(own_database: OwnDatabase) -> Iterator[sa.URL]:
    """A migrated, empty database for one test, as a URL without a driver."""
    with own_database() as url:
        yield url


@pytest.fixture
def database_url(url: sa.URL) -> str:
    """The same URL in the format of libpq and DATABASE_URL."""
    return conninfo(url)


@pytest.fixture
def blank_url(server_url: sa.URL) -> Iterator[sa.URL]:
    """A database without any tables."""
    name = f"bookstore_test_{os.getpid()}_{next(_numbers)}"
    make_database(server_url, name)
    yield server_url.set(database=name)
    drop_database(server_url, name)


@pytest.fixture(scope="session")
def pooled(server_url: sa.URL) -> Pooled:
    """Puts a PgBouncer in front of the server: `with pooled(default_pool_size="2") as bouncer: bouncer.url(name)`."""
    try:
        executable()
    except ConfigurationError:
        pytest.skip("pgbouncer is not installed")
    if "host" not in server_url.query:
        pytest.skip("PgBouncer is put before a server on a Unix socket only")

    @contextmanager
    def run(connect_query: str | None = None, **settings: str) -> Iterator[PgBouncer]:
        query = {} if connect_query is None else {"connect_query": connect_query}
        with Reaper() as reaper, pgbouncer(server_url, reaper, settings, **query) as bouncer:
            yield bouncer

    return run


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
    def serve(url: sa.URL, **environment: str) -> Iterator[str]:
        home = tmp_path_factory.mktemp("home")
        port = _free_port()
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HOME": str(home)}
        own = {"DATABASE_URL": conninfo(url), "BOOKSTORE_PORT": str(port), "BOOKSTORE_PROFILE": "default@workers=1"}
        command = [sys.executable, "-m", "bookstore", "serve"]
        with (home / "log").open("w") as log:
            server = subprocess.Popen(command, env=base | own | environment, cwd=home, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + PATIENCE_S
            while not _is_ready(address):
                assert server.poll() is None, (home / "log").read_text()
                assert time.monotonic() < deadline, (home / "log").read_text()
                time.sleep(0.05)
            yield address
        finally:
            server.terminate()
            server.wait(PATIENCE_S)

    return serve


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
