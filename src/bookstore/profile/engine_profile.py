"""The keys of an engine profile: type, bounds, default, effect and cost of each."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

Driver = Literal["asyncpg", "psycopg", "psycopg-sync"]
Loading = Literal["lazy", "joined", "selectin", "subquery", "rows", "json"]
Isolation = Literal["AUTOCOMMIT", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


def _text(description: str) -> Meta:
    return Meta(description=description)


def _number(least: int, most: int, description: str) -> Meta:
    return Meta(ge=least, le=most, description=description)


def _duration(least: float, most: float, description: str) -> Meta:
    return Meta(ge=least, le=most, extra={"duration": True}, description=description)


class EngineProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One complete configuration of the service.

    Keys have SQLAlchemy's names where it has them. Durations are seconds here and texts such as `2s` in a file. The
    defaults are the ones that `profiles/default.yaml` builds on. The JSON Schema and the reference repeat each
    description, which says what the key does and what it costs.
    """

    name: str
    description: Annotated[
        str,
        Meta(max_length=400, description="What the profile is for, in one sentence; it has no effect."),
    ] = ""

    driver: Annotated[
        Driver,
        _text(
            "Database driver: asyncpg and psycopg wait on the event loop, psycopg-sync waits in threads, which "
            "cost memory and context switches."
        ),
    ] = "asyncpg"
    loading: Annotated[
        Loading,
        _text(
            "How books are loaded with their authors and genres: lazy sends further queries for each book (N+1), "
            "joined sends one query with wide rows, selectin and subquery send three queries, rows skips the ORM's "
            "objects, json lets PostgreSQL build the JSON."
        ),
    ] = "selectin"
    isolation_level: Annotated[
        Isolation,
        _text(
            "Isolation level of units of work that read; every level but AUTOCOMMIT costs a BEGIN and a COMMIT, "
            "two more round trips per request."
        ),
    ] = "AUTOCOMMIT"
    statement_timeout: Annotated[
        float,
        _duration(0.1, 3600, "How long one statement may run before PostgreSQL cancels it, so that no statement "
                  "holds its connection forever."),
    ] = 5.0  # fmt: skip
    prepared_statements: Annotated[
        bool,
        _text(
            "Whether the driver prepares statements: saves parsing and planning, costs memory in each session; "
            "off behind a pooler in transaction mode."
        ),
    ] = True
    behind_pooler: Annotated[
        bool,
        _text(
            "Whether a PgBouncer in transaction mode is in front of PostgreSQL: many clients share few sessions, at "
            "the cost of one more hop per round trip; nothing is prepared, and PgBouncer has to set the timeouts."
        ),
    ] = False
    echo: Annotated[bool, _text("Whether each SQL statement is logged; for debugging only, because it is slow.")] = (
        False
    )

    pool: Annotated[
        Literal["queue", "null"],
        _text("queue keeps connections open for reuse, null opens and closes one for each request."),
    ] = "queue"
    pool_size: Annotated[
        int,
        _number(1, 1000, "How many connections each worker keeps open; each costs PostgreSQL a process."),
    ] = 5
    max_overflow: Annotated[
        int,
        _number(0, 1000, "How many connections each worker may open beyond pool_size and close after use; "
                "each use costs a connect."),
    ] = 0  # fmt: skip
    pool_timeout: Annotated[
        float,
        _duration(0.1, 600, "How long a request waits for a connection before it is answered with 503; a longer "
                  "timeout hides an overload from clients."),
    ] = 2.0  # fmt: skip
    max_waiting: Annotated[
        int,
        _number(0, 100_000, "How many units of work may wait for a connection in each worker; further ones are "
                "answered with 503 at once, which costs both sides less than a wait that times out."),
    ] = 200  # fmt: skip
    pool_recycle: Annotated[
        float,
        _duration(1, 86400, "The age at which a connection is replaced at its next checkout; each replacement "
                  "costs a connect."),
    ] = 1800.0  # fmt: skip
    pool_pre_ping: Annotated[
        bool,
        _text("Whether a connection is tested before each use: requests survive a restart of PostgreSQL, "
              "for one more round trip per request."),
    ] = False  # fmt: skip
    pool_use_lifo: Annotated[
        bool,
        _text("Whether the connection that was used last is used first: idle connections stay idle, so the server "
              "may close them, and a few connections carry most of the load."),
    ] = False  # fmt: skip

    workers: Annotated[
        int,
        _number(1, 256, "How many processes serve; each has its own pool, so connections and memory grow "
                "with it. WEB_CONCURRENCY overrides it."),
    ] = 1  # fmt: skip
    threads: (
        Annotated[
            int,
            _number(1, 1000, "How many threads of a worker run units of work, with psycopg-sync only; threads "
                    "beyond the number of connections queue for the pool."),
        ]
        | None
    ) = None  # fmt: skip
    event_loop: Annotated[
        Literal["uvloop", "asyncio"],
        _text("The event loop: uvloop takes less CPU per request, asyncio is Python's own."),
    ] = "uvloop"
    gc: Annotated[
        Literal["freeze", "default"],
        _text("freeze exempts the objects created at startup from garbage collection and collects after 10,000 "
              "new objects; default is Python's own behaviour."),
    ] = "freeze"  # fmt: skip
    backpressure: Annotated[
        int,
        _number(1, 65535, "How many client connections each worker serves at once, idle keep-alive ones included; "
                "further ones wait in the socket's queue."),
    ] = 1024  # fmt: skip

    compression: Annotated[
        bool,
        _text(
            "Whether bodies of 1 kB or more are sent as zstd, br or gzip to clients that accept it: a fifth of the "
            "bytes, for some 50 to 150 µs of CPU per page of 100 books."
        ),
    ] = True

    @property
    def is_sync(self) -> bool:
        return self.driver == "psycopg-sync"

    @property
    def thread_count(self) -> int:
        """Number of threads that a worker's Database owns; 0 with an async driver."""
        if not self.is_sync:
            return 0
        return self.threads or self.pool_size + self.max_overflow

    @property
    def units_at_once(self) -> int:
        """How many units of work of one worker can hold a connection at the same time; further ones wait."""
        return min(self.thread_count, self.connections_per_worker) if self.is_sync else self.connections_per_worker

    @property
    def connections_per_worker(self) -> int:
        """The maximum number of database connections that one worker can hold open.

        Without a pool each request in flight has one: as many as threads (sync) or client connections (async)."""
        if self.pool == "queue":
            return self.pool_size + self.max_overflow
        return self.thread_count if self.is_sync else self.backpressure


KEYS: Final = tuple(field for field in EngineProfile.__struct_fields__ if field != "name")
"""The keys that a profile file may contain, besides `extends`."""

POOL_KEYS: Final = (
    "pool_size", "max_overflow", "pool_timeout", "pool_recycle", "pool_pre_ping", "pool_use_lifo",
)  # fmt: skip
"""The keys that have no meaning without a pool."""
