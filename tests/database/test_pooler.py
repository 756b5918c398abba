"""What a PgBouncer tells of itself, what is held against it, and what `serve` and `profiles check` say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from bookstore.cli.commands.profiles import profiles
from bookstore.database import pooler, preflight
from bookstore.database.budget import PoolerCapacity
from bookstore.database.url import conninfo
from bookstore.exceptions import ConfigurationError
from bookstore.lab.testbed.pgbouncer import PgBouncer
from bookstore.lab.testbed.process import wait_until
from bookstore.profile import loader

Pooled = Callable[..., AbstractContextManager[PgBouncer]]


def _check(url: sa.URL, *specs: str) -> Result:
    return CliRunner().invoke(profiles, ["check", *specs], env={"COLUMNS": "80", "DATABASE_URL": conninfo(url)})


def test_a_pooler_is_told_from_postgresql(pooled: Pooled, url: sa.URL) -> None:
    """Whether something stands in between is seen in the session, without any right."""
    with psycopg.connect(conninfo(url)) as direct:
        assert not pooler.stands_before(direct)
    with pooled() as it, psycopg.connect(conninfo(it.url(str(url.database)))) as through:
        assert pooler.stands_before(through)


def test_it_tells_its_limits(pooled: Pooled, url: sa.URL) -> None:
    """The limits, the clients that it has and the sessions that are open, which are not counted a second time."""
    with pooled(max_client_conn="50", default_pool_size="7", reserve_pool_size="2", max_db_connections="8") as it:
        through = it.url(str(url.database))
        with psycopg.connect(conninfo(through)) as one, psycopg.connect(conninfo(through)) as other:
            before = preflight.probe(through)
            one.execute("SELECT 1")
            other.execute("SELECT 1")  # in transactions, in two sessions
            found = preflight.probe(through)
        assert found.pooler_capacity == PoolerCapacity(50, 2, 7, 2, most=8)
        assert isinstance(found.pooler, pooler.Limits)
        assert (found.pooler.pool_mode, found.pooler.open_sessions) == ("transaction", 3)
        assert found.capacity == before.capacity


def test_a_newer_one_tells_them_too(pooled: Pooled, url: sa.URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 1.24 on the reserve has another name, which is put into a real answer here: it is read as well."""
    names = {"reserve_pool": "reserve_pool_size"}

    def newer(connection: psycopg.Connection[Any], what: str, shown: Any = pooler.shown) -> list[dict[str, Any]]:
        return [{names.get(name, name): value for name, value in row.items()} for row in shown(connection, what)]

    monkeypatch.setattr(pooler, "shown", newer)
    with pooled(default_pool_size="7", reserve_pool_size="2") as it:
        through = it.url(str(url.database))
        with psycopg.connect(conninfo(through)):  # it knows a database once somebody was there
            found = pooler.limits(through)
    assert isinstance(found, pooler.Limits)
    assert found.capacity.reserve_pool_size == 2


def test_too_many_clients_are_refused(pooled: Pooled, url: sa.URL) -> None:
    """A profile that wants more connections than max_client_conn allows is refused, with both sums."""
    with pooled(max_client_conn="20") as it:
        through = it.url(str(url.database))
        assert _check(through, "asyncpg-pgbouncer@pool_size=10").exit_code == 0
        refused = _check(through, "asyncpg-pgbouncer@pool_size=11")
        assert refused.stdout.splitlines()[-1].endswith("over")
        assert "usable are 20 = max_client_conn 20 - in use 0; PgBouncer may open 20 = " in str(refused.exception)
        with pytest.raises(ConfigurationError, match="the largest pool_size that fits is 10 "):
            preflight.check_budget(loader.load("asyncpg-pgbouncer@pool_size=11"), preflight.probe(through))


def test_too_many_sessions_are_refused(pooled: Pooled, url: sa.URL) -> None:
    """A PgBouncer that may open more sessions than PostgreSQL has is refused, with what would fit."""
    with pooled(default_pool_size="5000") as it:
        found = preflight.probe(it.url(str(url.database)))
    with pytest.raises(
        ConfigurationError, match=r"PgBouncer may open 5000 = .*the largest max_db_connections of PgBouncer"
    ):
        preflight.check_budget(loader.load("asyncpg-pgbouncer"), found)


