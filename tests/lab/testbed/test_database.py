"""The laboratory: every deployment gets the same database."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from bookstore.catalog import datasets
from bookstore.database.url import conninfo
from bookstore.lab.record.run_record import Catalogue
from bookstore.lab.testbed.database import DATABASE, BenchmarkDatabase, benchmark_database
from bookstore.reaper import Reaper


def fill(connection: psycopg.Connection) -> Catalogue:
    datasets.generate(connection, books=60, seed=1)
    return Catalogue("generated, seed 1", 60)


@pytest.fixture(scope="module")
def lab(reaper: Reaper) -> Iterator[BenchmarkDatabase]:
    with benchmark_database(reaper, fill, writes=True) as it:
        yield it


def books(lab: BenchmarkDatabase) -> int:
    with psycopg.connect(conninfo(lab.url)) as connection:
        row = connection.execute("SELECT count(*) FROM book").fetchone()
    return int(row[0]) if row else 0


def test_a_restored_database_is_as_it_was(lab: BenchmarkDatabase) -> None:
    """What a deployment wrote is gone, and who was still connected is thrown out."""
    lab.restore()
    left = psycopg.connect(conninfo(lab.url), autocommit=True)
    left.execute("DELETE FROM book_author")
    left.execute("DELETE FROM book_genre")
    left.execute("DELETE FROM book WHERE id > 10")
    assert lab.sessions() == 1
    lab.restore()
    with pytest.raises(psycopg.OperationalError):
        left.execute("SELECT 1")
    assert lab.sessions() == 0
    assert books(lab) == 60
    assert len(lab.ids) == 60


def test_the_statistics_are_there_from_the_start(lab: BenchmarkDatabase) -> None:
    """The copy's plans rest on the template's ANALYZE; nothing has to be gathered in a round."""
    lab.restore()
    with psycopg.connect(conninfo(lab.url)) as connection:
        row = connection.execute("SELECT reltuples FROM pg_class WHERE relname = 'book'").fetchone()
    assert row == (60,)


@pytest.mark.parametrize(("writes", "fsync"), [(True, "on"), (False, "off")])
def test_commits_are_durable_where_there_are_writes(reaper: Reaper, writes: bool, fsync: str) -> None:
    """Reading alone needs no fsync; a workload that writes pays for its commits."""
    with benchmark_database(reaper, fill, writes=writes) as it:
        row = it.connection.execute("SELECT current_setting('fsync'), current_setting('synchronous_commit')").fetchone()
        assert row == (fsync, "on")


def test_statements_are_counted(lab: BenchmarkDatabase) -> None:
    """pg_stat_statements tells of the database that deployments get."""
    lab.restore()
    books(lab)
    row = lab.connection.execute(
        "SELECT calls FROM pg_stat_statements JOIN pg_database ON oid = dbid WHERE datname = %s AND query ~ 'count'",
        [DATABASE],
    ).fetchone()
    assert row == (1,)
