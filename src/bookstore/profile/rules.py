"""Rules between keys: values that are valid alone and not together, and what one layer removes from another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bookstore.config.validation import SourceValues, Violations
from bookstore.profile.engine_profile import POOL_KEYS, EngineProfile


def _unlimited(number: int) -> Callable[[object], str | None]:
    def remark(value: object) -> str | None:
        if value == number and not isinstance(value, bool):
            return f"{number}, which means unlimited in SQLAlchemy and would break the connection budget"
        return None

    return remark


REMARKS: Final = {"pool_size": _unlimited(0), "max_overflow": _unlimited(-1)}


def override(farther: SourceValues, nearer: SourceValues) -> SourceValues:
    """`nearer` over `farther`. What a nearer driver, pool or pooler leaves without meaning is not inherited:
    `article-sync@driver=asyncpg` has no threads, although article-sync names some."""
    gone: set[str] = set()
    if "driver" in nearer and nearer["driver"].text in {"asyncpg", "psycopg"}:
        gone.add("threads")
    if "pool" in nearer and nearer["pool"].text == "null":
        gone.update(POOL_KEYS)
    if "behind_pooler" in nearer and nearer["behind_pooler"].text in {"on", "true"}:
        gone.add("prepared_statements")
    return {key: entry for key, entry in farther.items() if key not in gone | nearer.keys()} | nearer


def _behind_pooler(entries: SourceValues, profile: EngineProfile, wrong: Callable[..., None]) -> None:
    """What a session that changes after each transaction cannot do."""
    if "prepared_statements" in entries and profile.prepared_statements:
        allowed = "off: what is prepared in one session is unknown in the next one"
        wrong("prepared_statements", "on with behind_pooler: on", allowed, "behind_pooler")
    if profile.driver == "asyncpg" and profile.isolation_level == "AUTOCOMMIT":
        # A value that asyncpg cannot send ends the statement after its Parse, without a Sync: PgBouncer would keep
        # the session for this client alone until it asks again. A ROLLBACK follows in a transaction.
        wrong(
            "isolation_level",
            "AUTOCOMMIT with asyncpg and behind_pooler: on",
            "READ COMMITTED, or the driver psycopg: outside of a transaction asyncpg does not give PgBouncer's "
            "session back where it cannot send a value",
            "behind_pooler",
            "driver",
            place=entries["isolation_level" if "isolation_level" in entries else "behind_pooler"].place,
        )


def check_combinations(entries: SourceValues, profile: EngineProfile, mistakes: Violations) -> None:
    """What is right alone and cannot work together; nothing is said about keys that are wrong alone."""

    def wrong(key: str, found: str, allowed: str, *because: str, place: str = "") -> None:
        if not {key, *because} & mistakes.keys:
            mistakes.add(place or entries[key].place, key, found, allowed)

    if "threads" in entries and not profile.is_sync:
        found = f"{entries['threads'].text} with the driver {profile.driver}"
        wrong("threads", found, "only with psycopg-sync", "driver")
    if profile.behind_pooler:
        _behind_pooler(entries, profile, wrong)
    if profile.pool == "null":
        for key in POOL_KEYS:
            if key in entries:
                wrong(key, f"{entries[key].text} with pool: null", "only with pool: queue", "pool")
        limit = "threads" if profile.is_sync else "backpressure"
        if limit not in entries and not mistakes.incomplete:
            allowed = "a number: nothing else would bound the connections"
            wrong(limit, "nothing with pool: null", allowed, "pool", "driver", place=entries["pool"].place)
    elif profile.is_sync and "threads" in entries and profile.thread_count < profile.pool_size:
        wrong(
            "threads",
            f"{profile.thread_count} with pool_size {profile.pool_size}",
            f"{profile.pool_size} or more: each thread uses one connection, the others would idle for ever",
            "pool_size",
            "driver",
        )
