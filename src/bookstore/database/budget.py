"""The connection budget: the connections a deployment may open against those the server has left."""

from __future__ import annotations

import msgspec

from bookstore.profile.engine_profile import EngineProfile


class ServerCapacity(msgspec.Struct, frozen=True):
    """A server's connections: its limit, those reserved for superusers and reserved roles, those in use now."""

    max_connections: int
    reserved: int
    in_use: int

    @property
    def usable(self) -> int:
        return max(0, self.max_connections - self.reserved - self.in_use)


class PoolerCapacity(msgspec.Struct, frozen=True):
    """A PgBouncer's limits: clients it accepts and has now, and sessions it may open for our database and role."""

    max_client_conn: int
    clients: int
    pool_size: int
    reserve_pool_size: int = 0
    max_sessions: int | None = None
    """The smaller one of max_db_connections and max_user_connections; None if neither is set."""

    @property
    def usable(self) -> int:
        return max(0, self.max_client_conn - self.clients)

    @property
    def sessions(self) -> int:
        total = self.pool_size + self.reserve_pool_size
        return total if self.max_sessions is None else min(total, self.max_sessions)


CAPACITY_SQL = """
    SELECT current_setting('max_connections')::int,
           current_setting('superuser_reserved_connections')::int
             + coalesce(current_setting('reserved_connections', true), '0')::int,
           (SELECT count(*) FROM pg_stat_activity
             WHERE datid IS NOT NULL AND pid <> pg_backend_pid()
               AND coalesce(backend_type, 'client backend') = 'client backend')::int
"""
"""Returns one row with the three numbers of ServerCapacity. `reserved_connections` exists from PostgreSQL 16 on.
An ordinary role sees only that others' sessions have a database, not their backend type, so all of them count."""


class Budget(msgspec.Struct, frozen=True):
    """A profile's worst case against a server's capacity.

    One worker more than the profile's is counted: while a worker is replaced, the old and the new one both hold a pool.
    Behind a `pooler` the service's connections are the pooler's clients, and the pooler's sessions have to fit into
    the server."""

    workers: int
    per_worker: int
    capacity: ServerCapacity
    pooler: PoolerCapacity | None = None

    @property
    def needed(self) -> int:
        return (self.workers + 1) * self.per_worker

    @property
    def usable(self) -> int:
        """How many connections the service may open, to the pooler or to the server."""
        return self.pooler.usable if self.pooler else self.capacity.usable

    @property
    def fits(self) -> bool:
        return self.needed <= self.usable and self.pooler_fits

    @property
    def pooler_fits(self) -> bool:
        """Whether the server has as many connections left as the pooler may open; true without a pooler."""
        return self.pooler is None or self.pooler.sessions <= self.capacity.usable

    @property
    def largest_per_worker(self) -> int:
        """The largest pool_size + max_overflow that would fit; 0 if none does."""
        return self.usable // (self.workers + 1)


def budget(profile: EngineProfile, capacity: ServerCapacity, pooler: PoolerCapacity | None = None) -> Budget:
    return Budget(profile.workers, profile.connections_per_worker, capacity, pooler)


def describe(profile: EngineProfile, budget: Budget) -> str:
    """Spell out the sum: `needs 10 = (1 worker + 1 while one is replaced) x (…); usable are 90 = …`."""
    if profile.pool == "queue":
        each = f"(pool_size {profile.pool_size} + max_overflow {profile.max_overflow})"
    else:
        each = f"{budget.per_worker} ({'threads' if profile.is_sync else 'backpressure'}, pool: null)"
    workers = f"{budget.workers} worker{'s' if budget.workers > 1 else ''}"
    needs = f"needs {budget.needed} = ({workers} + 1 while one is replaced) x {each}"
    server = budget.capacity
    usable = (
        f"usable are {server.usable} = max_connections {server.max_connections} "
        f"- reserved {server.reserved} - in use {server.in_use}"
    )
    return f"{needs}; {_describe_pooler(budget.pooler)}; {usable}" if budget.pooler else f"{needs}; {usable}"


def _describe_pooler(pooler: PoolerCapacity) -> str:
    """Return `usable are 999 = max_client_conn 1000 - in use 1; PgBouncer may open 20 = pool_size 20 + …`."""
    cap = "" if pooler.max_sessions is None else f", at most {pooler.max_sessions}"
    return (
        f"usable are {pooler.usable} = max_client_conn {pooler.max_client_conn} - in use {pooler.clients}; "
        f"PgBouncer may open {pooler.sessions} = "
        f"pool_size {pooler.pool_size} + reserve_pool_size {pooler.reserve_pool_size}{cap}"
    )


def advice(profile: EngineProfile, budget: Budget) -> str:
    """Return what would fit, for a budget that does not."""
    if budget.needed <= budget.usable:
        return f"the largest max_db_connections of PgBouncer that fits is {budget.capacity.usable}"
    largest = budget.largest_per_worker
    if profile.pool == "null":
        key = "threads" if profile.is_sync else "backpressure"
        return f"the largest {key} that fits is {largest}" if largest else "no number of connections fits"
    if largest > profile.max_overflow:
        return f"the largest pool_size that fits is {largest - profile.max_overflow}"
    if largest:
        return f"no pool_size fits with max_overflow {profile.max_overflow}; with max_overflow 0, {largest} fits"
    return f"no pool_size fits: fewer than {budget.workers + 1} connections are left; use fewer workers"
