"""Connections that can only fail from now on: after a failover to a read-only server, after a change of the schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.database import engine, sqlstate
from bookstore.database.unit_of_work import Database, make_database
from bookstore.database.url import conninfo
from bookstore.profile.engine_profile import Driver, EngineProfile

pytestmark = pytest.mark.anyio

READ_ONLY = ("db_unavailable", "The database does not accept changes at the moment.")


@pytest.fixture(params=get_args(Driver))
def driver(request: pytest.FixtureRequest) -> Driver:
    driver: Driver = request.param
    return driver


@pytest.fixture
def administer(url: sa.URL) -> Callable[[str], Any]:
    """Executes a statement as the database's administrator; {} is the database's name."""

    def execute(statement: str) -> None:
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(statement.format(f'"{url.database}"').encode())

    return execute


def add_genre(session: Session) -> int | None:
    session.execute(sa.text("INSERT INTO genre (name, slug) VALUES (gen_random_uuid()::text, gen_random_uuid()::text)"))
    pid: int | None = session.scalar(sa.text("SELECT pg_backend_pid()"))
    return pid


def read(session: Session) -> int | None:
    count: int | None = session.scalar(sa.text("SELECT 1 + count(*) FROM genre"))
    return count


async def problem_of(database: Database, work: Callable[[Session], Any], *, reading: bool = False) -> object:
    with pytest.raises(sa.exc.DBAPIError) as caught:
        await database.run(work, reading=reading)
    return sqlstate.server_problem(caught.value)


async def test_read_only_server(
    url: sa.URL, driver: Driver, administer: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a write failed on a read-only server, the next one uses a new connection, whatever its turn in the pool."""
    administer("ALTER DATABASE {} SET default_transaction_read_only = on")
    database = make_database(EngineProfile(name="test", driver=driver, pool_size=3), url)
    await database.start()
    try:
        monkeypatch.setattr(engine, "RENEW_AFTER_S", 0.0)
        assert await problem_of(database, add_genre) == READ_ONLY
        administer("ALTER DATABASE {} SET default_transaction_read_only = off")
        assert await database.run(add_genre)
        assert isinstance(database.pool, sa.QueuePool)
        assert database.pool.checkedout() == 0
    finally:
        await database.stop()


async def test_lasting_read_only_server(url: sa.URL, driver: Driver, administer: Callable[[str], Any]) -> None:
    """While the server stays read-only, a refused write costs its own connection and the readers keep theirs."""
    administer("ALTER DATABASE {} SET default_transaction_read_only = on")
    profile = EngineProfile(name="test", driver=driver, pool_size=2, pool_use_lifo=False)
    database = make_database(profile, url)
    await database.start()
    try:
        engine_opened: list[object] = []
        sa.event.listen(database.engine, "connect", lambda connection, _: engine_opened.append(connection))
        for _ in range(4):
            assert await problem_of(database, add_genre) == READ_ONLY
            assert await database.run(read, reading=True)
        assert len(engine_opened) <= 4
    finally:
        await database.stop()


async def test_changed_result_type(
    url: sa.URL, driver: Driver, administer: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prepared statement whose result type changed fails once as an unavailable database, then works again."""
    administer("CREATE TABLE changing AS SELECT 1 AS value")
    monkeypatch.setattr(engine, "RENEW_AFTER_S", 0.0)
    database = make_database(EngineProfile(name="test", driver=driver, pool_size=2), url)
    select = sa.text("SELECT value FROM changing")

    def work(session: Session) -> str:
        return str(session.scalar(select))

    try:
        for _ in range(20):  # psycopg prepares a statement after five executions in a connection
            assert await database.run(work, reading=True) == "1"
        administer("ALTER TABLE changing ALTER value TYPE text")
        problem = await problem_of(database, work, reading=True)
        assert problem == ("db_unavailable", "The database's schema has changed.")
        for _ in range(4):
            assert await database.run(work, reading=True) == "1"
    finally:
        await database.stop()
