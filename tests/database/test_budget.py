from __future__ import annotations

import os
import time

import psycopg
import pytest
import sqlalchemy as sa

from bookstore.database import budget
from bookstore.database.budget import PoolerCapacity, ServerCapacity
from bookstore.database.url import conninfo
from bookstore.profile import loader

SERVER = ServerCapacity(max_connections=100, reserved=3, in_use=7)


@pytest.mark.parametrize(
    ("spec", "needed"),
    [
        ("default", 10),
        ("default@workers=3,pool_size=10,max_overflow=2", 48),
        ("article-sync", 30),
        ("default@pool=null,backpressure=40", 80),
        ("psycopg-sync-lazy@pool=null,threads=7,workers=2", 21),
    ],
)
def test_counts_one_more_worker(spec: str, needed: int) -> None:
    """A profile needs the connections of one worker more than it has, because a worker may be being replaced."""
    assert budget.budget(loader.load(spec), SERVER).needed == needed


@pytest.mark.parametrize(("usable", "fits"), [(9, False), (10, True), (11, True)])
def test_fits_to_the_last_connection(usable: int, fits: bool) -> None:
    """Exactly as many connections as needed are enough, one fewer is not."""
    capacity = ServerCapacity(max_connections=100, reserved=3, in_use=97 - usable)
    assert budget.budget(loader.load("default"), capacity).fits is fits


def test_fits_after_release() -> None:
    """A budget that does not fit beside other connections fits when they are closed."""
    needs_90 = loader.load("default@pool_size=45")
    assert budget.budget(needs_90, SERVER).fits
    assert not budget.budget(needs_90, ServerCapacity(100, 3, 8)).fits
    assert budget.budget(needs_90, ServerCapacity(100, 3, 0)).fits


POOLER = PoolerCapacity(max_client_conn=100, clients=2, pool_size=20, reserve_pool_size=5)


@pytest.mark.parametrize(
    ("spec", "pooler", "fits"),
    [
        ("asyncpg-pgbouncer@pool_size=49", POOLER, True),
        ("asyncpg-pgbouncer@pool_size=50", POOLER, False),
        ("asyncpg-pgbouncer", PoolerCapacity(100, 2, pool_size=90), True),
        ("asyncpg-pgbouncer", PoolerCapacity(100, 2, pool_size=90, reserve_pool_size=1), False),
        ("asyncpg-pgbouncer", PoolerCapacity(100, 2, pool_size=90, reserve_pool_size=9, max_sessions=90), True),
    ],
)
def test_behind_a_pooler_both_have_to_fit(spec: str, pooler: PoolerCapacity, fits: bool) -> None:
    """The service's connections have to fit into max_client_conn, PgBouncer's sessions into max_connections."""
    assert budget.budget(loader.load(spec), SERVER, pooler).fits is fits


def test_description_with_a_pooler() -> None:
    """Behind a pooler the description shows both sums, and the advice is about the one that does not fit."""
    loaded = loader.load("asyncpg-pgbouncer@pool_size=60")
    planned = budget.budget(loaded, SERVER, POOLER)
    assert budget.describe(loaded, planned) == (
        "needs 120 = (1 worker + 1 while one is replaced) x (pool_size 60 + max_overflow 0); "
        "usable are 98 = max_client_conn 100 - in use 2; PgBouncer may open 25 = pool_size 20 + reserve_pool_size 5; "
        "usable are 90 = max_connections 100 - reserved 3 - in use 7"
    )
    assert budget.advice(loaded, planned) == "the largest pool_size that fits is 49"
    narrow = budget.budget(loader.load("asyncpg-pgbouncer"), ServerCapacity(20, 3, 0), POOLER)
    assert budget.advice(loaded, narrow) == "the largest max_db_connections of PgBouncer that fits is 17"


