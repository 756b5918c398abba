"""Preflight: what answers at DATABASE_URL, and whether a profile fits its pooler and its connection budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import psycopg
import sqlalchemy as sa

from bookstore.database import budget, pooler
from bookstore.database.pooler import Limits
from bookstore.database.url import conninfo, server
from bookstore.exceptions import ConfigurationError
from bookstore.profile.engine_profile import EngineProfile

_SETTINGS: Final = """
    SELECT name, setting FROM pg_settings
    WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'TimeZone')
"""


class ServerProbe(NamedTuple):
    """What answers at a DATABASE_URL: the server's capacity, whether a pooler stands before it, what that says of
    itself or why it does not, and the settings that a session gets there."""

    where: str
    capacity: budget.ServerCapacity
    is_pooled: bool = False
    pooler: Limits | str | None = None
    settings: Mapping[str, str] = {}

    @property
    def pooler_capacity(self) -> budget.PoolerCapacity | None:
        return self.pooler.capacity if isinstance(self.pooler, Limits) else None


def probe(url: sa.URL) -> ServerProbe:
    """What answers at `url`, and what it has left. Raises ConfigurationError where it cannot be reached."""
    try:
        with psycopg.connect(conninfo(url), autocommit=True, connect_timeout=3, prepare_threshold=None) as connection:
            row = connection.execute(budget.CAPACITY_SQL.encode()).fetchone()
            assert row
            capacity = budget.ServerCapacity(*row)
            if not pooler.stands_before(connection):
                return ServerProbe(server(url), capacity)
            settings: dict[str, str] = dict(connection.execute(_SETTINGS.encode()).fetchall())
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigurationError(f"database {server(url)}: cannot be reached: {reason}") from None
    told = pooler.limits(url)
    if isinstance(told, Limits):  # what it has open for us is within what it may open; one was not counted: ours
        others = max(0, capacity.in_use - max(0, told.open_sessions - 1))
        capacity = budget.ServerCapacity(capacity.max_connections, capacity.reserved, others)
    return ServerProbe(server(url), capacity, is_pooled=True, pooler=told, settings=settings)


def check_pooler(profile: EngineProfile, found: ServerProbe) -> list[str]:
    """What an operator should know of the pooler, a sentence each. Raises ConfigurationError where the profile needs
    one and there is none, or one that cannot serve it."""
    if not profile.behind_pooler:
        told = f"a pooler answers at {found.where}, and profile {profile.name} is made for PostgreSQL itself; in "
        return [told + "transaction mode it needs behind_pooler: on"] if found.is_pooled else []
    if not found.is_pooled:
        raise ConfigurationError(
            f"profile {profile.name}: behind_pooler is on, and PostgreSQL itself answers at {found.where}; "
            f"set DATABASE_URL to the address of PgBouncer, or choose a profile without behind_pooler"
        )
    if isinstance(found.pooler, Limits) and found.pooler.pool_mode == "statement":
        raise ConfigurationError(
            f"profile {profile.name}: found pool_mode = statement in the PgBouncer at {found.where}; "
            f"allowed is transaction: the service writes in transactions"
        )
    return list(_remarks(profile, found))


def _remarks(profile: EngineProfile, found: ServerProbe) -> Iterator[str]:
    if isinstance(found.pooler, str):
        yield found.pooler
    elif found.pooler and found.pooler.pool_mode == "session":
        yield "pool_mode is session: each connection keeps one of PgBouncer's sessions, none is shared"
    how = "set it in PgBouncer's connect_query, or with ALTER ROLE"
    limit_ms = round(profile.statement_timeout * 1000)
    if (found_ms := int(found.settings["statement_timeout"])) != limit_ms:
        has = f"{found_ms} ms" if found_ms else "none"
        yield f"statement_timeout is {has} behind the pooler, the profile says {limit_ms} ms; {how}"
    if not int(found.settings["idle_in_transaction_session_timeout"]):
        yield f"idle_in_transaction_session_timeout is none: a lost client would keep a session; {how}"
    if profile.driver != "asyncpg" and (zone := found.settings["TimeZone"]) != "UTC":
        yield f"timezone is {zone} behind the pooler, times are answered in it; set timezone=UTC in [databases]"


def check_budget(profile: EngineProfile, found: ServerProbe) -> None:
    """Raises ConfigurationError, with the sum spelled out, for a profile that could open more than is left. Where a
    pooler does not tell its limits there is nothing to check: its sessions are not the service's connections."""
    if found.is_pooled and not found.pooler_capacity:
        return
    it = budget.budget(profile, found.capacity, found.pooler_capacity)
    if not it.fits:
        raise ConfigurationError(
            f"profile {profile.name}: over the connection budget: {budget.sentence(profile, it)}; "
            f"{budget.advice(profile, it)} (or serve with --over-budget)"
        )
