"""Rules between keys: values that conflict with each other, and keys that one layer removes from another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bookstore.config.validation import SourceValues, Violations
from bookstore.profile.engine_profile import POOL_KEYS, EngineProfile


def _forbid_unlimited(number: int) -> Callable[[object], str | None]:
    def remark(value: object) -> str | None:
        if value == number and not isinstance(value, bool):
            return f"{number}, which means unlimited in SQLAlchemy and would break the connection budget"
        return None

    return remark


REMARKS: Final = {"pool_size": _forbid_unlimited(0), "max_overflow": _forbid_unlimited(-1)}


def merge_layer(farther: SourceValues, nearer: SourceValues) -> SourceValues:
    """Return `farther` overridden by `nearer`.

    Keys that `nearer`'s driver, pool or pooler makes meaningless are not inherited: `article-sync@driver=asyncpg` has
    no threads, although article-sync sets them."""
    dropped: set[str] = set()
    if "driver" in nearer and nearer["driver"].text in {"asyncpg", "psycopg"}:
        dropped.add("threads")
    if "pool" in nearer and nearer["pool"].text == "null":
        dropped.update(POOL_KEYS)
    if "behind_pooler" in nearer and nearer["behind_pooler"].text in {"on", "true"}:
        dropped.add("prepared_statements")
    return {key: entry for key, entry in farther.items() if key not in dropped | nearer.keys()} | nearer


def _check_behind_pooler(entries: SourceValues, profile: EngineProfile, report: Callable[..., None]) -> None:
    """Report settings that need the same session across transactions."""
    if "prepared_statements" in entries and profile.prepared_statements:
        allowed = "off: a statement prepared in one session does not exist in the next one"
        report("prepared_statements", "on with behind_pooler: on", allowed, "behind_pooler")
    if profile.driver == "asyncpg" and profile.isolation_level == "AUTOCOMMIT":
        # A value that asyncpg cannot send ends the statement after its Parse, without a Sync: PgBouncer would reserve
        # the session for this client until its next statement. In a transaction a ROLLBACK follows.
        report(
            "isolation_level",
            "AUTOCOMMIT with asyncpg and behind_pooler: on",
            "READ COMMITTED, or the driver psycopg: outside a transaction asyncpg does not release PgBouncer's "
            "session if it cannot send a value",
            "behind_pooler",
            "driver",
            place=entries["isolation_level" if "isolation_level" in entries else "behind_pooler"].place,
        )


def check_combinations(entries: SourceValues, profile: EngineProfile, violations: Violations) -> None:
    """Add valid values that cannot work together to `violations`, except for keys that have a violation already."""

    def report(key: str, found: str, allowed: str, *because: str, place: str = "") -> None:
        if not {key, *because} & violations.keys:
            violations.add(place or entries[key].place, key, found, allowed)

    if "threads" in entries and not profile.is_sync:
        found = f"{entries['threads'].text} with the driver {profile.driver}"
        report("threads", found, "only with psycopg-sync", "driver")
    if profile.behind_pooler:
        _check_behind_pooler(entries, profile, report)
    if profile.pool == "null":
        for key in POOL_KEYS:
            if key in entries:
                report(key, f"{entries[key].text} with pool: null", "only with pool: queue", "pool")
        limit = "threads" if profile.is_sync else "backpressure"
        if limit not in entries and not violations.incomplete:
            allowed = "a number: nothing else would bound the connections"
            report(limit, "nothing with pool: null", allowed, "pool", "driver", place=entries["pool"].place)
    elif profile.is_sync and "threads" in entries and profile.thread_count < profile.pool_size:
        report(
            "threads",
            f"{profile.thread_count} with pool_size {profile.pool_size}",
            f"{profile.pool_size} or more: each thread uses one connection, so the other connections would stay idle",
            "pool_size",
            "driver",
        )
