"""Engine profiles: YAML -> EngineProfile, all defaults filled, `name@key=value` on top."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from bookstore import document
from bookstore.document import Entries, Entry, Mistakes
from bookstore.refusal import Refused
from bookstore.resources import shipped

Driver = Literal["asyncpg", "psycopg", "psycopg-sync"]
Loading = Literal["lazy", "joined", "selectin", "subquery", "rows", "json"]
Isolation = Literal["AUTOCOMMIT", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


def _duration(least: float, most: float) -> Meta:
    return Meta(ge=least, le=most, extra={"duration": True})


class EngineProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One complete configuration of the service. Keys are SQLAlchemy's where it has them; durations are
    seconds here and texts such as `2s` in a file. The defaults are what `profiles/default.yaml` builds on;
    docs/reference.md says what each key does.
    """

    name: str
    description: Annotated[str, Meta(max_length=400)] = ""

    driver: Driver = "asyncpg"
    loading: Loading = "selectin"
    isolation_level: Isolation = "READ COMMITTED"
    statement_timeout: Annotated[float, _duration(0.1, 3600)] = 5.0
    prepared_statements: bool = True
    echo: bool = False

    pool: Literal["queue", "null"] = "queue"
    pool_size: Annotated[int, Meta(ge=1, le=1000)] = 5
    max_overflow: Annotated[int, Meta(ge=0, le=1000)] = 0
    pool_timeout: Annotated[float, _duration(0.1, 600)] = 2.0
    pool_recycle: Annotated[float, _duration(1, 86400)] = 1800.0
    pool_pre_ping: bool = False
    pool_use_lifo: bool = False

    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    threads: Annotated[int, Meta(ge=1, le=1000)] | None = None
    event_loop: Literal["uvloop", "asyncio"] = "uvloop"
    gc: Literal["freeze", "default"] = "freeze"
    backpressure: Annotated[int, Meta(ge=1, le=65535)] = 1024

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
    def connections_per_worker(self) -> int:
        """The most database connections one worker can hold open. Without a pool that is one for each
        request at work: as many as threads (sync), or as client connections let in (async)."""
        if self.pool == "queue":
            return self.pool_size + self.max_overflow
        return self.thread_count if self.is_sync else self.backpressure


KEYS: Final = tuple(field for field in EngineProfile.__struct_fields__ if field != "name")
"""What a profile's file may say, beside `extends`."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_POOL_KEYS: Final = (
    "pool_size", "max_overflow", "pool_timeout", "pool_recycle", "pool_pre_ping", "pool_use_lifo",
)  # fmt: skip


def _unlimited(number: int) -> Any:
    def remark(value: object) -> str | None:
        if value == number and not isinstance(value, bool):
            return f"{number}, which means unlimited in SQLAlchemy and would break the connection budget"
        return None

    return remark


_REMARKS: Final = {"pool_size": _unlimited(0), "max_overflow": _unlimited(-1)}


def names() -> list[str]:
    """The shipped profiles, sorted."""
    return sorted(path.stem for path in shipped("profiles").glob("*.yaml"))


def load(spec: str) -> EngineProfile:
    """The profile that `spec` names: a shipped name or a path, with `@key=value,key=value` behind it.

    Raises Refused with every mistake, a line each: `file:line:column: key: found …; allowed is …`.
    """
    entries = _entries(spec, ())
    mistakes = Mistakes()
    values = document.fit(EngineProfile, entries, mistakes, _REMARKS)
    if not mistakes.lines:
        _combinations(entries, msgspec.structs.replace(EngineProfile(name=spec), **values), mistakes)
    mistakes.raise_any()
    return EngineProfile(name=_label(spec), **values)


def with_workers(profile: EngineProfile, workers: int | None) -> EngineProfile:
    """The profile with WEB_CONCURRENCY's number of workers, where there is one."""
    return msgspec.structs.replace(profile, workers=workers) if workers else profile


def to_yaml(profile: EngineProfile) -> str:
    """The effective profile as a file would say it, defaults filled."""
    return "".join(f"{key}: {text}\n" for key, text in effective(profile).items())


