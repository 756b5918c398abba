"""The lab's PostgreSQL: a server with the catalogue in a template, and a fresh copy of it for each deployment.

Copies of a template are identical on disk, unlike repeated imports, and take a tenth of a second for ten thousand
books.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import psycopg
import sqlalchemy as sa
from psycopg import sql

from bookstore.database import embedded, migrations
from bookstore.database.connection import open_connection
from bookstore.lab.record.run_record import Catalogue
from bookstore.reaper import Reaper

MAX_CONNECTIONS: Final = 100
"""PostgreSQL's default, and the value of the article's server."""
DATABASE: Final = "bookstore"
"""The database of each deployment, created afresh for it."""
TEMPLATE: Final = "catalogue"
APPLICATION: Final = "bookstore-lab"
"""The application_name of the lab's own sessions."""

_SETTINGS: Final = {"max_connections": str(MAX_CONNECTIONS), "shared_buffers": "256MB"}
LOG_SETTINGS: Final = {
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "log_directory": "log",
    "log_filename": "postgresql.log",
    "log_rotation_age": "0",
    "log_rotation_size": "0",
}
"""Settings that statement capture requires; outside captures nothing is logged."""
_OBSERVATION_SETTINGS: Final = {
    **LOG_SETTINGS,
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "off",  # BEGIN and COMMIT are not queries
}
_READ_ONLY_SETTINGS: Final = {"autovacuum_naptime": "1d"}
"""The template is vacuumed once; autovacuum must not run during rounds that change nothing."""
_DURABLE_SETTINGS: Final = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
"""Commits reach the disk, as in production; otherwise writes would look as cheap as reads."""

Fill = Callable[[psycopg.Connection], Catalogue]
"""Fills an empty, migrated database with the catalogue."""


class Server(Protocol):
    """A running PostgreSQL server: the embedded one, or one in a container."""

    def url(self, database: str = ...) -> sa.URL:
        """Return the URL with which a superuser connects."""

    def pid(self) -> int | None:
        """Return the server process's pid on this machine."""


class BenchmarkDatabase:
    """A running server with a filled template. `connection` is a superuser's autocommit session in the database
    `postgres`."""

    def __init__(self, server: Server, connection: psycopg.Connection, catalogue: Catalogue, ids: list[int]) -> None:
        self.server = server
        self.connection = connection
        self.catalogue = catalogue
        self.ids = ids
        self.postgresql = _version(connection)  # now: the record needs it even if the server stops

    @property
    def url(self) -> sa.URL:
        """The URL of the deployments' database, as the lab reaches it."""
        return self.server.url(DATABASE)

    def connect(self) -> psycopg.Connection:
        """Open another session of the lab."""
        return connect(self.server)

    def restore(self) -> None:
        """Recreate DATABASE from the template; sessions that are still in it are terminated."""
        name, template = sql.Identifier(DATABASE), sql.Identifier(TEMPLATE)
        self.connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        # Through the shared buffers and the WAL, so that every copy starts equally warm.
        self.connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY wal_log").format(name, template))

    def sessions(self) -> int:
        """Return the number of sessions in DATABASE other than the lab's."""
        row = self.connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name <> %s",
            [DATABASE, APPLICATION],
        ).fetchone()
        return int(row[0]) if row else 0


@contextmanager
def benchmark_database(reaper: Reaper, fill: Fill, *, writes: bool) -> Iterator[BenchmarkDatabase]:
    """A BenchmarkDatabase on an embedded server of its own, removed when the block ends.

    `fill` loads the catalogue; `writes` makes commits durable, as in production.
    """
    settings = {**_SETTINGS, **server_settings(writes=writes), **(_DURABLE_SETTINGS if writes else {})}
    with embedded.temporary_cluster(reaper, settings) as server, filled_database(server, fill) as database:
        yield database


def server_settings(*, writes: bool) -> dict[str, str]:
    """Return the settings of any lab server: statement statistics and logs, and no background work in read-only
    runs."""
    return {**_OBSERVATION_SETTINGS, **({} if writes else _READ_ONLY_SETTINGS)}


@contextmanager
def filled_database(server: Server, fill: Fill) -> Iterator[BenchmarkDatabase]:
    """A BenchmarkDatabase on a running server, with the catalogue from `fill`."""
    with connect(server) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    migrations.upgrade(server.url(TEMPLATE).set(drivername="postgresql+psycopg"))
    with open_connection(server.url(TEMPLATE)) as filling:
        catalogue = fill(filling)
    with connect(server, TEMPLATE) as connection:
        connection.execute("VACUUM (FREEZE, ANALYZE)")
        ids = [row[0] for row in connection.execute("SELECT id FROM book ORDER BY id")]
    with connect(server) as connection:
        connection.execute("CHECKPOINT")  # otherwise it would run during the first rounds
        yield BenchmarkDatabase(server, connection, catalogue, ids)


def connect(server: Server, database: str = "postgres") -> psycopg.Connection:
    """Open an autocommit session of the lab."""
    return open_connection(server.url(database), autocommit=True, application_name=APPLICATION, prepare_threshold=5)


def _version(connection: psycopg.Connection) -> str:
    row = connection.execute("SHOW server_version").fetchone()
    return str(row[0]) if row else ""
