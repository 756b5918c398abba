"""The connections of the commands and the lab, for sync psycopg. The service's are in `engine`."""

from __future__ import annotations

from typing import Any, Final

import psycopg
import sqlalchemy as sa

from bookstore.database import session_settings
from bookstore.database.url import conninfo, location
from bookstore.exceptions import ConfigurationError

_INSUFFICIENT_PRIVILEGE: Final = "42501"
_OPERATOR_CLASSES: Final = {"08", "25", "28", "3D", "3F", "53", "55", "57", "58", "XX"}
"""SQLSTATE classes: connection, transaction (read-only), login, database, schema, resources, locks, shutdown, disk,
corrupt data."""

CONNECT_TIMEOUT_S: Final = 3
ENCODING: Final = "UTF8"
"""The encoding of every database that this project works with."""


def connect(url: sa.URL, **options: Any) -> psycopg.Connection[Any]:
    """Like open_connection(), but raise ConfigurationError, without secrets, if the database cannot be reached."""
    try:
        return open_connection(url, **options)
    except psycopg.OperationalError as error:
        raise unreachable(url, error) from None


def open_connection(url: sa.URL, *, autocommit: bool = False, **options: Any) -> psycopg.Connection[Any]:
    """Connect to `url` with the project's session settings; `options` are psycopg's.

    Works through PgBouncer, too: unless `options` say otherwise, nothing is prepared in a session that other clients
    use next. Raises psycopg.OperationalError if the database cannot be reached, ConfigurationError if its encoding is
    not UTF8.
    """
    options = {"connect_timeout": CONNECT_TIMEOUT_S, "prepare_threshold": None, **options}
    connection = psycopg.connect(conninfo(url), client_encoding=ENCODING, autocommit=True, **options)
    try:
        _check_encoding(url, connection)
        session_settings.apply(connection)
        connection.autocommit = autocommit
    except BaseException:
        connection.close()
        raise
    return connection


def unreachable(url: sa.URL, error: BaseException | None) -> ConfigurationError:
    """Return the error for a database that cannot be reached, with the first line of the driver's message."""
    return ConfigurationError(f"database {location(url)}: cannot be reached: {first_line(error)}")


def _check_encoding(url: sa.URL, connection: psycopg.Connection[Any]) -> None:
    """Raise ConfigurationError if the database's own encoding is not UTF8. Sends nothing: PostgreSQL reports it."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != ENCODING:
        raise ConfigurationError(
            f"database {location(url)}: its encoding is {encoding}, which cannot hold every title and name; allowed is "
            f"{ENCODING}; create one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def translate(url: sa.URL, error: BaseException | None) -> ConfigurationError | None:
    """Return the error for a command whose statement failed for a reason that an operator can fix (a missing
    privilege, a read-only, full or stopped server); None for any other, which is a bug."""
    state: str | None = getattr(error, "sqlstate", None)
    if state == _INSUFFICIENT_PRIVILEGE:
        return ConfigurationError(
            f"database {location(url)}: {first_line(error)}; ask the database's owner for the privilege"
        )
    if state is None and isinstance(error, psycopg.OperationalError):
        return ConfigurationError(f"database {location(url)}: the connection was lost: {first_line(error)}")
    return (
        ConfigurationError(f"database {location(url)}: {first_line(error)}")
        if (state or "")[:2] in _OPERATOR_CLASSES
        else None
    )


def first_line(error: BaseException | None) -> str:
    """Return the first line of a driver's message; the class's name if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
