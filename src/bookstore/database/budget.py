"""The connection budget: what a deployment may open against what the server has left."""

from __future__ import annotations

import msgspec

from bookstore.profile.engine_profile import EngineProfile


class ServerCapacity(msgspec.Struct, frozen=True):
    """Connections: the server's limit, those kept for superusers and reserved roles, those in use now."""

    max_connections: int
    reserved: int
    in_use: int

    @property
    def usable(self) -> int:
        return max(0, self.max_connections - self.reserved - self.in_use)


class PoolerCapacity(msgspec.Struct, frozen=True):
    """A PgBouncer's limits: clients it lets in and has now; sessions it may open for our database and role."""

    max_client_conn: int
    clients: int
    pool_size: int
    reserve_pool_size: int = 0
    most: int | None = None
    """max_db_connections or max_user_connections, the smaller one, where one of them is set."""

    @property
    def usable(self) -> int:
        return max(0, self.max_client_conn - self.clients)

    @property
    def sessions(self) -> int:
        every = self.pool_size + self.reserve_pool_size
        return every if self.most is None else min(every, self.most)


CAPACITY_SQL = """
    SELECT current_setting('max_connections')::int,
           current_setting('superuser_reserved_connections')::int
             + coalesce(current_setting('reserved_connections', true), '0')::int,
           (SELECT count(*) FROM pg_stat_activity
             WHERE datid IS NOT NULL AND pid <> pg_backend_pid()
               AND coalesce(backend_type, 'client backend') = 'client backend')::int
"""
"""One row of ServerCapacity's three numbers; `reserved_connections` exists from PostgreSQL 16. An ordinary role
is not told what kind others' sessions are, only that they have a database: each of those is counted."""


class Budget(msgspec.Struct, frozen=True):
    """A profile's worst case against a server's capacity. One more worker than the profile's is counted:
    while a worker is replaced, the old one and the new one both hold a pool. Behind a `pooler` the service's
    connections are its clients, and the sessions that it may open have to fit into the server."""

    workers: int
    per_worker: int
    capacity: ServerCapacity
    pooler: PoolerCapacity | None = None

    @property
    def needed(self) -> int:
        return (self.workers + 1) * self.per_worker

    @property
    def usable(self) -> int:
        """How many connections the service may open, wherever they end."""
        return self.pooler.usable if self.pooler else self.capacity.usable

    @property
    def fits(self) -> bool:
        return self.needed <= self.usable and self.pooler_fits

    @property
    def pooler_fits(self) -> bool:
        """Whether the server has as many sessions as the pooler may open; true without one."""
        return self.pooler is None or self.pooler.sessions <= self.capacity.usable

    @property
    def largest_per_worker(self) -> int:
        """The largest pool_size + max_overflow that would fit; 0 where none does."""
        return self.usable // (self.workers + 1)


def budget(profile: EngineProfile, capacity: ServerCapacity, pooler: PoolerCapacity | None = None) -> Budget:
    return Budget(profile.workers, profile.connections_per_worker, capacity, pooler)


def sentence(profile: EngineProfile, it: Budget) -> str:
    """The sum spelled out: `needs 10 = (1 worker + 1 while one is replaced) x (5 + 0); 97 of … left`."""
    if profile.pool == "queue":
        each = f"(pool_size {profile.pool_size} + max_overflow {profile.max_overflow})"
    else:
        each = f"{it.per_worker} ({'threads' if profile.is_sync else 'backpressure'}, pool: null)"
    workers = f"{it.workers} worker{'s' if it.workers > 1 else ''}"
    needs = f"needs {it.needed} = ({workers} + 1 while one is replaced) x {each}"
    have = it.capacity
    room = (
        f"usable are {have.usable} = max_connections {have.max_connections} "
        f"- reserved {have.reserved} - in use {have.in_use}"
    )
    return f"{needs}; {_through(it.pooler)}; {room}" if it.pooler else f"{needs}; {room}"


def _through(pooler: PoolerCapacity) -> str:
    """`usable are 999 = max_client_conn 1000 - in use 1; PgBouncer may open 20 = pool_size 20 + …`."""
    most = "" if pooler.most is None else f", at most {pooler.most}"
    return (
        f"usable are {pooler.usable} = max_client_conn {pooler.max_client_conn} - in use {pooler.clients}; "
        f"PgBouncer may open {pooler.sessions} = "
        f"pool_size {pooler.pool_size} + reserve_pool_size {pooler.reserve_pool_size}{most}"
    )


def advice(profile: EngineProfile, it: Budget) -> str:
    """What would fit, for a budget that does not."""
    if it.needed <= it.usable:
        return f"the largest max_db_connections of PgBouncer that fits is {it.capacity.usable}"
    largest = it.largest_per_worker
    if profile.pool == "null":
        key = "threads" if profile.is_sync else "backpressure"
        return f"the largest {key} that fits is {largest}" if largest else "no number of connections fits"
    if largest > profile.max_overflow:
        return f"the largest pool_size that fits is {largest - profile.max_overflow}"
    if largest:
        return f"no pool_size fits beside max_overflow {profile.max_overflow}; with max_overflow 0, {largest}"
    return f"no pool_size fits: fewer than {it.workers + 1} connections are left; use fewer workers"
