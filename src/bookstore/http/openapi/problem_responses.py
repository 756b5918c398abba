"""The problem responses in the OpenAPI document: for each operation, by status, with an example of every code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec

from bookstore.exceptions import PROBLEM_TYPES
from bookstore.http import problem_details
from bookstore.http.openapi.operations import Problems, group_by_status

_EVERYWHERE: Final = (
    "bad_request", "unknown_host", "invalid_parameter", "unauthenticated", "uri_too_long", "too_many_requests",
    "headers_too_large", "internal",
    "db_conflict", "db_timeout", "db_unavailable", "deadline", "overloaded", "pool_exhausted",
)  # fmt: skip
_WITH_BODY: Final = ("malformed_body", "request_timeout", "too_large", "unsupported_media_type", "invalid_body")
_WITH_TOKEN: Final = ("forbidden",)

_HEADERS: Final[Mapping[int, tuple[str, str]]] = {
    401: ("WWW-Authenticate", "The authentication scheme, and why the request was rejected"),
    415: ("Accept", "The supported media types"),
    429: ("Retry-After", "The number of seconds to wait before a retry"),
    503: ("Retry-After", "The number of seconds to wait before a retry"),
}


def problem_examples() -> dict[str, Any]:
    """Return an example of each code, for the document's components."""
    return {
        code: {"summary": problem_type.title, "value": _example(code)} for code, problem_type in PROBLEM_TYPES.items()
    }


def add_problems(operation: dict[str, Any], handler: HTTPRouteHandler, components: dict[str, Any]) -> None:
    """Replace Litestar's error responses, which the service never sends, with the problem responses."""
    own = handler.responses or {}
    codes = [*_EVERYWHERE]
    codes += [code for spec in own.values() if isinstance(spec, Problems) for code in spec.codes]
    codes += _WITH_BODY if "requestBody" in operation else ()
    codes += _WITH_TOKEN if operation["security"] else ()
    responses = operation["responses"]
    for status in [int(status) for status in responses if int(status) >= 400]:
        if not isinstance(own.get(status, None), ResponseSpec) or isinstance(own[status], Problems):
            del responses[str(status)]
    for status, status_codes in sorted(group_by_status(codes).items()):
        response = _response(status, status_codes)
        if existing := responses.get(str(status)):
            existing["content"] |= response["content"]
            existing["headers"] = existing.get("headers", {}) | response.get("headers", {})
        else:
            name = ".".join(status_codes)
            components["responses"][name] = response
            responses[str(status)] = {"$ref": f"#/components/responses/{name}"}


def _response(status: int, codes: Sequence[str]) -> dict[str, Any]:
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
    response: dict[str, Any] = {
        "description": "; ".join(f"{PROBLEM_TYPES[code].title} (`{code}`)" for code in codes),
        "content": {problem_details.PROBLEM_JSON: content},
    }
    if status in _HEADERS:
        name, description = _HEADERS[status]
        response["headers"] = {name: {"description": description, "schema": {"type": "string"}}}
    return response


def _example(code: str) -> dict[str, Any]:
    problem_type = PROBLEM_TYPES[code]
    return {
        "type": f"{problem_details.PROBLEMS_PATH}#{code}",
        "title": problem_type.title,
        "status": problem_type.status,
        "detail": f"{problem_type.title}.",
        "instance": "/books",
        "code": code,
        "request_id": "0af7651916cd43dd8448eb211c80319c",
    }
