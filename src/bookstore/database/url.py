"""Parses DATABASE_URL, converts it for each driver, and starts the embedded PostgreSQL if it is unset."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import sqlalchemy as sa

from bookstore.config.settings import Settings
from bookstore.config.settings import read as read_settings
from bookstore.config.text import excerpt
from bookstore.database.embedded import Cluster
from bookstore.exceptions import ConfigurationError
from bookstore.profile.engine_profile import Driver, EngineProfile

EMBEDDED_DATABASE: Final = "bookstore"

_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SYSTEM_ROOTS: Final = "system"
"""libpq's value of sslrootcert for the machine's own root certificates."""
_QUERY: Final = ("host", "port", "sslmode", "sslrootcert")


def embedded_cluster(settings: Settings) -> Cluster:
    """Return the cluster that commands share while DATABASE_URL is unset. It may not be running yet."""
    return Cluster(settings.data_dir / "postgres")


def resolve(settings: Settings) -> sa.URL:
    """Return the database's URL without a driver: DATABASE_URL, or the embedded PostgreSQL's, which is started.

    Raises ConfigurationError for a URL that not every driver could use. The message never contains the URL, which may
    contain a password.
    """
    if settings.database_url:
        return _with_password(parse(settings.database_url), settings.database_password_file)
    cluster = embedded_cluster(settings)
    cluster.start()
    _create_database(cluster)
    return cluster.url(EMBEDDED_DATABASE)


def check_pooler(settings: Settings, profile: EngineProfile) -> None:
    """Raise ConfigurationError if the profile needs a pooler but the embedded PostgreSQL, which has none, is used."""
    if profile.behind_pooler and settings.database_url is None:
        raise ConfigurationError(
            f"profile {profile.name}: behind_pooler is on, and DATABASE_URL is not set: the embedded PostgreSQL has no "
            f"pooler; set DATABASE_URL to the address of PgBouncer, or choose a profile without behind_pooler"
        )


def parse(text: str) -> sa.URL:
    """Parse a DATABASE_URL to a URL without a driver. Raises ConfigurationError if not every driver could use it."""
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError(
            "DATABASE_URL: not a URL; allowed is postgresql://user:password@host/database"
        ) from None
    if url.drivername.partition("+")[0] not in {"postgresql", "postgres"}:
        raise ConfigurationError(
            f"DATABASE_URL: found the scheme {url.drivername!r}; allowed is postgresql://user:password@host/database"
        )
    url = _with_decoded_host(url)
    if "," in (url.host or ""):
        raise ConfigurationError("DATABASE_URL: found several hosts; allowed is one")
    if text.partition("?")[0].count("@") > 1:
        raise ConfigurationError("DATABASE_URL: found a second @; write an @ in a password as %40")
    if url.port is not None and not _is_port(str(url.port)):
        raise _port_error(str(url.port))
    if not url.database:
        raise ConfigurationError("DATABASE_URL: found no database; allowed is postgresql://user:password@host/database")
    for key, value in url.query.items():
        if key not in _QUERY:
            raise ConfigurationError(f"DATABASE_URL: found the parameter {key!r}; allowed are {', '.join(_QUERY)}")
        if not isinstance(value, str) or "," in value:
            raise ConfigurationError(f"DATABASE_URL: found several values of {key!r}; allowed is one")
        if key == "port" and not _is_port(value):
            raise _port_error(value)
        if key == "sslmode" and value not in _SSL_MODES:
            raise ConfigurationError(f"DATABASE_URL: found sslmode={value}; allowed is {' | '.join(_SSL_MODES)}")
    return _with_verification(url).set(drivername="postgresql")


def _with_decoded_host(url: sa.URL) -> sa.URL:
    """Return `url` with its host percent-decoded as libpq does it, and a socket's folder moved to the query, where
    every driver finds it."""
    host = unquote(url.host or "")
    if not host.startswith("/"):
        return url.set(host=host or None)
    if "host" in url.query:
        raise ConfigurationError("DATABASE_URL: found a host both before and after the ?; allowed is one")
    port = {} if url.port is None else {"port": str(url.port)}
    query = {**url.query, "host": host, **port}
    return sa.URL.create(url.drivername, url.username, url.password, database=url.database, query=query)


def _with_verification(url: sa.URL) -> sa.URL:
    """Return `url` with the sslmode that libpq uses for its sslrootcert, so that every driver does the same."""
    root, mode = url.query.get("sslrootcert"), url.query.get("sslmode")
    if root == _SYSTEM_ROOTS and mode not in {None, "verify-full"}:
        raise ConfigurationError(
            f"DATABASE_URL: found sslmode={mode} with sslrootcert=system; allowed is verify-full, because anybody can "
            f"get a certificate that the system trusts"
        )
    if root == _SYSTEM_ROOTS:
        # As a file: the psycopg wheel has an OpenSSL of its own, which looks for them where no machine has any.
        bundle = ssl.get_default_verify_paths()
        if bundle.cafile is None:
            raise ConfigurationError(
                f"DATABASE_URL: found sslrootcert=system, but no root certificates in {bundle.openssl_cafile}; install "
                f"ca-certificates, set SSL_CERT_FILE, or set sslrootcert to a file"
            )
        return url.update_query_dict({"sslmode": "verify-full", "sslrootcert": bundle.cafile})
    return url.update_query_dict({"sslmode": "verify-ca"}) if root and mode == "require" else url


def _with_password(url: sa.URL, file: Path | None) -> sa.URL:
    """Return `url` with the password from DATABASE_PASSWORD_FILE, the way orchestrators pass secrets."""
    if file is None:
        return url
    if url.password is not None:
        raise ConfigurationError("DATABASE_PASSWORD_FILE: found a password in DATABASE_URL too; set only one of them")
    try:
        password = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"DATABASE_PASSWORD_FILE: {file} cannot be read: {reason}") from None
    if not password or "\n" in password or "\0" in password:
        raise ConfigurationError(
            f"DATABASE_PASSWORD_FILE: {file}: found no password; allowed is a single line with the password"
        )
    return url.set(password=password)


def _port_error(found: str) -> ConfigurationError:
    return ConfigurationError(
        f"DATABASE_URL: found the port {excerpt(found)!r}; allowed is a whole number from 1 to 65535"
    )


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536


def for_driver(url: sa.URL, driver: Driver) -> tuple[sa.URL, dict[str, Any]]:
    """Return `url` for SQLAlchemy's dialect of `driver`, and arguments for the driver's connect().

    Raises ConfigurationError if sslrootcert cannot be read."""
    if driver != "asyncpg":
        return url.set(drivername="postgresql+psycopg"), {}
    query = dict(url.query)
    mode, root = query.pop("sslmode", None), query.pop("sslrootcert", None)
    arguments: dict[str, Any] = {}
    if mode and root and str(mode).startswith("verify-"):
        try:
            context = ssl.create_default_context(cafile=str(root))
        except OSError as error:
            raise ConfigurationError(f"DATABASE_URL: sslrootcert={root} cannot be read: {error.strerror}") from None
        context.check_hostname = mode == "verify-full"
        arguments["ssl"] = context
    elif mode:
        arguments["ssl"] = mode
    return url.set(drivername="postgresql+asyncpg", query=query), arguments


def psycopg_url(settings: Settings | None = None) -> sa.URL:
    """Return the URL with which the commands connect, for sync psycopg."""
    return for_driver(resolve(settings or read_settings()), "psycopg-sync")[0]


def conninfo(url: sa.URL) -> str:
    """Return `url` for libpq, including the password: for memory and a child's environment, never for a log."""
    text = url.set(drivername="postgresql").render_as_string(hide_password=False)
    # SQLAlchemy does not encode spaces, except as + in the query; libpq understands only %20.
    base, mark, query = text.partition("?")
    return base.replace(" ", "%20") + mark + query.replace("+", "%20")


def location(url: sa.URL) -> str:
    """Return the database's name, host and port, without secrets: `books at db.example.com:5432`."""
    host = url.host or url.query.get("host") or "localhost"
    port = url.port or url.query.get("port")
    return f"{url.database} at {host}" + (f":{port}" if port else "")


def _create_database(cluster: Cluster) -> None:
    import psycopg  # noqa: PLC0415 - asyncpg deployments need no libpq in memory

    with psycopg.connect(conninfo(cluster.url()), autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [EMBEDDED_DATABASE])
        if known.fetchone() is None:
            try:
                connection.execute(f'CREATE DATABASE "{EMBEDDED_DATABASE}"')
            except psycopg.errors.DuplicateDatabase:
                return  # another command was first