def test_who_may_not_ask_is_told(pooled: Pooled, url: sa.URL) -> None:
    """Without a right to the console nothing is refused, and it is said what is not known, and who may know."""
    with pooled() as it:
        through = it.url(str(url.database))
        file = it.folder / "pgbouncer.ini"
        file.write_text(file.read_text().replace("admin_users = postgres", "admin_users = somebody"))
        with pooler.console(through) as console:
            console.execute("RELOAD")
        found = preflight.probe(through)
        loaded = loader.load("asyncpg-pgbouncer@pool_size=1000")
        preflight.check_budget(loaded, found)
        (told,) = preflight.check_pooler(loaded, found)
        assert told.startswith("the pooler's own limits are unknown, its console says: not allowed")
        assert "stats_users" in told
        checked = _check(through, "asyncpg-pgbouncer")
        assert checked.exit_code == 0
        assert checked.stdout.splitlines()[-1].endswith("unknown")


def test_what_it_lacks_is_remarked(pooled: Pooled, url: sa.URL) -> None:
    """Timeouts that nobody sets, and another zone, are told, with where to set them; nothing is where all is set."""
    loaded = loader.load("psycopg-pgbouncer")
    with pooled() as it:
        assert preflight.check_pooler(loaded, preflight.probe(it.url(str(url.database)))) == []
    with pooled("SET timezone = 'Europe/Vienna'") as it:
        told = preflight.check_pooler(loaded, preflight.probe(it.url(str(url.database))))
    assert [line.partition(" is ")[0] for line in told] == [
        "statement_timeout", "idle_in_transaction_session_timeout", "timezone",
    ]  # fmt: skip
    assert told[0].startswith("statement_timeout is none behind the pooler, the profile says 5000 ms; set it in")


def test_its_mode_matters(pooled: Pooled, url: sa.URL) -> None:
    """Statement mode is refused, session mode is remarked."""
    loaded = loader.load("asyncpg-pgbouncer")
    with pooled(pool_mode="session") as it:
        (told,) = preflight.check_pooler(loaded, preflight.probe(it.url(str(url.database))))
        assert told.startswith("pool_mode is session: ")
    with pooled(pool_mode="statement") as it:
        found = it.url(str(url.database))
        with pytest.raises(ConfigurationError, match=r"found pool_mode = statement .*allowed is transaction"):
            preflight.check_pooler(loaded, preflight.probe(found))


def test_a_profile_for_postgresql_itself_is_remarked(pooled: Pooled, url: sa.URL) -> None:
    """Who serves through a pooler under a profile that knows of none is told which key it needs."""
    with pooled() as it:
        through = it.url(str(url.database))
        (told,) = preflight.check_pooler(loader.load("psycopg-joined"), preflight.probe(through))
        assert told.endswith("in transaction mode it needs behind_pooler: on")
        assert _check(through, "psycopg-joined").stdout.splitlines()[-1].endswith("not for a pooler")
    assert _check(url, "psycopg-pgbouncer").stdout.splitlines()[-1].endswith("needs a pooler")


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "psycopg-sync"])
def test_serves_through_it_and_survives_its_restart(
    pooled: Pooled, url: sa.URL, deployed: Callable[..., AbstractContextManager[str]], driver: str
) -> None:
    """Two workers under each shipped profile read through PgBouncer, answer 503 while it is away, and serve on when it
    is back."""
    spec = f"{driver}-pgbouncer@workers=2"
    with pooled() as it, deployed(it.url(str(url.database)), BOOKSTORE_PROFILE=spec) as address:
        assert httpx.get(f"{address}/books").json()["items"] == []
        it.stop()
        away = [httpx.get(f"{address}/books") for _ in range(6)]
        assert {(one.status_code, one.json()["code"]) for one in away} == {(503, "db_unavailable")}
        it.start()
        assert wait_until(lambda: httpx.get(f"{address}/health/ready").is_success, 20)
        back = [httpx.get(f"{address}/books").status_code for _ in range(60)]
        assert set(back) <= {200, 503}
        assert set(back[40:]) == {200}  # each of two workers' five connections broke once at most
