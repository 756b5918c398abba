"""Problem details (RFC 9457): the only place where an exception becomes a response.

A client sees only the detail of an ApiError or a sentence from this module; SQL, host names, tracebacks and
parameters never reach a body. A 500 is a bug and is always logged with its traceback.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from structlog.contextvars import get_contextvars

from bookstore.database import sqlstate
from bookstore.exceptions import ApiError, FieldError
from bookstore.http import request_id

logger = logging.getLogger("bookstore")

PROBLEM_JSON: Final = "application/problem+json"
PROBLEMS_PATH: Final = "/problems"
LONGEST_RETRY_AFTER_S: Final = 5
_WITHOUT_BODY: Final = {"GET", "HEAD", "DELETE"}
_MISSING: Final = re.compile(r"Missing required (query|header|cookie) parameter '([^']+)'")  # Litestar's message
_PATH_CHARACTERS: Final = "/:@!$&'()*+,;=~"  # RFC 3986: not percent-encoded in a path


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem (RFC 9457). `code` is stable; `errors` lists each invalid member, parameter or header; `request_id`
    identifies the request in the log, and `trace_id` its trace if the service is traced."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: tuple[FieldError, ...] = ()
    request_id: str | None = None
    trace_id: str | None = None


# Problems for exceptions that Litestar raises, by status. Its own messages would repeat the URL.
_LITESTAR_PROBLEMS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("bad_request", "The request is malformed."),
    401: ("unauthenticated", "Send a valid token: Authorization: Bearer …"),
    403: ("forbidden", "The token does not allow this request."),
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not support the method; Allow lists the supported methods."),
    408: ("request_timeout", "The request took too long to arrive."),
    413: ("too_large", "The request body is larger than the service accepts."),
    414: ("uri_too_long", "The URL is longer than the service accepts."),
    415: ("unsupported_media_type", "The Content-Type of the request body is not supported."),
    429: ("too_many_requests", "Too many requests; retry after the seconds in Retry-After."),
}


def exception_response(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Return the response to any exception. Database failures and bugs are logged."""
    return problem_response(request.scope["method"], _instance(request), _to_api_error(request, error))


def problem_response(method: str, instance: str, error: ApiError) -> Response[Any]:
    """Return `error` as a response, without a body for HEAD. `instance` is the percent-encoded path."""
    headers, body = _render(instance, error)
    content = b"" if method == "HEAD" else body
    return Response(content, status_code=error.problem_type.status, headers=headers, media_type=PROBLEM_JSON)


def encode_problem(path: str, error: ApiError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return `error` as status, headers and body, for responses outside Litestar. `path` is decoded."""
    instance = quote(path, safe=_PATH_CHARACTERS, errors="replace")
    headers, body = _render(instance, error)
    _log_unavailable(instance, error)
    headers |= {"Content-Type": PROBLEM_JSON, "Content-Length": str(len(body))}
    return error.problem_type.status, [(name.lower().encode(), text.encode()) for name, text in headers.items()], body


def internal_error(method: str, path: str, error: Exception) -> ApiError:
    """Log an unexpected `error` with its traceback, and return ApiError `internal` for the client."""
    logger.error("%s %s", method, quote(path, safe=_PATH_CHARACTERS, errors="replace"), exc_info=error)
    return ApiError("internal", "This is a bug in the service.")


def _log_unavailable(instance: str, error: ApiError) -> None:
    """Log a request that could not be served at the moment."""
    if error.problem_type.status in {429, 503}:
        logger.warning("%s: %s", instance, error.code, extra={"code": error.code})


def _render(instance: str, error: ApiError) -> tuple[dict[str, str], bytes]:
    problem = Problem(
        type=f"{PROBLEMS_PATH}#{error.code}",
        title=error.problem_type.title,
        status=error.problem_type.status,
        detail=error.detail,
        instance=instance,
        code=error.code,
        errors=error.errors,
        request_id=request_id.current(),
        trace_id=get_contextvars().get("trace_id"),
    )
    headers = dict(error.headers)
    if problem.status == 503:
        headers.setdefault("Retry-After", retry_after())
    return headers, msgspec.json.encode(problem)


def retry_after() -> str:
    """Return 1 to 5 seconds for Retry-After, at random so that clients do not all return at once."""
    return str(1 + secrets.randbelow(LONGEST_RETRY_AFTER_S))


def _to_api_error(request: Request[Any, Any, Any], error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        _log_unavailable(_instance(request), error)
        return error
    if isinstance(error, HTTPException) and error.status_code in _LITESTAR_PROBLEMS:
        return _from_litestar(error)
    if failure := sqlstate.server_problem(error) or sqlstate.client_problem(error):
        code, detail = failure
        target = f"{request.scope['method']} {_instance(request)}"
        logger.warning("%s: %s: %s", target, code, sqlstate.reason(error), extra={"code": code})
        if code == "invalid_body" and request.scope["method"] in _WITHOUT_BODY:
            code = "invalid_parameter"
        return ApiError(code, detail)
    return internal_error(request.scope["method"], request.scope["path"], error)


def _from_litestar(error: HTTPException) -> ApiError:
    headers = error.headers or {}
    if isinstance(error, ValidationException):
        return _invalid_parameters(error)
    code, detail = _LITESTAR_PROBLEMS[error.status_code]
    if error.detail == "Invalid host header":
        code, detail = "unknown_host", "The Host header is not a valid host name."
    headers = {name.title(): text for name, text in headers.items()}
    if "Allow" in headers:  # Litestar joins a set, so the order would differ between processes
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
    return ApiError(code, detail, headers=headers)


def _invalid_parameters(error: ValidationException) -> ApiError:
    """The error for parameters that Litestar rejected. An invalid path parameter is `not_found`."""
    rejected = error.extra if isinstance(error.extra, list) else []
    if missing := _MISSING.match(error.detail):
        rejected = [{"source": missing[1], "key": missing[2], "message": "This parameter is required."}]
    if any(entry.get("source") == "path" for entry in rejected):
        return ApiError("not_found", _LITESTAR_PROBLEMS[404][1])
    errors = [
        FieldError(
            str(entry["message"]), **{"header" if entry.get("source") == "header" else "parameter": entry["key"]}
        )
        for entry in rejected
        if "key" in entry
    ]
    return ApiError("invalid_parameter", "One or more parameters are invalid.", *errors)


def _instance(request: Request[Any, Any, Any]) -> str:
    """The percent-encoded path, which is a single line in the log. From the scope: a malformed Host makes no URL."""
    return quote(request.scope["path"], safe=_PATH_CHARACTERS, errors="replace")
