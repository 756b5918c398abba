"""The OpenAPI 3.1 document: what Litestar reads off the handlers, and what it cannot know.

What handlers say of themselves is in openapi.py; what every route can answer, and the token it needs, is added here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from bookstore.http import authorization, problem_details
from bookstore.http.openapi.examples import EXAMPLES
from bookstore.http.openapi.operations import of_structs
from bookstore.http.openapi.problem_responses import add_problems, examples

LARGEST_INTEGER: Final = 2**63 - 1

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

_TOKEN: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of this service. Each operation names the scope that it needs: `catalog:write` changes "
    "the catalogue, `admin` may do everything. Reading needs none.",
}


def document(app: Litestar) -> dict[str, Any]:
    """The whole document of `app`, for JSON."""
    made = app.openapi_schema.to_schema()
    components = made.setdefault("components", {})
    components.setdefault("schemas", {})
    components["securitySchemes"] = {"token": _TOKEN}
    components["responses"] = {}
    components["headers"] = {"X-Request-ID": _REQUEST_ID}
    components["examples"] = examples()
    components["schemas"] |= of_structs([problem_details.Problem])
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
        add_problems(operation, handler, components)
        _require_condition(operation)
    _add_links(made["paths"])
    _add_request_id(made)
    # msgspec and Litestar go over sets: in their order the document would be another one at each start.
    made["components"] = {kind: dict(sorted(members.items())) for kind, members in components.items()}
    return made


def _operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """(path, method, handler) of each operation of the document."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if handler.resolve_include_in_schema():
                    yield route.path_format, method.lower(), handler


def _security(handler: HTTPRouteHandler) -> list[dict[str, list[str]]]:
    scope = authorization.scope(handler)
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
    """A ResponseHeader without a value has no schema, which OpenAPI demands; and Litestar keeps them as a set."""
    for response in operation["responses"].values():
        if headers := response.get("headers"):
            response["headers"] = {name: {"schema": {"type": "string"}} | headers[name] for name in sorted(headers)}


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
