"""What a profile can say: every key, its type, bounds, default, and what it does and costs."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

Driver = Literal["asyncpg", "psycopg", "psycopg-sync"]
Loading = Literal["lazy", "joined", "selectin", "subquery", "rows", "json"]
Isolation = Literal["AUTOCOMMIT", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


def _told(description: str) -> Meta:
    return Meta(description=description)


def _number(least: int, most: int, description: str) -> Meta:
    return Meta(ge=least, le=most, description=description)


def _duration(least: float, most: float, description: str) -> Meta:
    return Meta(ge=least, le=most, extra={"duration": True}, description=description)


class EngineProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One complete configuration of the service. Keys are SQLAlchemy's where it has them; durations are
    seconds here and texts such as `2s` in a file. The defaults are what `profiles/default.yaml` builds on.
    Each description says what a key does and what it costs; the JSON Schema and the reference repeat it.
    """

    name: str
    description: Annotated[
        str,
        Meta(max_length=400, description="What the profile is for, in a sentence; it changes nothing."),
    ] = ""

    driver: Annotated[
        Driver,
        _told(
            "How the service talks to PostgreSQL: asyncpg and psycopg wait on the event loop, psycopg-sync "
            "waits in threads, which cost memory and switches."
        ),
    ] = "asyncpg"
    loading: Annotated[
        Loading,
        _told(
            "How books come with their authors and genres: lazy asks again for each book (N+1), joined asks "
            "once for wide rows, selectin and subquery ask three times, rows skips the ORM's objects, json "
            "lets PostgreSQL write the JSON."
        ),
    ] = "selectin"
    isolation_level: Annotated[
        Isolation,
        _told(
            "What a unit of work that reads sees of others; any but AUTOCOMMIT costs a BEGIN and a COMMIT, "
            "two more round trips a request."
        ),
    ] = "AUTOCOMMIT"
    statement_timeout: Annotated[
        float,
        _duration(0.1, 3600, "How long one statement may run before PostgreSQL cancels it, so that none "
                  "holds its connection for ever."),
    ] = 5.0  # fmt: skip
    prepared_statements: Annotated[
        bool,
        _told(
            "Whether the driver prepares statements: saves parsing and planning, costs memory in each "
            "session; off behind a pooler in transaction mode."
        ),
    ] = True
    behind_pooler: Annotated[
        bool,
        _told(
            "Whether a PgBouncer in transaction mode stands before PostgreSQL: many clients share few sessions, for "
            "one more hop a round trip; nothing is prepared, and timeouts have to come from there."
        ),
    ] = False
    echo: Annotated[bool, _told("Whether each SQL statement is logged; for looking on only, it costs much time.")] = (
        False
    )

    pool: Annotated[
        Literal["queue", "null"],
        _told("queue keeps connections open and lends them out, null opens and closes one for each request."),
    ] = "queue"
    pool_size: Annotated[
        int,
        _number(1, 1000, "How many connections each worker keeps open; each costs PostgreSQL a process."),
    ] = 5
    max_overflow: Annotated[
        int,
        _number(0, 1000, "How many connections each worker may open beyond pool_size and closes after use; "
                "each of those costs a connect."),
    ] = 0  # fmt: skip
    pool_timeout: Annotated[
        float,
        _duration(0.1, 600, "How long a request waits for a connection before it is answered 503; longer "
                  "hides an overload from clients."),
    ] = 2.0  # fmt: skip
    max_waiting: Annotated[
        int,
        _number(0, 100_000, "How many units of work may wait for a connection in each worker; further ones are "
                "answered 503 at once, which is cheaper for both sides than to wait in vain."),
    ] = 200  # fmt: skip
    pool_recycle: Annotated[
        float,
        _duration(1, 86400, "The age at which a connection is replaced when it is next lent out; each time "
                  "costs a connect."),
    ] = 1800.0  # fmt: skip
    pool_pre_ping: Annotated[
        bool,
        _told("Whether a connection is tried before each use: survives a restart of PostgreSQL unnoticed, "
              "costs one more round trip a request."),
    ] = False  # fmt: skip
    pool_use_lifo: Annotated[
        bool,
        _told("Whether the connection used last is lent out first: idle ones stay idle and the server may "
              "close them, the busy ones wear."),
    ] = False  # fmt: skip

    workers: Annotated[
        int,
        _number(1, 256, "How many processes serve; each has its own pool, so connections and memory grow "
                "with it. WEB_CONCURRENCY goes over it."),
    ] = 1  # fmt: skip
    threads: (
        Annotated[
            int,
            _number(1, 1000, "How many threads of a worker run units of work, with psycopg-sync only; more "
                    "than connections queue for the pool."),
        ]
        | None
    ) = None  # fmt: skip
    event_loop: Annotated[
        Literal["uvloop", "asyncio"],
        _told("What runs the event loop: uvloop takes less CPU a request, asyncio is Python's own."),
    ] = "uvloop"
    gc: Annotated[
        Literal["freeze", "default"],
        _told("freeze keeps the garbage collector away from what start-up made and lets it run less often, "
              "for some more memory; default is Python's own."),
    ] = "freeze"  # fmt: skip
    backpressure: Annotated[
        int,
        _number(1, 65535, "How many client connections each worker serves at once, kept-alive idle ones too; "
                "further ones wait in the socket's queue."),
    ] = 1024  # fmt: skip

    compression: Annotated[
        bool,
        _told(
            "Whether bodies of 1 kB or more are sent as zstd, br or gzip to clients that ask for it: a fifth of the "
            "bytes, for some 50 to 150 µs of CPU a page of 100 books."
        ),
    ] = True

    @property
    def is_sync(self) -> bool:
        return self.driver == "psycopg-sync"

    @property
    def thread_count(self) -> int:
        """Threads a worker's Database owns; 0 on an async driver."""
        if not self.is_sync:
            return 0
        return self.threads or self.pool_size + self.max_overflow

    @property
    def units_at_once(self) -> int:
        """How many units of work of one worker can have a connection at once; further ones wait."""
        return min(self.thread_count, self.connections_per_worker) if self.is_sync else self.connections_per_worker

    @property
    def connections_per_worker(self) -> int:
        """The most database connections one worker can hold open. Without a pool that is one for each
        request at work: as many as threads (sync), or as client connections let in (async)."""
        if self.pool == "queue":
            return self.pool_size + self.max_overflow
        return self.thread_count if self.is_sync else self.backpressure


KEYS: Final = tuple(field for field in EngineProfile.__struct_fields__ if field != "name")
"""What a profile's file may say, beside `extends`."""

POOL_KEYS: Final = (
    "pool_size", "max_overflow", "pool_timeout", "pool_recycle", "pool_pre_ping", "pool_use_lifo",
)  # fmt: skip
"""What means nothing without a pool."""