def effective(profile: EngineProfile) -> dict[str, str]:
    """Every key with its value as a file would say it; `threads` only where the driver has some."""
    return dict(_effective(profile))


def _effective(profile: EngineProfile) -> Iterator[tuple[str, str]]:
    durations = {"statement_timeout", "pool_timeout", "pool_recycle"}
    for key in KEYS:
        value = getattr(profile, key)
        if key == "threads":
            if profile.is_sync:
                yield key, str(profile.thread_count)
        elif profile.pool == "null" and key in _POOL_KEYS:
            continue
        elif isinstance(value, bool):
            yield key, "on" if value else "off"
        elif key == "description":
            yield key, msgspec.json.encode(value).decode()
        else:
            yield key, document.duration_text(value) if key in durations else str(value)


def _label(spec: str) -> str:
    """A path's label is its stem: the name goes into application_name and into folder names."""
    base, at, overrides = spec.partition("@")
    return (Path(base).stem if _is_path(base) else base) + at + overrides


def _is_path(base: str) -> bool:
    return "/" in base or base.endswith((".yaml", ".yml"))


def _entries(spec: str, seen: tuple[Path, ...], beside: Path | None = None) -> Entries:
    """The file's entries over those of the profile it extends, and the overrides over both."""
    base, at, overrides = spec.partition("@")
    path = _path(base, beside)
    if path in seen:
        chain = " -> ".join(item.name for item in (*seen, path))
        raise Refused(f"{path}: extends itself: {chain}")
    entries = document.read(path)
    parent = entries.pop("extends", None)
    if parent is not None:
        if not isinstance(parent.value, str):
            raise Refused(f"{parent.place}: extends: found {parent.text}; allowed is a profile's name")
        inherited = _entries(parent.value, (*seen, path), path.parent)
        inherited.pop("description", None)
        entries = {**inherited, **entries}
    return {**entries, **_overrides(spec, overrides)} if at else entries


def _path(base: str, beside: Path | None) -> Path:
    if _is_path(base):
        return ((beside or Path()) / Path(base).expanduser()).absolute()
    path = shipped("profiles") / f"{base}.yaml"
    if not _NAME.fullmatch(base) or not path.is_file():
        raise Refused(
            f"profile {base!r}: no such profile; allowed is {document.suggestion(base, names())}, "
            f"or the path of a .yaml file"
        )
    return path


def _overrides(spec: str, overrides: str) -> Entries:
    entries: Entries = {}
    mistakes = Mistakes()
    for item in overrides.split(","):
        key, equals, text = item.partition("=")
        if not equals or not key:
            mistakes.add(spec, item or "@", "no key=value", "name@key=value,key=value")
        elif key in entries:
            mistakes.add(spec, key, "the key a second time", "each key once")
        elif key == "extends":
            mistakes.add(spec, key, "an override of it", "the base profile's own name before the @")
        else:
            entries[key] = Entry(document.scalar(text), text, spec)
    mistakes.raise_any()
    return entries


def _combinations(entries: Entries, profile: EngineProfile, mistakes: Mistakes) -> None:
    """What is right alone and cannot work together."""

    def wrong(key: str, found: str, allowed: str) -> None:
        place = entries[key].place if key in entries else profile.name
        mistakes.add(place, key, found, allowed)

    if profile.threads is not None and not profile.is_sync:
        wrong("threads", f"{profile.threads} with the driver {profile.driver}", "only with psycopg-sync")
    if profile.pool == "null":
        for key in _POOL_KEYS:
            if key in entries:
                wrong(key, f"{entries[key].text} with pool: null", "only with pool: queue")
        limit = "threads" if profile.is_sync else "backpressure"
        if limit not in entries:
            wrong(limit, "nothing with pool: null", "a number: nothing else would bound the connections")
    elif profile.is_sync and profile.thread_count < profile.pool_size:
        wrong(
            "threads",
            f"{profile.thread_count} with pool_size {profile.pool_size}",
            f"{profile.pool_size} or more: each thread uses one connection, the others would idle for ever",
        )
