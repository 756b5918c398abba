"""The OpenAPI 3.1 document: what Litestar reads off the handlers, and what it cannot know.

A handler says `responses=problems("not_found")`, `operation_class=body(NewBook)` and
`response_headers=[ETAG]`; what every route can answer, and the token it needs, is added here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar, Final

import msgspec
from litestar import Litestar
from litestar.datastructures import ResponseHeader
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import License, Operation, Tag
from litestar.routes import HTTPRoute

from bookstore import access, errors
from bookstore.bodies import JSON, MERGE_PATCH
from bookstore.examples import EXAMPLES
from bookstore.faults import KINDS

ISBN: Final = {"format": "isbn"}
"""For a parameter's `schema_extra`; JSON Schema lets anybody name formats."""

ETAG: Final = ResponseHeader(
    name="ETag", documentation_only=True, description="The version of what is sent; for If-Match and If-None-Match"
)
LINK: Final = ResponseHeader(
    name="Link",
    documentation_only=True,
    description='The next page, where there is one: `</books?cursor=…>; rel="next"`',
)
LOCATION: Final = ResponseHeader(name="Location", documentation_only=True, description="The path of what was made")

LARGEST_INTEGER: Final = 2**63 - 1

_EVERYWHERE: Final = (
    "bad_request", "unknown_host", "invalid_parameter", "uri_too_long", "too_many_requests", "internal",
    "db_conflict", "db_timeout", "db_unavailable", "deadline", "overloaded", "pool_exhausted",
)  # fmt: skip
_WITH_BODY: Final = ("malformed_body", "request_timeout", "too_large", "unsupported_media_type", "invalid_body")
_WITH_TOKEN: Final = ("unauthenticated", "forbidden")

_IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The `ETag` of what the client has",
    "schema": {"type": "string"},
}

_REQUEST_ID: Final = {
    "description": "The request's id: what the request itself had as `X-Request-ID`, where that has 1 to 64 letters, "
    "digits, dots, underscores and dashes, else a new one",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}

_HEADERS: Final[Mapping[int, tuple[str, str]]] = {
    401: ("WWW-Authenticate", "How to authenticate"),
    415: ("Accept", "The media types that are taken"),
    429: ("Retry-After", "After how many seconds to come back"),
    503: ("Retry-After", "After how many seconds to come back"),
}

_TOKEN: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of this service. Each operation names the scope that it needs: `catalog:write` changes "
    "the catalogue, `admin` may do everything. Reading needs none.",
}


@dataclass
class _Problems(ResponseSpec):
    codes: tuple[str, ...] = ()


def problems(*codes: str) -> Mapping[int, ResponseSpec]:
    """For a handler's `responses`: the codes of faults.KINDS that it answers beside those of every route."""
    return {
        status: _Problems(errors.Problem, media_type=errors.PROBLEM_JSON, codes=tuple(of_status))
        for status, of_status in _by_status(codes).items()
    }


def body(struct: type[msgspec.Struct]) -> type[Operation]:
    """For a handler's `operation_class`: it reads a `struct` with bodies.py."""

    class _Taking(Operation):
        taken: ClassVar = (struct.__name__, _of_structs([struct]), (JSON,))

    return _Taking


def merge_patch(struct: type[msgspec.Struct]) -> type[Operation]:
    """For a handler's `operation_class`: it reads a merge patch (RFC 7396) of a `struct`."""

    class _Taking(Operation):
        taken: ClassVar = (f"{struct.__name__}Patch", _of_patch(struct), (MERGE_PATCH, JSON))

    return _Taking


