"""The settings and the profile's keys: their values, without secrets, and where each value comes from."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from bookstore.config import settings
from bookstore.config.resources import shipped
from bookstore.config.scalars import duration_text
from bookstore.config.settings import Settings
from bookstore.config.text import excerpt
from bookstore.database import url as database_url
from bookstore.doctor.finding import Finding
from bookstore.exceptions import ConfigurationError
from bookstore.observability import tracing
from bookstore.profile import loader, rendering
from bookstore.profile.engine_profile import EngineProfile

NOT_SHOWN: Final = "(set, not shown)"

_IS_SECRET: Final = re.compile(r"PASSWORD|TOKEN|SECRET|KEY")
_FIELDS: Final = {
    "WEB_CONCURRENCY": "workers", "BOOKSTORE_SLOW_STATEMENT": "slow_statement_s", "BOOKSTORE_ALLOWED_HOSTS": "hosts",
    "BOOKSTORE_TRUSTED_PROXIES": "proxies", "BOOKSTORE_CORS_ORIGINS": "origins",
}  # fmt: skip
"""The variables whose field has another name."""


class Value(msgspec.Struct, frozen=True):
    """`origin` is argument, environment, default, WEB_CONCURRENCY, or the file and line of a profile."""

    name: str
    value: str
    origin: str


class _RecordingEnvironment(Mapping[str, str]):
    """An environment that records which variables are read from it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.names: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        self.names[name] = None
        return self._environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


def variables() -> list[str]:
    """Return every variable that the settings are read from, in reading order."""
    environment = _RecordingEnvironment({})
    settings.read(environment)
    return list(environment.names)


def setting_values(effective: Settings, environ: Mapping[str, str], given: Mapping[str, str]) -> list[Value]:
    """Return the `effective` settings with their origins. The arguments `given` override `environ`; both use the names
    of the variables."""
    values = []
    for name in variables():
        if given.get(name):
            values.append(Value(name, display_value(name, given[name]), "argument"))
        elif text := environ.get(name, "").strip():
            values.append(Value(name, display_value(name, text), "environment"))
        else:
            values.append(Value(name, _default_value(effective, name), "default"))
    return values


def profile_values(spec: str, profile: EngineProfile, workers: int | None) -> list[Value]:
    """Return the keys of `profile`, loaded from `spec`, with their origins; `workers` is WEB_CONCURRENCY."""
    places = loader.places(spec)
    values = []
    for key, text in rendering.effective_values(profile).items():
        origin = "WEB_CONCURRENCY" if key == "workers" and workers else _short_place(places.get(key, "default"))
        if key != "description":
            values.append(Value(key, text, origin))
    return values


def ignored_variables(names: list[str]) -> Iterator[Finding]:
    """Report the variables that are ignored because the profile decides."""
    if names:
        yield Finding(
            "warning",
            "environment",
            f"ignored, because the profile and DATABASE_URL decide: {', '.join(names)}",
            "unset them, and put their values into the profile or DATABASE_URL",
        )


def misspelt_variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Report variables that nothing reads but whose name is close to one that is read."""
    known = variables()
    for name in sorted(environ):
        is_unknown = name.startswith(("BOOKSTORE_", "DATABASE_")) and name not in known
        if is_unknown and (close := difflib.get_close_matches(name, known, n=1, cutoff=0.85)):
            yield Finding("warning", "environment", f"unknown variable {excerpt(name)}", f"did you mean {close[0]}?")


def traces(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check the OTEL_… variables as `serve` does."""
    yield Finding("ok", "traces", "enabled" if tracing.is_enabled(environ) else "disabled")


def display_value(name: str, text: str) -> str:
    """Return the value `text` of the variable `name` without secrets."""
    if name == "DATABASE_URL":
        try:
            return database_url.parse(text).render_as_string(hide_password=True)
        except ConfigurationError:
            return NOT_SHOWN  # a password may be anywhere in it
    if _IS_SECRET.search(name) and not name.endswith("_FILE"):
        return NOT_SHOWN
    return excerpt(text, 200)


def field_name(name: str) -> str:
    """Return the field of Settings, or of its RequestPolicy, that the variable `name` sets."""
    return _FIELDS.get(name) or name.removeprefix("BOOKSTORE_").lower()


def _default_value(effective: Settings, name: str) -> str:
    value: Any = getattr(effective, field_name(name), getattr(effective.request_policy, field_name(name), None))
    if name == "DATABASE_URL":
        return "the embedded PostgreSQL"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return duration_text(value)
    return "none" if value is None else str(value)


def _short_place(place: str) -> str:
    """Shorten `file:line:column` to `file:line`, relative to the current folder or that of the shipped profiles."""
    file, line, column = place.rsplit(":", 2) if place.count(":") >= 2 else (place, "", "")
    if not (line.isdigit() and column.isdigit()):
        return place
    for folder in (Path.cwd(), shipped("profiles").parent):
        if Path(file).is_relative_to(folder):
            return f"{os.path.relpath(file, folder)}:{line}"
    return f"{file}:{line}"


def read_settings(environ: Mapping[str, str], given: Mapping[str, str]) -> Settings:
    """Return the settings that `serve` would use. Raises ConfigurationError, even if an argument overrides the invalid
    variable."""
    settings.read(environ)
    return settings.read({**environ, **given})


def load_profile(effective: Settings) -> EngineProfile:
    """Return the profile with WEB_CONCURRENCY's workers. Raises ConfigurationError that lists every violation."""
    return loader.with_workers(loader.load(effective.profile), effective.workers)
