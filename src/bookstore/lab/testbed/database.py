"""The lab's own PostgreSQL: a cluster of its own, a template with the catalogue, and for each deployment a fresh
database made from it.

A copy of a template is the same on disk each time, which a reload is not, and takes a tenth of a second for
ten thousand books.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import psycopg
import sqlalchemy as sa
from psycopg import sql

from bookstore.database import embedded, migrations
from bookstore.database.url import conninfo
from bookstore.lab.record.run_record import Catalogue
from bookstore.reaper import Reaper

MAX_CONNECTIONS: Final = 100
"""PostgreSQL's own default, as the article's server had."""
DATABASE: Final = "bookstore"
"""What each deployment gets, made anew."""
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
"""What a cluster needs whose statements are to be captured; nothing is logged outside of a capture."""
_OBSERVATION_SETTINGS: Final = {
    **LOG_SETTINGS,
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "off",  # BEGIN and COMMIT ask nothing
}
_READ_ONLY_SETTINGS: Final = {"autovacuum_naptime": "1d"}
"""The template is vacuumed once; nothing may start by itself in a round that changes nothing."""
_DURABLE_SETTINGS: Final = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
"""A commit is on the disk, as in production: without it writing would look as cheap as reading."""

Fill = Callable[[psycopg.Connection], Catalogue]
"""Puts the catalogue into an empty, migrated database."""


class Server(Protocol):
    """A running PostgreSQL server: a cluster of ours, or one in a container."""

    def url(self, database: str = ...) -> sa.URL:
        """Where a superuser connects."""

    def pid(self) -> int | None:
        """The process's id, as this machine knows it."""


class BenchmarkDatabase:
    """A running server with a filled template. `connection` is the lab's own, of a superuser, to the database
    `postgres`, in autocommit."""

    def __init__(self, server: Server, connection: psycopg.Connection, catalogue: Catalogue, ids: list[int]) -> None:
        self.server = server
        self.connection = connection
        self.catalogue = catalogue
        self.ids = ids
        self.postgresql = _version(connection)  # now: a record has to name it, whatever becomes of the server

    @property
    def url(self) -> sa.URL:
        """Of the database that deployments get, as the lab reaches it."""
        return self.server.url(DATABASE)

    def connect(self) -> psycopg.Connection:
        """Another session of the lab's own."""
        return connect(self.server)

    def restore(self) -> None:
        """Makes DATABASE anew from the template; whoever was still in it is thrown out."""
        name, template = sql.Identifier(DATABASE), sql.Identifier(TEMPLATE)
        self.connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        # Through the shared buffers and the WAL, so that each copy begins as warm as the last one.
        self.connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY wal_log").format(name, template))

    def sessions(self) -> int:
        """How many sessions others than the lab have in DATABASE."""
        row = self.connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name <> %s",
            [DATABASE, APPLICATION],
        ).fetchone()
        return int(row[0]) if row else 0


@contextmanager
def benchmark_database(reaper: Reaper, fill: Fill, *, writes: bool) -> Iterator[BenchmarkDatabase]:
    """A BenchmarkDatabase with a cluster of its own, whose catalogue `fill` made; with `writes`, commits are durable as
    in production. All of it is gone when the block ends."""
    settings = {**_SETTINGS, **server_settings(writes=writes), **(_DURABLE_SETTINGS if writes else {})}
    with embedded.temporary(reaper, settings) as cluster, filled_database(cluster, fill) as lab:
        yield lab


def server_settings(*, writes: bool) -> dict[str, str]:
    """What the lab asks of any server, to see what it is asked, and that nothing starts by itself."""
    return {**_OBSERVATION_SETTINGS, **({} if writes else _READ_ONLY_SETTINGS)}


@contextmanager
def filled_database(server: Server, fill: Fill) -> Iterator[BenchmarkDatabase]:
    """A BenchmarkDatabase on a running server of the lab's own, with the catalogue that `fill` made."""
    with connect(server) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    migrations.upgrade(server.url(TEMPLATE).set(drivername="postgresql+psycopg"))
    with psycopg.connect(conninfo(server.url(TEMPLATE))) as filling:
        catalogue = fill(filling)
    with connect(server, TEMPLATE) as connection:
        connection.execute("VACUUM (FREEZE, ANALYZE)")
        ids = [row[0] for row in connection.execute("SELECT id FROM book ORDER BY id")]
    with connect(server) as connection:
        connection.execute("CHECKPOINT")  # or the first rounds would pay for the load
        yield BenchmarkDatabase(server, connection, catalogue, ids)


def connect(server: Server, database: str = "postgres") -> psycopg.Connection:
    """A session of the lab's own, in autocommit."""
    return psycopg.connect(conninfo(server.url(database)), autocommit=True, application_name=APPLICATION)


def _version(connection: psycopg.Connection) -> str:
    row = connection.execute("SHOW server_version").fetchone()
    return str(row[0]) if row else ""
