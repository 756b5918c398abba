"""Each setting and each key of the profile: its value, without secrets, and where it came from."""

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
"""The fields that are not called as their variables are."""


class Value(msgspec.Struct, frozen=True):
    """`origin` is argument, environment, default, or the file and line of a profile."""

    name: str
    value: str
    origin: str


class _RecordingEnvironment(Mapping[str, str]):
    """An environment that knows which variables it was asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.asked: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        self.asked[name] = None
        return self._environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


def variables() -> list[str]:
    """Every variable that the settings are read from, in their order."""
    watched = _RecordingEnvironment({})
    settings.read(watched)
    return list(watched.asked)


def setting_values(found: Settings, environ: Mapping[str, str], given: Mapping[str, str]) -> list[Value]:
    """The settings `found` in `environ`, with the arguments `given` over it, both by the variables' names."""
    values = []
    for name in variables():
        if given.get(name):
            values.append(Value(name, display_value(name, given[name]), "argument"))
        elif text := environ.get(name, "").strip():
            values.append(Value(name, display_value(name, text), "environment"))
        else:
            values.append(Value(name, _default_value(found, name), "default"))
    return values


def profile_values(spec: str, chosen: EngineProfile, workers: int | None) -> list[Value]:
    """The keys of the profile `chosen`, which `spec` names; `workers` is WEB_CONCURRENCY's number."""
    places = loader.places(spec)
    values = []
    for key, text in rendering.effective(chosen).items():
        origin = "WEB_CONCURRENCY" if key == "workers" and workers else _short_place(places.get(key, "default"))
        if key != "description":
            values.append(Value(key, text, origin))
    return values


def ignored_variables(names: list[str]) -> Iterator[Finding]:
    """The variables that were ignored, for the profile decides."""
    if names:
        yield Finding(
            "warning",
            "environment",
            f"set, and ignored, for the profile and DATABASE_URL decide: {', '.join(names)}",
            "unset them; what they should say belongs into the profile or DATABASE_URL",
        )


def misspelt_variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that nothing reads, and that are called nearly as one that is read."""
    known = variables()
    for name in sorted(environ):
        is_ours = name.startswith(("BOOKSTORE_", "DATABASE_")) and name not in known
        if is_ours and (near := difflib.get_close_matches(name, known, n=1, cutoff=0.85)):
            yield Finding("warning", "environment", f"{excerpt(name)}: nothing reads it", f"did you mean {near[0]}?")


def traces(environ: Mapping[str, str]) -> Iterator[Finding]:
    """As `serve` reads OTEL_…, or refuses it."""
    asked = tracing.is_enabled(environ)
    yield Finding("ok", "traces", "asked for, and can be made" if asked else "none are asked for")


def display_value(name: str, text: str) -> str:
    """The value of the variable `name`, without a secret."""
    if name == "DATABASE_URL":
        try:
            return database_url.parse(text).render_as_string(hide_password=True)
        except ConfigurationError:
            return NOT_SHOWN  # a password may stand anywhere in it
    if _IS_SECRET.search(name) and not name.endswith("_FILE"):
        return NOT_SHOWN
    return excerpt(text, 200)


def field_name(name: str) -> str:
    """The field of Settings, or of its RequestPolicy, that the variable `name` is for."""
    return _FIELDS.get(name) or name.removeprefix("BOOKSTORE_").lower()


def _default_value(found: Settings, name: str) -> str:
    value: Any = getattr(found, field_name(name), getattr(found.request_policy, field_name(name), None))
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
    """`file:line` of `file:line:column`, from here where it lies below, or from where the shipped ones lie."""
    file, line, column = place.rsplit(":", 2) if place.count(":") >= 2 else (place, "", "")
    if not (line.isdigit() and column.isdigit()):
        return place
    for folder in (Path.cwd(), shipped("profiles").parent):
        if Path(file).is_relative_to(folder):
            return f"{os.path.relpath(file, folder)}:{line}"
    return f"{file}:{line}"


def read_settings(environ: Mapping[str, str], given: Mapping[str, str]) -> Settings:
    """What `serve` would go by. Raises ConfigurationError, also for a wrong variable that an argument goes over."""
    settings.read(environ)
    return settings.read({**environ, **given})


def load_profile(found: Settings) -> EngineProfile:
    """The profile with WEB_CONCURRENCY's workers. Raises ConfigurationError with every mistake in it."""
    return loader.with_workers(loader.load(found.profile), found.workers)
