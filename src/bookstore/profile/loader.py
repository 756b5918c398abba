"""Engine profiles: YAML -> EngineProfile, all defaults filled, `name@key=value` on top."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final, get_type_hints

import msgspec
import yaml

from bookstore.config import yaml_document
from bookstore.config.validation import is_duration, unpacked
from bookstore.config.yaml_document import Entries, Mistakes
from bookstore.profile import layers
from bookstore.profile.engine_profile import KEYS, POOL_KEYS, Driver, EngineProfile, Isolation, Loading
from bookstore.profile.layers import names

__all__ = [
    "KEYS", "Driver", "EngineProfile", "Isolation", "Loading", "as_text", "effective", "load", "names",
    "places", "to_yaml", "with_workers",
]  # fmt: skip


def _unlimited(number: int) -> Callable[[object], str | None]:
    def remark(value: object) -> str | None:
        if value == number and not isinstance(value, bool):
            return f"{number}, which means unlimited in SQLAlchemy and would break the connection budget"
        return None

    return remark


_REMARKS: Final = {"pool_size": _unlimited(0), "max_overflow": _unlimited(-1)}


def load(spec: str) -> EngineProfile:
    """The profile that `spec` names: a shipped name or a path, with `@key=value,key=value` behind it.

    Raises ConfigurationError with every mistake, a line each: `file:line:column: key: found …; allowed is …`.
    """
    mistakes = Mistakes()
    entries = _entries(spec, mistakes)
    values = yaml_document.fit(EngineProfile, entries, mistakes, _REMARKS, beside=("extends",))
    _combinations(entries, EngineProfile(name="", **values), mistakes)
    mistakes.raise_any()
    profile = EngineProfile(name=layers.label(spec), **values)
    return msgspec.structs.replace(
        profile,
        threads=profile.thread_count or None,
        prepared_statements=profile.prepared_statements and not profile.behind_pooler,
    )


def places(spec: str) -> dict[str, str]:
    """Where each key that `spec` does not leave to the defaults stands: `file:line:column`, or `spec` itself."""
    return {key: entry.place for key, entry in _entries(spec, Mistakes()).items()}


def _entries(spec: str, mistakes: Mistakes) -> Entries:
    entries: Entries = {}
    for layer in layers.layers(spec, mistakes):
        entries = _over(entries, layer)
    return entries


def with_workers(profile: EngineProfile, workers: int | None) -> EngineProfile:
    """The profile with WEB_CONCURRENCY's number of workers, where there is one."""
    return msgspec.structs.replace(profile, workers=workers) if workers else profile


def to_yaml(profile: EngineProfile) -> str:
    """The effective profile as a file would say it, defaults filled; it loads back as the same profile."""
    told = effective(profile)
    told["description"] = _quoted(told["description"])
    return "".join(f"{key}: {text}\n" for key, text in told.items())


def _quoted(text: str) -> str:
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)).rstrip("\n")


def effective(profile: EngineProfile) -> dict[str, str]:
    """Every key with its value as a file would say it; `threads` only where the driver has some."""
    return dict(_effective(profile))


def _effective(profile: EngineProfile) -> Iterator[tuple[str, str]]:
    hints = get_type_hints(EngineProfile, include_extras=True)
    for key in KEYS:
        value = profile.thread_count or None if key == "threads" else getattr(profile, key)
        if value is None or (profile.pool == "null" and key in POOL_KEYS):
            continue
        yield key, as_text(hints[key], value)


def as_text(hint: Any, value: Any) -> str:
    """A field's value as a file would say it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if is_duration(unpacked(hint)[1]):
        return yaml_document.duration_text(value)
    return str(value)


def _over(farther: Entries, nearer: Entries) -> Entries:
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


def _behind_pooler(entries: Entries, profile: EngineProfile, wrong: Callable[..., None]) -> None:
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


def _combinations(entries: Entries, profile: EngineProfile, mistakes: Mistakes) -> None:
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
