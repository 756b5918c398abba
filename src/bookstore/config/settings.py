"""Settings from the environment, and the variables that must not silently change a profile."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

import msgspec
import platformdirs

from bookstore.config import request_policy
from bookstore.config.request_policy import LOOPBACK_NAMES, RequestPolicy
from bookstore.config.resources import PROFILES_DIR
from bookstore.config.scalars import duration
from bookstore.config.text import excerpt
from bookstore.exceptions import ConfigurationError

# libpq reads these for what the URL leaves out, asyncpg reads some of them: two profiles would then
# differ by more than their files. PGPASSWORD and PGPASSFILE are not listed: they keep a secret out
# of DATABASE_URL.
_POSTGRES: Final = frozenset(
    {"PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGOPTIONS", "PGAPPNAME", "PGSERVICE"}
    | {"PGDATESTYLE", "PGGEQO", "PGGSSENCMODE", "PGLOADBALANCEHOSTS"}
    | {"PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCRL", "PGSSLCRLDIR", "PGSSLSNI", "PGSSLNEGOTIATION"}
    | {"PGSSLCERTMODE", "PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION", "PGREQUIREAUTH", "PGCHANNELBINDING"}
    | {"PGMINPROTOCOLVERSION", "PGMAXPROTOCOLVERSION", "PGKRBSRVNAME", "PGGSSLIB", "PGGSSDELEGATION", "PGREQUIREPEER"}
    | {"PGSERVICEFILE", "PGSSLMODE", "PGCONNECT_TIMEOUT", "PGTARGETSESSIONATTRS", "PGTZ", "PGCLIENTENCODING"}
)

_WORDS: Final = {
    "1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip


LogFormat = Literal["auto", "text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

W = TypeVar("W", bound=str)


SLOW_STATEMENT_S: Final = 1.0
"""Statements that take longer are logged, unless the environment sets another limit."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the service.

    `database_url` is None for the embedded PostgreSQL; its password may be in `database_password_file`. `workers` is
    WEB_CONCURRENCY and overrides the profile. `api_tokens` are lines as in the tokens file, with digests only.
    `metrics_port` is None if metrics are off. `profiles_dir` has profiles that override the shipped ones;
    `config.resources` reads it. `log_format` auto is text at a terminal and JSON elsewhere. `log_requests` logs a line
    per request. `slow_statement_s` is the duration from which on a statement is logged, None for never.
    """

    profile: str = "default"
    profiles_dir: Path | None = None
    database_url: str | None = None
    database_password_file: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int | None = None
    data_dir: Path
    request_policy: RequestPolicy = RequestPolicy(hosts=LOOPBACK_NAMES)
    api_tokens: str | None = None
    api_tokens_file: Path | None = None
    read_only: bool = False
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    log_format: LogFormat = "auto"
    log_level: LogLevel = "info"
    log_requests: bool = False
    slow_statement_s: float | None = SLOW_STATEMENT_S


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from `environ`; an empty variable counts as unset.

    Raises ConfigurationError that names the variable, what was found and what is allowed.
    """

    def text(name: str) -> str | None:
        return environ.get(name, "").strip() or None

    def number(name: str, least: int, most: int) -> int | None:
        raw = text(name)
        if raw is None:
            return None
        if not (raw.isascii() and raw.isdigit() and len(raw) <= 9 and least <= int(raw) <= most):
            raise ConfigurationError(
                f"{name}: found '{excerpt(raw)}'; allowed is a whole number from {least} to {most}"
            )
        return int(raw)

    def flag(name: str) -> bool:
        raw = (text(name) or "off").lower()
        if raw not in _WORDS:
            raise ConfigurationError(f"{name}: found '{excerpt(raw)}'; allowed are {', '.join(_WORDS)}")
        return _WORDS[raw]

    def word(name: str, choices: Any, default: W) -> W:
        raw = (text(name) or default).lower()
        if raw not in get_args(choices):
            raise ConfigurationError(f"{name}: found '{excerpt(raw)}'; allowed are {', '.join(get_args(choices))}")
        return raw  # type: ignore[return-value] # it is one of the choices

    def seconds(name: str, default: float) -> float | None:
        raw = text(name)
        if raw is None or raw.lower() == "off":
            return default if raw is None else None
        try:
            return duration(raw)
        except ValueError:
            raise ConfigurationError(
                f"{name}: found '{excerpt(raw)}'; allowed is a duration such as 250ms or 2s, or off"
            ) from None

    def file(name: str) -> Path | None:
        raw = text(name)
        return _path(name, raw) if raw else None

    host = text("BOOKSTORE_HOST") or "127.0.0.1"
    return Settings(
        profile=text("BOOKSTORE_PROFILE") or "default",
        profiles_dir=file(PROFILES_DIR),
        database_url=text("DATABASE_URL"),
        database_password_file=file("DATABASE_PASSWORD_FILE"),
        host=host,
        port=number("BOOKSTORE_PORT", 1, 65535) or 8000,
        workers=number("WEB_CONCURRENCY", 1, 256),
        data_dir=file("BOOKSTORE_DATA_DIR") or default_data_dir(),
        request_policy=request_policy.read(environ, beyond_loopback=not is_loopback(host)),
        api_tokens=text("BOOKSTORE_API_TOKENS"),
        api_tokens_file=file("BOOKSTORE_API_TOKENS_FILE"),
        read_only=flag("BOOKSTORE_READ_ONLY"),
        metrics_host=text("BOOKSTORE_METRICS_HOST") or "127.0.0.1",
        metrics_port=number("BOOKSTORE_METRICS_PORT", 0, 65535) or None,
        log_format=word("BOOKSTORE_LOG_FORMAT", LogFormat, "auto"),
        log_level=word("BOOKSTORE_LOG_LEVEL", LogLevel, "info"),
        log_requests=flag("BOOKSTORE_LOG_REQUESTS"),
        slow_statement_s=seconds("BOOKSTORE_SLOW_STATEMENT", SLOW_STATEMENT_S),
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _path(name: str, text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ConfigurationError(f"{name}: found '{excerpt(text)}'; allowed is the home of an existing user") from None


def default_data_dir() -> Path:
    """Return the user's data folder; for root a system folder, because PostgreSQL's user cannot enter root's home."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/bookstore")
    return platformdirs.user_data_path("bookstore", appauthor=False)


def interfering_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the variables in `environ` that would silently override a profile, sorted."""
    return sorted(
        name for name in environ if name.startswith("GRANIAN_") or name == "LITESTAR_DEBUG" or name in _POSTGRES
    )


def remove_interfering_variables(environ: MutableMapping[str, str] = os.environ) -> list[str]:
    """Remove the interfering variables from `environ` and return their names, sorted."""
    names = interfering_variables(environ)
    for name in names:
        del environ[name]
    return names
