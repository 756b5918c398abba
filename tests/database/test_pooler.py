"""The limits of a PgBouncer, the checks against them, and the output of `serve` and `profiles check`."""

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


def test_detects_a_pooler(pooled: Pooled, url: sa.URL) -> None:
    """Whether a pooler is in front of PostgreSQL is detected in the session, without privileges."""
    with psycopg.connect(conninfo(url)) as direct:
        assert not pooler.is_pooled(direct)
    with pooled() as bouncer, psycopg.connect(conninfo(bouncer.url(str(url.database)))) as through:
        assert pooler.is_pooled(through)


def test_reads_limits(pooled: Pooled, url: sa.URL) -> None:
    """The limits, clients and open sessions are read; the open sessions are not counted twice."""
    with pooled(max_client_conn="50", default_pool_size="7", reserve_pool_size="2", max_db_connections="8") as bouncer:
        through = bouncer.url(str(url.database))
        with psycopg.connect(conninfo(through)) as first, psycopg.connect(conninfo(through)) as second:
            before = preflight.probe(through)
            first.execute("SELECT 1")
            second.execute("SELECT 1")  # in transactions, in two sessions
            probe = preflight.probe(through)
        assert probe.pooler_capacity == PoolerCapacity(50, 2, 7, 2, max_sessions=8)
        assert isinstance(probe.pooler, pooler.Limits)
        assert (probe.pooler.pool_mode, probe.pooler.open_sessions) == ("transaction", 3)
        assert probe.capacity == before.capacity