def config(**keys: Any) -> OpenAPIConfig:
    """Litestar's part of the document; `keys` are further ones of OpenAPIConfig."""
    return OpenAPIConfig(
        title="Bookstore",
        version=version("bookstore"),
        summary="A catalogue of books",
        description=f"Every error is a problem (RFC 9457) with a stable `code`: see [{errors.PROBLEMS_PATH}]"
        f"({errors.PROBLEMS_PATH}).",
        license=License(name="MIT", identifier="MIT"),
        tags=[
            Tag(name="Books", description="The catalogue"),
            Tag(name="Authors", description="Who wrote the books"),
            Tag(name="Genres", description="The shelves"),
            Tag(name="Health", description="For probes of orchestrators"),
            Tag(name="Service", description="About the service itself"),
        ],
        use_handler_docstrings=True,
        **keys,
    )


def document(app: Litestar) -> dict[str, Any]:
    """The whole document of `app`, for JSON."""
    made = app.openapi_schema.to_schema()
    components = made.setdefault("components", {})
    components.setdefault("schemas", {})
    components["securitySchemes"] = {"token": _TOKEN}
    components["responses"] = {}
    components["headers"] = {"X-Request-ID": _REQUEST_ID}
    components["examples"] = {code: {"summary": kind.title, "value": _example(code)} for code, kind in KINDS.items()}
    components["schemas"] |= _of_structs([errors.Problem])
    for name in EXAMPLES.keys() & components["schemas"].keys():
        components["schemas"][name]["examples"] = [EXAMPLES[name]]
    for path, method, handler in _operations(app):
        operation = made["paths"][path][method]
        operation["security"] = _security(handler)
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _of_parameter(parameter["schema"])
        _fill_headers(operation)
        if method == "get":
            _add_not_modified(operation)
        if taken := getattr(handler.operation_class, "taken", None):
            name, schemas, media_types = taken
            components["schemas"] |= schemas
            operation["requestBody"] = _request_body(name, media_types)
        _add_problems(operation, handler, components)
        _require_condition(operation)
    _add_links(made["paths"])
    _add_request_id(made)
    return made


