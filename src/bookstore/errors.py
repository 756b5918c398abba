"""Exception -> problem details (RFC 9457): one table for every driver.

Database trouble is always 503 with Retry-After, whatever the driver calls it; 500 is a bug. No SQL, host,
stack or parameter reaches a body.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.status_codes import HTTP_500_INTERNAL_SERVER_ERROR, HTTP_503_SERVICE_UNAVAILABLE

logger = logging.getLogger("bookstore")

PROBLEM_JSON: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457's members, with `code` as the stable name of the kind and `errors` for single fields."""

    title: str
    status: int
    detail: str
    code: str
    instance: str
    errors: list[dict[str, str]] = []


# SQLSTATE, or its class of two characters, to (code, what the client is told).
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


def trouble(error: BaseException) -> tuple[str, str] | None:
    """(code, detail) where `error` or what caused it is the database's trouble, None where it is a bug."""
    for link in _causes(error):
        if isinstance(link, sa.exc.TimeoutError):
            return "pool_exhausted", "All database connections are in use."
        state = getattr(link, "sqlstate", None)
        if isinstance(state, str):
            return _TROUBLE.get(state) or _TROUBLE.get(state[:2])
    is_databases = any(isinstance(link, sa.exc.DBAPIError) for link in _causes(error))
    for link in _causes(error):
        if isinstance(link, TimeoutError):
            return "db_timeout", "The database took too long."
        if _says_unreachable(link) or (is_databases and isinstance(link, OSError)):
            return _UNREACHABLE
    return None


def _says_unreachable(error: BaseException) -> bool:
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, ConnectionError | socket.gaierror | sa.exc.OperationalError | sa.exc.InterfaceError)


def reason(error: BaseException) -> str:
    """What happened, in one line for the log: the words of the driver, not SQLAlchemy's with the SQL."""
    *_, last = _causes(error)
    return f"{type(last).__name__}: {last}".strip().splitlines()[0]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, the driver's own one inside it, and what raised them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The response to any exception; what is a bug is logged with its traceback."""
    headers: dict[str, str] = {}
    errors: list[dict[str, str]] = []
    if isinstance(error, HTTPException):
        status, detail, code = error.status_code, error.detail, _code(type(error).__name__)
        headers = dict(error.headers or {})
        extra = error.extra if isinstance(error.extra, list) else []
        errors = [{"field": str(one.get("key", "")), "detail": str(one.get("message", ""))} for one in extra]
        if errors:
            detail = "The request is not valid."
    elif known := trouble(error):
        status, (code, detail) = HTTP_503_SERVICE_UNAVAILABLE, known
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        logger.warning("%s %s: %s: %s", request.method, request.url.path, code, reason(error))
    else:
        status, code, detail = HTTP_500_INTERNAL_SERVER_ERROR, "internal", "This is a bug of the service."
        logger.error("%s %s", request.method, request.url.path, exc_info=error)
    problem = Problem(_title(status), status, detail, code, request.url.path, errors)
    content = b"" if request.method == "HEAD" else msgspec.json.encode(problem)
    return Response(content, status_code=status, headers=headers, media_type=PROBLEM_JSON)


def _code(name: str) -> str:
    """NotFoundException -> not_found."""
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return words.removeprefix("_").removesuffix("_exception")


def _title(status: int) -> str:
    return HTTPStatus(status).phrase