def test_reads_limits_of_newer_versions(pooled: Pooled, url: sa.URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """PgBouncer 1.24 and later report the reserve under another name, substituted here into a real response."""
    names = {"reserve_pool": "reserve_pool_size"}

    def newer(connection: psycopg.Connection[Any], subject: str, show: Any = pooler.show) -> list[dict[str, Any]]:
        return [{names.get(name, name): value for name, value in row.items()} for row in show(connection, subject)]

    monkeypatch.setattr(pooler, "show", newer)
    with pooled(default_pool_size="7", reserve_pool_size="2") as bouncer:
        through = bouncer.url(str(url.database))
        with psycopg.connect(conninfo(through)):  # PgBouncer lists a database after its first client
            limits = pooler.limits(through)
    assert isinstance(limits, pooler.Limits)
    assert limits.capacity.reserve_pool_size == 2


def test_rejects_too_many_clients(pooled: Pooled, url: sa.URL) -> None:
    """A profile that needs more connections than max_client_conn is rejected, with both sums."""
    with pooled(max_client_conn="20") as bouncer:
        through = bouncer.url(str(url.database))
        assert _check(through, "asyncpg-pgbouncer@pool_size=10").exit_code == 0
        result = _check(through, "asyncpg-pgbouncer@pool_size=11")
        assert result.stdout.splitlines()[-1].endswith("over")
        assert "usable are 20 = max_client_conn 20 - in use 0; PgBouncer may open 20 = " in str(result.exception)
        with pytest.raises(ConfigurationError, match="the largest pool_size that fits is 10 "):
            preflight.check_budget(loader.load("asyncpg-pgbouncer@pool_size=11"), preflight.probe(through))


def test_rejects_too_many_sessions(pooled: Pooled, url: sa.URL) -> None:
    """A PgBouncer that may open more sessions than PostgreSQL has left is rejected, with what would fit."""
    with pooled(default_pool_size="5000") as bouncer:
        probe = preflight.probe(bouncer.url(str(url.database)))
    with pytest.raises(
        ConfigurationError, match=r"PgBouncer may open 5000 = .*the largest max_db_connections of PgBouncer"
    ):
        preflight.check_budget(loader.load("asyncpg-pgbouncer"), probe)


def test_no_access_to_the_console(pooled: Pooled, url: sa.URL) -> None:
    """Without access to the console nothing is rejected; a warning says what is unknown and which role may see it."""
    with pooled() as bouncer:
        through = bouncer.url(str(url.database))
        file = bouncer.folder / "pgbouncer.ini"
        file.write_text(file.read_text().replace("admin_users = postgres", "admin_users = somebody"))
        with pooler.console(through) as console:
            console.execute("RELOAD")
        probe = preflight.probe(through)
        loaded = loader.load("asyncpg-pgbouncer@pool_size=1000")
        preflight.check_budget(loaded, probe)
        (warning,) = preflight.check_pooler(loaded, probe)
        assert warning.startswith("the pooler's limits are unknown, its console says: not allowed")
        assert "stats_users" in warning
        checked = _check(through, "asyncpg-pgbouncer")
        assert checked.exit_code == 0
        assert checked.stdout.splitlines()[-1].endswith("unknown")


def test_missing_settings_cause_warnings(pooled: Pooled, url: sa.URL) -> None:
    """Missing timeouts and settings that change answers cause warnings that say where to set them; a complete setup
    causes none, and neither does a setting that the service can set through the pooler."""
    loaded = loader.load("psycopg-pgbouncer")
    with pooled() as bouncer:
        assert preflight.check_pooler(loaded, preflight.probe(bouncer.url(str(url.database)))) == []
    with pooled("SET timezone = 'Europe/Vienna'; SET extra_float_digits = 0") as bouncer:
        warnings = preflight.check_pooler(loaded, preflight.probe(bouncer.url(str(url.database))))
    assert [line.partition(" is ")[0] for line in warnings] == [
        "statement_timeout", "idle_in_transaction_session_timeout", "extra_float_digits",
    ]  # fmt: skip
    assert warnings[0].startswith("statement_timeout is none behind the pooler, but 5000 ms in the profile; set it in")


def test_pool_modes(pooled: Pooled, url: sa.URL) -> None:
    """Statement mode is rejected, session mode causes a warning."""
    loaded = loader.load("asyncpg-pgbouncer")
    with pooled(pool_mode="session") as bouncer:
        (warning,) = preflight.check_pooler(loaded, preflight.probe(bouncer.url(str(url.database))))
        assert warning.startswith("pool_mode is session: ")
    with pooled(pool_mode="statement") as bouncer:
        through = bouncer.url(str(url.database))
        with pytest.raises(ConfigurationError, match=r"found pool_mode = statement .*allowed is transaction"):
            preflight.check_pooler(loaded, preflight.probe(through))


def test_profile_without_behind_pooler(pooled: Pooled, url: sa.URL) -> None:
    """A profile without behind_pooler causes a warning behind a pooler that names the missing key."""
    with pooled() as bouncer:
        through = bouncer.url(str(url.database))
        (warning,) = preflight.check_pooler(loader.load("psycopg-joined"), preflight.probe(through))
        assert warning.endswith("in transaction mode it needs behind_pooler: on")
        assert _check(through, "psycopg-joined").stdout.splitlines()[-1].endswith("not for a pooler")
    assert _check(url, "psycopg-pgbouncer").stdout.splitlines()[-1].endswith("needs a pooler")


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "psycopg-sync"])
def test_serves_through_pgbouncer_and_survives_its_restart(
    pooled: Pooled, url: sa.URL, deployed: Callable[..., AbstractContextManager[str]], driver: str
) -> None:
    """Two workers of each shipped profile read through PgBouncer, answer 503 while it is down, and recover when it is
    back."""
    spec = f"{driver}-pgbouncer@workers=2"
    with pooled() as bouncer, deployed(bouncer.url(str(url.database)), BOOKSTORE_PROFILE=spec) as address:
        assert httpx.get(f"{address}/books").json()["items"] == []
        bouncer.stop()
        away = [httpx.get(f"{address}/books") for _ in range(6)]
        assert {(response.status_code, response.json()["code"]) for response in away} == {(503, "db_unavailable")}
        bouncer.start()
        assert wait_until(lambda: httpx.get(f"{address}/health/ready").is_success, 20)
        back = [httpx.get(f"{address}/books").status_code for _ in range(60)]
        assert set(back) <= {200, 503}
        assert set(back[40:]) == {200}  # each of two workers' five connections broke once at most
