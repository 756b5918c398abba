"""Exception -> problem details (RFC 9457): the one place where an error becomes an answer.

What a client may read is a ApiError's own sentence or one of these here: no SQL, host, stack or parameter
reaches a body. 500 is a bug, and always logged with its traceback.
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
_MISSING: Final = re.compile(r"Missing required (query|header|cookie) parameter '([^']+)'")  # the words of Litestar
_PATH_CHARACTERS: Final = "/:@!$&'()*+,;=~"  # RFC 3986: they stand in a path as they are


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457's members, with `code` as the stable name of the kind, `errors` for each single mistake, and the
    `request_id` by which the log has it; the `trace_id` by which a traced service's spans have it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: tuple[FieldError, ...] = ()
    request_id: str | None = None
    trace_id: str | None = None


# What Litestar itself raises, by status: its own words would repeat the URL.
_LITESTARS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("bad_request", "The request cannot be understood."),
    401: ("unauthenticated", "Send a valid token: Authorization: Bearer …"),
    403: ("forbidden", "The token does not allow this."),
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "The path does not take this method; Allow lists those that it takes."),
    408: ("request_timeout", "The request took too long to arrive."),
    413: ("too_large", "The body is larger than what is taken here."),
    414: ("uri_too_long", "The URL is longer than what is taken here."),
    415: ("unsupported_media_type", "The body's Content-Type is not taken here."),
    429: ("too_many_requests", "Too many requests; come back after the seconds of Retry-After."),
}


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The response to any exception; the database's trouble and bugs are logged."""
    fault = _fault(request, error)
    return problem(request.scope["method"], _instance(request), fault)


def problem(method: str, instance: str, fault: ApiError) -> Response[Any]:
    """`fault` as a response; `instance` is the percent-encoded path. A HEAD gets no body."""
    headers, body = _written(instance, fault)
    content = b"" if method == "HEAD" else body
    return Response(content, status_code=fault.problem_type.status, headers=headers, media_type=PROBLEM_JSON)


def encoded(path: str, fault: ApiError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """`fault` at the decoded `path` as status, headers and body, for what answers outside of Litestar."""
    instance = quote(path, safe=_PATH_CHARACTERS, errors="replace")
    headers, body = _written(instance, fault)
    _tell(instance, fault)
    headers |= {"Content-Type": PROBLEM_JSON, "Content-Length": str(len(body))}
    return fault.problem_type.status, [(name.lower().encode(), text.encode()) for name, text in headers.items()], body


def bug(method: str, path: str, error: Exception) -> ApiError:
    """The fault for an error that nobody has foreseen, which the log then has with its traceback."""
    logger.error("%s %s", method, quote(path, safe=_PATH_CHARACTERS, errors="replace"), exc_info=error)
    return ApiError("internal", "This is a bug of the service.")


def _tell(instance: str, fault: ApiError) -> None:
    """Logs what the service could not, or would not, do now."""
    if fault.problem_type.status in {429, 503}:
        logger.warning("%s: %s", instance, fault.code, extra={"code": fault.code})


def _written(instance: str, fault: ApiError) -> tuple[dict[str, str], bytes]:
    it = Problem(
        type=f"{PROBLEMS_PATH}#{fault.code}",
        title=fault.problem_type.title,
        status=fault.problem_type.status,
        detail=fault.detail,
        instance=instance,
        code=fault.code,
        errors=fault.errors,
        request_id=request_id.current(),
        trace_id=get_contextvars().get("trace_id"),
    )
    headers = dict(fault.headers)
    if it.status == 503:
        headers.setdefault("Retry-After", retry_after())
    return headers, msgspec.json.encode(it)


def retry_after() -> str:
    """Seconds, 1 to 5, for Retry-After: not the same for all, or they would all be back at once."""
    return str(1 + secrets.randbelow(LONGEST_RETRY_AFTER_S))


def _fault(request: Request[Any, Any, Any], error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        _tell(_instance(request), error)
        return error
    if isinstance(error, HTTPException) and error.status_code in _LITESTARS:
        return _litestars(error)
    told = f"{request.scope['method']} {_instance(request)}"
    if found := sqlstate.trouble(error) or sqlstate.rejection(error):
        code, detail = found
        logger.warning("%s: %s: %s", told, code, sqlstate.reason(error), extra={"code": code})
        if code == "invalid_body" and request.scope["method"] in _WITHOUT_BODY:
            code = "invalid_parameter"
        return ApiError(code, detail)
    return bug(request.scope["method"], request.scope["path"], error)


def _litestars(error: HTTPException) -> ApiError:
    headers = error.headers or {}
    if isinstance(error, ValidationException):
        return _invalid(error)
    code, detail = _LITESTARS[error.status_code]
    if error.detail == "Invalid host header":
        code, detail = "unknown_host", "The Host header is not the name of a host."
    told = {name.title(): text for name, text in headers.items()}
    if "Allow" in told:  # Litestar takes them out of a set: each process would have an order of its own
        told["Allow"] = ", ".join(sorted(told["Allow"].split(", ")))
    return ApiError(code, detail, headers=told)


def _invalid(error: ValidationException) -> ApiError:
    """A parameter that Litestar did not take. A path that can be nothing's is like one that is nothing's."""
    told = error.extra if isinstance(error.extra, list) else []
    if missing := _MISSING.match(error.detail):
        told = [{"source": missing[1], "key": missing[2], "message": "It is missing."}]
    if any(one.get("source") == "path" for one in told):
        return ApiError("not_found", _LITESTARS[404][1])
    mistakes = [
        FieldError(str(one["message"]), **{"header" if one.get("source") == "header" else "parameter": one["key"]})
        for one in told
        if "key" in one
    ]
    return ApiError("invalid_parameter", "A parameter of the request is not valid.", *mistakes)


def _instance(request: Request[Any, Any, Any]) -> str:
    """The path of the scope: a malformed Host makes no URL. Percent-encoded, it is one line in the log."""
    return quote(request.scope["path"], safe=_PATH_CHARACTERS, errors="replace")
