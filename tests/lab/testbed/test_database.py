"""The benchmark database: every deployment gets the same data."""

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
    with benchmark_database(reaper, fill, writes=True) as database:
        yield database


def count_books(lab: BenchmarkDatabase) -> int:
    with psycopg.connect(conninfo(lab.url)) as connection:
        row = connection.execute("SELECT count(*) FROM book").fetchone()
    return int(row[0]) if row else 0


def test_a_restored_database_is_as_it_was(lab: BenchmarkDatabase) -> None:
    """A deployment's writes are gone and its remaining sessions are terminated."""
    lab.restore()
    session = psycopg.connect(conninfo(lab.url), autocommit=True)
    session.execute("DELETE FROM book_author")
    session.execute("DELETE FROM book_genre")
    session.execute("DELETE FROM book WHERE id > 10")
    assert lab.sessions() == 1
    lab.restore()
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    assert lab.sessions() == 0
    assert count_books(lab) == 60
    assert len(lab.ids) == 60


def test_the_statistics_are_there_from_the_start(lab: BenchmarkDatabase) -> None:
    """Plans of the copy use the template's statistics; nothing is analysed during a round."""
    lab.restore()
    with psycopg.connect(conninfo(lab.url)) as connection:
        row = connection.execute("SELECT reltuples FROM pg_class WHERE relname = 'book'").fetchone()
    assert row == (60,)


@pytest.mark.parametrize(("writes", "fsync"), [(True, "on"), (False, "off")])
def test_commits_are_durable_where_there_are_writes(reaper: Reaper, writes: bool, fsync: str) -> None:
    """Workloads that only read run without fsync; workloads that write pay for durable commits."""
    with benchmark_database(reaper, fill, writes=writes) as database:
        row = database.connection.execute(
            "SELECT current_setting('fsync'), current_setting('synchronous_commit')"
        ).fetchone()
        assert row == (fsync, "on")


def test_statements_are_counted(lab: BenchmarkDatabase) -> None:
    """pg_stat_statements counts the statements of the deployments' database."""
    lab.restore()
    count_books(lab)
    row = lab.connection.execute(
        "SELECT calls FROM pg_stat_statements JOIN pg_database ON oid = dbid WHERE datname = %s AND query ~ 'count'",
        [DATABASE],
    ).fetchone()
    assert row == (1,)
