"""Maps the exceptions of every driver to problem codes, by SQLSTATE in one table."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

_SCHEMA: Final = ("db_unavailable", "The database's schema does not match this version.")
_CHANGED: Final = ("db_unavailable", "The database's schema has changed.")
# SQLSTATE, or its class of two characters, to (code of PROBLEM_TYPES, detail for the client).
_SERVER_PROBLEMS: Final = {
    "42P01": _SCHEMA,  # no such table
    "42703": _SCHEMA,  # no such column
    "42883": _SCHEMA,  # no such function
    "42704": _SCHEMA,  # no such type, text search configuration …
    "42725": _SCHEMA,  # several such functions
    "42804": _SCHEMA,  # a column has another type
    "42809": _SCHEMA,  # a table is a view …
    "42P10": _SCHEMA,  # ON CONFLICT without its unique index
    "428C9": _SCHEMA,  # a column became a generated one
    "23502": _SCHEMA,  # a column is required that this version does not know
    "3F000": _SCHEMA,  # no such schema
    "0A000": _CHANGED,  # a prepared statement returned other types when it was planned
    "26000": _CHANGED,  # a prepared statement was removed
    "57014": ("db_timeout", "The database took too long."),
    "55P03": ("db_timeout", "The database took too long."),
    "40001": ("db_conflict", "Concurrent requests changed the same data."),
    "40P01": ("db_conflict", "Concurrent requests changed the same data."),
    "08": ("db_unavailable", "The database cannot be reached."),
    "28": ("db_unavailable", "The database cannot be reached."),  # login failed: role or password
    "3D": ("db_unavailable", "The database cannot be reached."),  # no such database
    "53": ("db_unavailable", "The database is out of resources."),
    "58": ("db_unavailable", "The database is out of order."),  # an error of its disk or operating system
    "XX": ("db_unavailable", "The database is out of order."),  # corrupt data, or changed during the statement
    "57": ("db_unavailable", "The database cannot be reached."),
    "25": ("db_unavailable", "The database does not accept changes at the moment."),
    "42501": ("db_unavailable", "The database denies access to the service."),  # a privilege is missing
}
_UNREACHABLE: Final = ("db_unavailable", "The database cannot be reached.")

# Values that pass the service's validation but that the database rejects. Repositories report most of them more
# precisely.
_CLIENT_PROBLEMS: Final = {
    "23505": ("name_taken", "Another entry has this value, which has to be unique."),
    "23503": ("in_use", "It refers to something that no longer exists, or something still refers to it."),
    "23514": ("invalid_body", "A value is out of range."),
    "22001": ("invalid_body", "A text is too long."),
    "22003": ("invalid_body", "A number is too large."),
    "54000": ("invalid_body", "A text has too many words, or too long ones, for the search index."),
    "22P05": ("invalid_body", "A text contains a character that cannot be stored."),
    "22021": ("invalid_body", "A text contains a character that cannot be stored."),
}


def server_problem(error: BaseException) -> tuple[str, str] | None:
    """Return (code, detail) if the database's state caused `error`, None otherwise (a bug or a client's value)."""
    if state := code(error):
        return _SERVER_PROBLEMS.get(state) or _SERVER_PROBLEMS.get(state[:2])
    if any(isinstance(link, sa.exc.TimeoutError) for link in causes(error)):
        return "pool_exhausted", "All database connections are in use."
    is_from_driver = any(isinstance(link, sa.exc.DBAPIError) for link in causes(error))
    for link in causes(error):
        if isinstance(link, TimeoutError):
            return "db_timeout", "The database took too long."
        if _is_unreachable(link) or (is_from_driver and isinstance(link, OSError)):
            return _UNREACHABLE
    return None


def is_stale(error: BaseException) -> bool:
    """Whether a new connection may succeed where this one never will: its server became read-only in a failover, or
    its prepared statements are from before a change of the schema."""
    return code(error) in {"25006", "0A000", "26000"}


def is_transient(error: BaseException) -> bool:
    """Whether the transaction was rolled back because of a concurrent one and can be retried."""
    return code(error) in {"40001", "40P01"}


def client_problem(error: BaseException) -> tuple[str, str] | None:
    """Return (code, detail) if the database or its driver rejected a value of the client, None otherwise."""
    problem = _CLIENT_PROBLEMS.get(_driver_rejection(error) or code(error) or "")
    if problem and problem[0] == "name_taken" and "isbn" in (_constraint(error) or ""):
        return "isbn_taken", "Another book has this ISBN."
    return problem


def reason(error: BaseException) -> str:
    """Describe `error` in one line for the log, by the driver's message: SQLAlchemy's contains the SQL."""
    *_, last = causes(error)
    return f"{type(last).__name__}: {last}".strip().splitlines()[0]


def _driver_rejection(error: BaseException) -> str | None:
    """Return the SQLSTATE that PostgreSQL would report for a value that the driver could not send."""
    if any(isinstance(link, OverflowError) for link in causes(error)):  # asyncpg: a number, a time
        return "22003"
    if code(error) is None and any(isinstance(link, sa.exc.DataError) for link in causes(error)):
        return "22021"  # psycopg: NUL in a text
    return None


def code(error: BaseException) -> str | None:
    """Return the SQLSTATE of `error` or of one of its causes, None if there is none."""
    states = (getattr(link, "sqlstate", None) for link in causes(error))
    return next((state for state in states if isinstance(state, str)), None)


def _constraint(error: BaseException) -> str | None:
    """Return the name of the violated constraint, which psycopg has in `diag` and asyncpg in the exception."""
    names = (getattr(getattr(link, "diag", link), "constraint_name", None) for link in causes(error))
    return next((name for name in names if isinstance(name, str)), None)


def _is_unreachable(error: BaseException) -> bool:
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, ConnectionError | socket.gaierror | sa.exc.OperationalError | sa.exc.InterfaceError)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield `error`, the driver's exception inside it, and their causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__