def test_usable_is_never_negative() -> None:
    """If superusers use reserved connections nothing is usable, never a negative number."""
    assert ServerCapacity(max_connections=10, reserved=3, in_use=9).usable == 0


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            "default@max_overflow=2",
            (
                "needs 14 = (1 worker + 1 while one is replaced) x (pool_size 5 + max_overflow 2); "
                "usable are 90 = max_connections 100 - reserved 3 - in use 7"
            ),
        ),
        (
            "default@workers=2,pool=null,backpressure=40",
            (
                "needs 120 = (2 workers + 1 while one is replaced) x 40 (backpressure, pool: null); "
                "usable are 90 = max_connections 100 - reserved 3 - in use 7"
            ),
        ),
    ],
)
def test_description_spells_the_sum_out(spec: str, expected: str) -> None:
    """The description shows each number of the sum, so that a person can check it."""
    loaded = loader.load(spec)
    assert budget.describe(loaded, budget.budget(loaded, SERVER)) == expected


@pytest.mark.parametrize(
    ("spec", "expected", "follows"),
    [
        ("default@workers=9,pool_size=20", "the largest pool_size that fits is 9", "pool_size=9"),
        (
            "default@workers=9,pool_size=5,max_overflow=5",
            "the largest pool_size that fits is 4",
            "pool_size=4,max_overflow=5",
        ),
        (
            "default@workers=9,pool_size=5,max_overflow=20",
            "no pool_size fits with max_overflow 20; with max_overflow 0, 9 fits",
            "pool_size=9,max_overflow=0",
        ),
        (
            "default@workers=200",
            "no pool_size fits: fewer than 201 connections are left; use fewer workers",
            "workers=1",
        ),
        (
            "default@workers=9,pool=null,backpressure=100",
            "the largest backpressure that fits is 9",
            "pool=null,backpressure=9",
        ),
        (
            "psycopg-sync-lazy@workers=9,pool=null,threads=100",
            "the largest threads that fits is 9",
            "pool=null,threads=9",
        ),
    ],
)
def test_advice_can_be_followed(spec: str, expected: str, follows: str) -> None:
    """The advised setting fits."""
    over = loader.load(spec)
    assert not budget.budget(over, SERVER).fits
    assert budget.advice(over, budget.budget(over, SERVER)) == expected
    base, _, _ = spec.partition("@")
    workers = "" if "workers" in follows else "workers=9,"
    assert budget.budget(loader.load(f"{base}@{workers}{follows}"), SERVER).fits


def _capacity(connection: psycopg.Connection[tuple[int, int, int]]) -> ServerCapacity:
    row = connection.execute(budget.CAPACITY_SQL.encode()).fetchone()
    assert row
    connection.commit()
    return ServerCapacity(*row)


def test_reads_the_servers_capacity(blank_url: sa.URL) -> None:
    """The server reports its limit and its reserved connections; others' connections count until they are closed."""
    with psycopg.connect(conninfo(blank_url)) as connection:
        before = _settled_capacity(connection)  # backends of the tests before this one may still be ending
        assert before.max_connections > before.reserved >= 3
        others = [psycopg.connect(conninfo(blank_url)) for _ in range(3)]
        assert _capacity(connection).in_use == before.in_use + 3
        for other in others:
            other.close()
        assert _settled_capacity(connection) == before


def _settled_capacity(connection: psycopg.Connection) -> ServerCapacity:
    """The capacity once ten readings in a row agree: a backend takes a moment to end."""
    readings = [_capacity(connection)]
    while len(readings) < 10 or len(set(readings[-10:])) > 1:
        assert len(readings) < 200, readings[-10:]
        time.sleep(0.05)
        readings.append(_capacity(connection))
    return readings[-1]


def test_ordinary_role_counts_the_sessions_of_others(blank_url: sa.URL) -> None:
    """A role that cannot see others' activity still counts their connections."""
    role = f"bookstore_test_{os.getpid()}_budget"
    with psycopg.connect(conninfo(blank_url), autocommit=True) as other:
        other.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{role}'")
        try:
            with psycopg.connect(conninfo(blank_url.set(username=role, password=role))) as connection:
                before = _capacity(connection).in_use
                connection.rollback()
                with psycopg.connect(conninfo(blank_url)):
                    assert _capacity(connection).in_use == before + 1
            assert before >= 1
        finally:
            other.execute(f'DROP ROLE "{role}"')
