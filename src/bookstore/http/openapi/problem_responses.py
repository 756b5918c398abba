"""The problems in the OpenAPI document: each operation's, by status, with an example of every code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec

from bookstore.exceptions import PROBLEM_TYPES
from bookstore.http import problem_details
from bookstore.http.openapi.operations import Problems, by_status

_EVERYWHERE: Final = (
    "bad_request", "unknown_host", "invalid_parameter", "uri_too_long", "too_many_requests", "internal",
    "db_conflict", "db_timeout", "db_unavailable", "deadline", "overloaded", "pool_exhausted",
)  # fmt: skip
_WITH_BODY: Final = ("malformed_body", "request_timeout", "too_large", "unsupported_media_type", "invalid_body")
_WITH_TOKEN: Final = ("unauthenticated", "forbidden")

_HEADERS: Final[Mapping[int, tuple[str, str]]] = {
    401: ("WWW-Authenticate", "How to authenticate"),
    415: ("Accept", "The media types that are taken"),
    429: ("Retry-After", "After how many seconds to come back"),
    503: ("Retry-After", "After how many seconds to come back"),
}


def examples() -> dict[str, Any]:
    """For the document's components: one of each code."""
    return {code: {"summary": kind.title, "value": _example(code)} for code, kind in PROBLEM_TYPES.items()}


def add_problems(operation: dict[str, Any], handler: HTTPRouteHandler, components: dict[str, Any]) -> None:
    """Puts the problems' responses in the place of Litestar's, which are not what we answer."""
    own = handler.responses or {}
    codes = [*_EVERYWHERE]
    codes += [code for spec in own.values() if isinstance(spec, Problems) for code in spec.codes]
    codes += _WITH_BODY if "requestBody" in operation else ()
    codes += _WITH_TOKEN if operation["security"] else ()
    responses = operation["responses"]
    for status in [int(status) for status in responses if int(status) >= 400]:
        if not isinstance(own.get(status, None), ResponseSpec) or isinstance(own[status], Problems):
            del responses[str(status)]
    for status, of_status in sorted(by_status(codes).items()):
        made = _response(status, of_status)
        if here := responses.get(str(status)):
            here["content"] |= made["content"]
            here["headers"] = here.get("headers", {}) | made.get("headers", {})
        else:
            name = ".".join(of_status)
            components["responses"][name] = made
            responses[str(status)] = {"$ref": f"#/components/responses/{name}"}


def _response(status: int, codes: Sequence[str]) -> dict[str, Any]:
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
    made: dict[str, Any] = {
        "description": "; ".join(f"{PROBLEM_TYPES[code].title} (`{code}`)" for code in codes),
        "content": {problem_details.PROBLEM_JSON: content},
    }
    if status in _HEADERS:
        name, description = _HEADERS[status]
        made["headers"] = {name: {"description": description, "schema": {"type": "string"}}}
    return made


def _example(code: str) -> dict[str, Any]:
    kind = PROBLEM_TYPES[code]
    return {
        "type": f"{problem_details.PROBLEMS_PATH}#{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}.",
        "instance": "/books",
        "code": code,
        "request_id": "0af7651916cd43dd8448eb211c80319c",
    }
