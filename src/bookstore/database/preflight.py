"""Preflight checks: probes the server at DATABASE_URL, and checks a profile against pooler and connection budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import psycopg
import sqlalchemy as sa

from bookstore.database import budget, pooler
from bookstore.database.connection import connect, unreachable
from bookstore.database.pooler import Limits
from bookstore.database.session_settings import UNTRACKED
from bookstore.database.url import location
from bookstore.exceptions import ConfigurationError
from bookstore.profile.engine_profile import EngineProfile

_TIMEOUTS: Final = ("statement_timeout", "idle_in_transaction_session_timeout")
_SETTINGS: Final = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"


class ServerProbe(NamedTuple):
    """The server at a DATABASE_URL: its capacity, whether it is behind a pooler, the pooler's limits or why they are
    unknown, and the settings of a session behind the pooler."""

    where: str
    capacity: budget.ServerCapacity
    is_pooled: bool = False
    pooler: Limits | str | None = None
    settings: Mapping[str, str] = {}

    @property
    def pooler_capacity(self) -> budget.PoolerCapacity | None:
        return self.pooler.capacity if isinstance(self.pooler, Limits) else None


def probe(url: sa.URL) -> ServerProbe:
    """Probe the server at `url`. Raises ConfigurationError if it cannot be reached or its encoding is not UTF8."""
    try:
        with connect(url, autocommit=True) as connection:
            row = connection.execute(budget.CAPACITY_SQL.encode()).fetchone()
            assert row
            capacity = budget.ServerCapacity(*row)
            if not pooler.is_pooled(connection):
                return ServerProbe(location(url), capacity)
            settings: dict[str, str] = dict(connection.execute(_SETTINGS, [[*_TIMEOUTS, *UNTRACKED]]).fetchall())
    except psycopg.OperationalError as error:
        raise unreachable(url, error) from None
    limits = pooler.limits(url)
    if isinstance(limits, Limits):
        # The pooler's open sessions are part of what it may open. `in_use` already excludes ours.
        others = max(0, capacity.in_use - max(0, limits.open_sessions - 1))
        capacity = budget.ServerCapacity(capacity.max_connections, capacity.reserved, others)
    return ServerProbe(location(url), capacity, is_pooled=True, pooler=limits, settings=settings)


def check_pooler(profile: EngineProfile, server: ServerProbe) -> list[str]:
    """Return warnings about the pooler, one sentence each. Raises ConfigurationError if the profile needs a pooler and
    there is none, or one in statement mode."""
    if not profile.behind_pooler:
        warning = (
            f"a pooler answers at {server.where}, but profile {profile.name} is made for a direct connection; "
            f"in transaction mode it needs behind_pooler: on"
        )
        return [warning] if server.is_pooled else []
    if not server.is_pooled:
        raise ConfigurationError(
            f"profile {profile.name}: behind_pooler is on, and PostgreSQL itself answers at {server.where}; "
            f"set DATABASE_URL to the address of PgBouncer, or choose a profile without behind_pooler"
        )
    if isinstance(server.pooler, Limits) and server.pooler.pool_mode == "statement":
        raise ConfigurationError(
            f"profile {profile.name}: found pool_mode = statement in the PgBouncer at {server.where}; "
            f"allowed is transaction, because the service writes in transactions"
        )
    return list(_pooler_remarks(profile, server))


def _pooler_remarks(profile: EngineProfile, server: ServerProbe) -> Iterator[str]:
    if isinstance(server.pooler, str):
        yield server.pooler
    elif server.pooler and server.pooler.pool_mode == "session":
        yield "pool_mode is session: each connection occupies a PgBouncer session, and none is shared"
    how = "set it in PgBouncer's connect_query, or with ALTER ROLE"
    limit_ms = round(profile.statement_timeout * 1000)
    if (actual_ms := int(server.settings["statement_timeout"])) != limit_ms:
        actual = f"{actual_ms} ms" if actual_ms else "none"
        yield f"statement_timeout is {actual} behind the pooler, but {limit_ms} ms in the profile; {how}"
    if not int(server.settings["idle_in_transaction_session_timeout"]):
        yield f"idle_in_transaction_session_timeout is none: a lost client would keep its session; {how}"
    for name, wanted in UNTRACKED.items():
        if (actual := server.settings.get(name, wanted)) != wanted:
            yield f"{name} is {actual} behind the pooler, but the service needs {wanted}; {how}"


def check_budget(profile: EngineProfile, server: ServerProbe) -> None:
    """Raise ConfigurationError, with the sum spelled out, if the profile could open more connections than are left.

    Nothing is checked behind a pooler whose limits are unknown: its sessions are not the service's connections."""
    if server.is_pooled and not server.pooler_capacity:
        return
    planned = budget.budget(profile, server.capacity, server.pooler_capacity)
    if not planned.fits:
        raise ConfigurationError(
            f"profile {profile.name}: over the connection budget: {budget.describe(profile, planned)}; "
            f"{budget.advice(profile, planned)} (or serve with --over-budget)"
        )
