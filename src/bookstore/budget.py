"""The connection budget: what a deployment may open against what the server has left."""

from __future__ import annotations

import msgspec

from bookstore.profile import EngineProfile


class ServerCapacity(msgspec.Struct, frozen=True):
    """Connections: the server's limit, those kept for superusers and reserved roles, those in use now."""

    max_connections: int
    reserved: int
    in_use: int

    @property
    def usable(self) -> int:
        return max(0, self.max_connections - self.reserved - self.in_use)


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
    while a worker is replaced, the old one and the new one both hold a pool."""

    workers: int
    per_worker: int
    capacity: ServerCapacity

    @property
    def needed(self) -> int:
        return (self.workers + 1) * self.per_worker

    @property
    def fits(self) -> bool:
        return self.needed <= self.capacity.usable

    @property
    def largest_per_worker(self) -> int:
        """The largest pool_size + max_overflow that would fit; 0 where none does."""
        return self.capacity.usable // (self.workers + 1)


def budget(profile: EngineProfile, capacity: ServerCapacity) -> Budget:
    return Budget(profile.workers, profile.connections_per_worker, capacity)


def sentence(profile: EngineProfile, it: Budget) -> str:
    """The sum spelled out: `needs 10 = (1 worker + 1 while one is replaced) x (5 + 0); 97 of … left`."""
    if profile.pool == "queue":
        each = f"(pool_size {profile.pool_size} + max_overflow {profile.max_overflow})"
    else:
        each = f"{it.per_worker} ({'threads' if profile.is_sync else 'backpressure'}, pool: null)"
    workers = f"{it.workers} worker{'s' if it.workers > 1 else ''}"
    have = it.capacity
    return (
        f"needs {it.needed} = ({workers} + 1 while one is replaced) x {each}; "
        f"usable are {have.usable} = max_connections {have.max_connections} "
        f"- reserved {have.reserved} - in use {have.in_use}"
    )


def advice(profile: EngineProfile, it: Budget) -> str:
    """What would fit, for a budget that does not."""
    largest = it.largest_per_worker
    if profile.pool == "null":
        key = "threads" if profile.is_sync else "backpressure"
        return f"the largest {key} that fits is {largest}" if largest else "no number of connections fits"
    if largest > profile.max_overflow:
        return f"the largest pool_size that fits is {largest - profile.max_overflow}"
    if largest:
        return f"no pool_size fits beside max_overflow {profile.max_overflow}; with max_overflow 0, {largest}"
    return f"no pool_size fits: fewer than {it.workers + 1} connections are left; use fewer workers"
