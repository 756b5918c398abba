"""The lab's own PostgreSQL: a cluster of its own, a template with the catalogue, and for each deployment a fresh
database made from it.

A copy of a template is the same on disk each time, which a reload is not, and takes a tenth of a second for
ten thousand books.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import sqlalchemy as sa
from psycopg import sql

from bookstore import postgres, schema
from bookstore.database_url import conninfo
from bookstore.guardian import Guardian
from bookstore.lab import statements
from bookstore.lab.record import Catalogue
from bookstore.postgres import Cluster

MAX_CONNECTIONS: Final = 100
"""PostgreSQL's own default, as the article's server had."""
DATABASE: Final = "bookstore"
"""What each deployment gets, made anew."""
TEMPLATE: Final = "catalogue"
APPLICATION: Final = "bookstore-lab"
"""The application_name of the lab's own sessions."""

_SETTINGS: Final = {
    **statements.LOG_SETTINGS,
    "max_connections": str(MAX_CONNECTIONS),
    "shared_buffers": "256MB",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "off",  # BEGIN and COMMIT ask nothing
}
_READING: Final = {"autovacuum_naptime": "1d"}
"""The template is vacuumed once; nothing may start by itself in a round that changes nothing."""
_WRITING: Final = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
"""A commit is on the disk, as in production: without it writing would look as cheap as reading."""

Fill = Callable[[psycopg.Connection], Catalogue]
"""Puts the catalogue into an empty, migrated database."""


class Laboratory:
    """A running cluster with a filled template. `connection` is the lab's own, of a superuser, to the database
    `postgres`, in autocommit."""

    def __init__(self, cluster: Cluster, connection: psycopg.Connection, catalogue: Catalogue, ids: list[int]) -> None:
        self.cluster = cluster
        self.connection = connection
        self.catalogue = catalogue
        self.ids = ids
        self.postgresql = _version(connection)  # now: a record has to name it, whatever becomes of the server

    @property
    def url(self) -> sa.URL:
        """Of the database that deployments get."""
        return self.cluster.url(DATABASE)

    def connected(self) -> psycopg.Connection:
        """Another session of the lab's own."""
        return _connected(self.cluster, "postgres")

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
def laboratory(guardian: Guardian, fill: Fill, *, writes: bool) -> Iterator[Laboratory]:
    """A Laboratory whose catalogue `fill` made; with `writes`, commits are durable as in production. All of it is
    gone when the block ends."""
    with postgres.temporary(guardian, {**_SETTINGS, **(_WRITING if writes else _READING)}) as cluster:
        with _connected(cluster, "postgres") as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        schema.upgrade(cluster.url(TEMPLATE).set(drivername="postgresql+psycopg"))
        with psycopg.connect(conninfo(cluster.url(TEMPLATE))) as filling:
            catalogue = fill(filling)
        with _connected(cluster, TEMPLATE) as connection:
            connection.execute("VACUUM (FREEZE, ANALYZE)")
            ids = [row[0] for row in connection.execute("SELECT id FROM book ORDER BY id")]
        with _connected(cluster, "postgres") as connection:
            connection.execute("CHECKPOINT")  # or the first rounds would pay for the load
            yield Laboratory(cluster, connection, catalogue, ids)


def _version(connection: psycopg.Connection) -> str:
    row = connection.execute("SHOW server_version").fetchone()
    return str(row[0]) if row else ""


def _connected(cluster: Cluster, database: str) -> psycopg.Connection:
    return psycopg.connect(conninfo(cluster.url(database)), autocommit=True, application_name=APPLICATION)
