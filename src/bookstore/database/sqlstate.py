"""Exception of any driver -> what it says of the database, by SQLSTATE: one table for all of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

# SQLSTATE, or its class of two characters, to (code of PROBLEM_TYPES, what the client is told).
_TROUBLE: Final = {
    "57014": ("db_timeout", "The database took too long."),
    "55P03": ("db_timeout", "The database took too long."),
    "40001": ("db_conflict", "The database was busy with the same data."),
    "40P01": ("db_conflict", "The database was busy with the same data."),
    "08": ("db_unavailable", "The database cannot be reached."),
    "28": ("db_unavailable", "The database cannot be reached."),  # no login: the role, its password
    "3D": ("db_unavailable", "The database cannot be reached."),  # no such database
    "53": ("db_unavailable", "The database has no room for now."),
    "57": ("db_unavailable", "The database cannot be reached."),
    "25": ("db_unavailable", "The database takes no changes for now."),
    "42P01": ("db_unavailable", "The database's schema is not the one of this version."),  # no such table
    "42501": ("db_unavailable", "The database does not let the service in."),  # a right is missing
}
_UNREACHABLE: Final = ("db_unavailable", "The database cannot be reached.")

# What the database refuses though the service let it through. Repositories know better words for most.
_REFUSALS: Final = {
    "23505": ("name_taken", "Another entry has this value, which only one may have."),
    "23503": ("in_use", "It refers to what is gone, or something still refers to it."),
    "23514": ("invalid_body", "A value is beyond what is allowed."),
    "22001": ("invalid_body", "A text is too long."),
    "22003": ("invalid_body", "A number is too large."),
    "54000": ("invalid_body", "A text has more words, or longer ones, than can be searched."),
    "22021": ("invalid_body", "A text has a character that cannot be stored."),
}


def trouble(error: BaseException) -> tuple[str, str] | None:
    """(code, detail) where `error` or what caused it is the database's trouble, None where it is a bug."""
    if state := of(error):
        return _TROUBLE.get(state) or _TROUBLE.get(state[:2])
    if any(isinstance(link, sa.exc.TimeoutError) for link in causes(error)):
        return "pool_exhausted", "All database connections are in use."
    is_databases = any(isinstance(link, sa.exc.DBAPIError) for link in causes(error))
    for link in causes(error):
        if isinstance(link, TimeoutError):
            return "db_timeout", "The database took too long."
        if _says_unreachable(link) or (is_databases and isinstance(link, OSError)):
            return _UNREACHABLE
    return None


def is_passing(error: BaseException) -> bool:
    """Whether two transactions were in each other's way, and this one was rolled back: it may come again."""
    return of(error) in {"40001", "40P01"}


def rejection(error: BaseException) -> tuple[str, str] | None:
    """(code, detail) where the database refused a value of the client's, None where it did not."""
    found = _REFUSALS.get(_unsent(error) or of(error) or "")
    if found and found[0] == "name_taken" and "isbn" in (_constraint(error) or ""):
        return "isbn_taken", "Another book has this ISBN."
    return found


def reason(error: BaseException) -> str:
    """What happened, in one line for the log: the words of the driver, not SQLAlchemy's with the SQL."""
    *_, last = causes(error)
    return f"{type(last).__name__}: {last}".strip().splitlines()[0]


def _unsent(error: BaseException) -> str | None:
    """What PostgreSQL would have said to a value that the driver could not even send."""
    if any(isinstance(link, OverflowError) for link in causes(error)):  # asyncpg: a number, a time
        return "22003"
    if of(error) is None and any(isinstance(link, sa.exc.DataError) for link in causes(error)):
        return "22021"  # psycopg: NUL in a text
    return None


def of(error: BaseException) -> str | None:
    """The SQLSTATE of `error` or of what caused it, None where it has none."""
    states = (getattr(link, "sqlstate", None) for link in causes(error))
    return next((state for state in states if isinstance(state, str)), None)


def _constraint(error: BaseException) -> str | None:
    """The name of the violated constraint: psycopg keeps it in `diag`, asyncpg in the exception."""
    names = (getattr(getattr(link, "diag", link), "constraint_name", None) for link in causes(error))
    return next((name for name in names if isinstance(name, str)), None)


def _says_unreachable(error: BaseException) -> bool:
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, ConnectionError | socket.gaierror | sa.exc.OperationalError | sa.exc.InterfaceError)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, the driver's own one inside it, and what raised them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__