def _operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """(path, method, handler) of each operation of the document."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if handler.resolve_include_in_schema():
                    yield route.path_format, method.lower(), handler


def _security(handler: HTTPRouteHandler) -> list[dict[str, list[str]]]:
    scope = access.scope(handler)
    return [] if scope is None else [{"token": [scope]}]


def _of_parameter(schema: dict[str, Any]) -> dict[str, Any]:
    """Litestar's schema, with whole numbers for limits, and without null: nobody can send that in a URL."""
    options = [option for option in schema.get("oneOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        schema = {key: value for key, value in schema.items() if key != "oneOf"} | options[0]
    if schema.get("type") == "integer":
        # As floats the largest ids are not exact.
        limits = {key: min(int(schema[key]), LARGEST_INTEGER) for key in ("minimum", "maximum") if key in schema}
        return schema | limits
    return schema


def _fill_headers(operation: dict[str, Any]) -> None:
    """A ResponseHeader without a value has no schema, which OpenAPI demands."""
    for response in operation["responses"].values():
        for header in response.get("headers", {}).values():
            header.setdefault("schema", {"type": "string"})


def _add_not_modified(operation: dict[str, Any]) -> None:
    """What can be read with an ETag can be asked for anew."""
    if "ETag" in operation["responses"]["200"].get("headers", {}):
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)
        operation["responses"]["304"] = {"description": "What the client has, by its ETag, still holds"}


def _request_body(name: str, media_types: Sequence[str]) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{name}"}
    return {"required": True, "content": {media_type: {"schema": reference} for media_type in media_types}}


def _require_condition(operation: dict[str, Any]) -> None:
    """The handler takes a request without If-Match, only to say what it needs (428)."""
    if "428" in operation["responses"]:
        (parameter,) = (one for one in operation["parameters"] if one["name"] == "If-Match")
        parameter["required"] = True


def _add_request_id(made: dict[str, Any]) -> None:
    """Every response has it."""
    reference = {"$ref": "#/components/headers/X-Request-ID"}
    for item in made["paths"].values():
        for operation in item.values():
            for response in operation["responses"].values():
                if "$ref" not in response:
                    response["headers"] = response.get("headers", {}) | {"X-Request-ID": reference}
    for response in made["components"]["responses"].values():
        response["headers"] = response.get("headers", {}) | {"X-Request-ID": reference}


def _add_links(paths: dict[str, Any]) -> None:
    """What was made can be read, changed and removed: from each 201 to the operations on its Location."""
    for path, item in paths.items():
        one = next((name for name in paths if name.startswith(f"{path}/{{") and name.endswith("_id}")), None)
        if one is None or "post" not in item:
            continue
        parameter = one[one.index("{") + 1 : -1]
        links = item["post"]["responses"]["201"]["links"] = {}
        for operation in paths[one].values():
            links[operation["operationId"]] = {
                "operationId": operation["operationId"],
                "parameters": {f"path.{parameter}": "$response.body#/id"},
            }
            if "requestBody" in operation:
                links[operation["operationId"]]["parameters"]["header.If-Match"] = "$response.header.ETag"


def _of_structs(structs: Sequence[type[msgspec.Struct]]) -> dict[str, Any]:
    """As msgspec describes them: with every limit, and without further members where none are taken."""
    return msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")[1]


def _of_patch(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """A merge patch: any members of the struct's, and null for those that need not be there."""
    made = _of_structs([struct])
    whole = made.pop(struct.__name__)
    members = {
        name: member if name in whole["required"] else _or_null(member) for name, member in whole["properties"].items()
    }
    patch = {"title": f"{struct.__name__}Patch", "type": "object", "properties": members, "additionalProperties": False}
    return made | {f"{struct.__name__}Patch": patch}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in schema.items() if key != "default"}
    return plain if "anyOf" in plain else {"anyOf": [plain, {"type": "null"}]}


def _add_problems(operation: dict[str, Any], handler: HTTPRouteHandler, components: dict[str, Any]) -> None:
    """Puts the problems' responses in the place of Litestar's, which are not what we answer."""
    own = handler.responses or {}
    codes = [*_EVERYWHERE]
    codes += [code for spec in own.values() if isinstance(spec, _Problems) for code in spec.codes]
    codes += _WITH_BODY if "requestBody" in operation else ()
    codes += _WITH_TOKEN if operation["security"] else ()
    responses = operation["responses"]
    for status in [int(status) for status in responses if int(status) >= 400]:
        if not isinstance(own.get(status, None), ResponseSpec) or isinstance(own[status], _Problems):
            del responses[str(status)]
    for status, of_status in sorted(_by_status(codes).items()):
        made = _response(status, of_status)
        if here := responses.get(str(status)):
            here["content"] |= made["content"]
            here["headers"] = here.get("headers", {}) | made.get("headers", {})
        else:
            name = ".".join(of_status)
            components["responses"][name] = made
            responses[str(status)] = {"$ref": f"#/components/responses/{name}"}


def _by_status(codes: Sequence[str]) -> dict[int, list[str]]:
    """The codes under their status, in the order of KINDS, each once."""
    found: dict[int, list[str]] = {}
    for code, kind in KINDS.items():
        if code in codes:
            found.setdefault(kind.status, []).append(code)
    return found


def _response(status: int, codes: Sequence[str]) -> dict[str, Any]:
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
    made: dict[str, Any] = {
        "description": "; ".join(f"{KINDS[code].title} (`{code}`)" for code in codes),
        "content": {errors.PROBLEM_JSON: content},
    }
    if status in _HEADERS:
        name, description = _HEADERS[status]
        made["headers"] = {name: {"description": description, "schema": {"type": "string"}}}
    return made


def _example(code: str) -> dict[str, Any]:
    kind = KINDS[code]
    return {
        "type": f"{errors.PROBLEMS_PATH}#{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}.",
        "instance": "/books",
        "code": code,
        "request_id": "0af7651916cd43dd8448eb211c80319c",
    }
