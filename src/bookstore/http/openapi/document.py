"""The OpenAPI 3.1 document: Litestar's document, completed with problems, tokens, headers, examples and links.

What a single handler declares is in operations.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from bookstore.catalog.book_formats import FORMATS
from bookstore.http import authorization, problem_details
from bookstore.http.openapi.examples import EXAMPLES
from bookstore.http.openapi.operations import struct_schemas
from bookstore.http.openapi.problem_responses import add_problems, problem_examples

LARGEST_INTEGER: Final = 2**63 - 1

_IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The `ETag` of your cached copy. If it is still current, the response is 304 without a body.",
    "schema": {"type": "string"},
}

_REQUEST_ID: Final = {
    "description": "The id of this request. It equals the `X-Request-ID` that you sent if that has 1 to 64 letters, "
    "digits, dots, underscores and dashes; otherwise it is generated.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}

_COMMON_HEADERS: Final = {
    "X-Request-ID": _REQUEST_ID,
    "RateLimit": {
        "description": "Only if the service limits the rate: the requests that you may send now (`r`), and the "
        "seconds until the whole quota is available again (`t`).",
        "schema": {"type": "string"},
        "example": '"client";r=19;t=1',
    },
    "RateLimit-Policy": {
        "description": "Only if the service limits the rate: the quota of requests (`q`) in a window of seconds (`w`).",
        "schema": {"type": "string"},
        "example": '"client";q=20;w=2',
    },
}

_TOKEN: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "An access token for this service. Each operation names the scope that it requires: `catalog:write` "
    "allows changes to the catalogue, `admin` allows everything. Reading requires no token.",
}


def document(app: Litestar) -> dict[str, Any]:
    """Return the complete document of `app`, ready for JSON encoding."""
    spec = app.openapi_schema.to_schema()
    components = spec.setdefault("components", {})
    components.setdefault("schemas", {})
    components["securitySchemes"] = {"token": _TOKEN}
    components["responses"] = {}
    components["headers"] = dict(_COMMON_HEADERS)
    components["examples"] = problem_examples()
    components["schemas"] |= struct_schemas([problem_details.Problem])
    for name in EXAMPLES.keys() & components["schemas"].keys():
        components["schemas"][name]["examples"] = [EXAMPLES[name]]
    for path, method, handler in _operations(app):
        operation = spec["paths"][path][method]
        operation["security"] = _security(handler)
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _parameter_schema(parameter["schema"])
            if "items" in parameter["schema"]:
                parameter |= {"schema": _list_schema(parameter["schema"]), "style": "form", "explode": False}
        _fill_headers(operation)
        _describe_success(operation)
        if method == "get":
            _add_not_modified(operation)
            _add_export_formats(operation)
        if accepted := getattr(handler.operation_class, "accepted_body", None):
            name, schemas, media_types = accepted
            components["schemas"] |= schemas
            operation["requestBody"] = _request_body(name, media_types)
        add_problems(operation, handler, components)
        _require_condition(operation)
    _add_links(spec["paths"])
    _add_common_headers(spec)
    # msgspec and Litestar iterate over sets, so without sorting the document would change with every startup.
    spec["components"] = {kind: dict(sorted(members.items())) for kind, members in components.items()}
    return spec


def _operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Yield (path, method, handler) for each operation in the document."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if handler.resolve_include_in_schema():
                    yield route.path_format, method.lower(), handler


def _security(handler: HTTPRouteHandler) -> list[dict[str, list[str]]]:
    scope = authorization.required_scope(handler)
    return [] if scope is None else [{"token": [scope]}]


def _parameter_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return Litestar's schema with integer limits and without null, which a URL cannot express."""
    options = [option for option in schema.get("oneOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        schema = {key: value for key, value in schema.items() if key != "oneOf"} | options[0]
    if schema.get("type") == "integer":
        # Floats cannot represent the largest ids exactly.
        limits = {key: min(int(schema[key]), LARGEST_INTEGER) for key in ("minimum", "maximum") if key in schema}
        return schema | limits
    return schema


def _list_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the array that a text of comma-separated values represents."""
    items = schema["items"]
    # `id` and `-id` would be the same name in an enumeration of a client.
    names = [f"{value[1:]}_descending" if value.startswith("-") else value for value in items["enum"]]
    default = {"default": schema["default"].split(",")} if "default" in schema else {}
    return (
        {"type": "array", "items": items | {"x-enum-varnames": [name.upper() for name in names]}}
        | default
        | {
            "minItems": 1,
            "uniqueItems": True,
        }
    )


def _fill_headers(operation: dict[str, Any]) -> None:
    """Sort the headers, which Litestar keeps in a set, and add the schema that OpenAPI requires."""
    for response in operation["responses"].values():
        if headers := response.get("headers"):
            response["headers"] = {name: {"schema": {"type": "string"}} | headers[name] for name in sorted(headers)}


def _describe_success(operation: dict[str, Any]) -> None:
    """Describe successful responses by their reason phrase, such as "Created", instead of Litestar's longer texts."""
    for status, response in operation["responses"].items():
        if int(status) < 300:
            response["description"] = HTTPStatus(int(status)).phrase


def _add_not_modified(operation: dict[str, Any]) -> None:
    """Add If-None-Match and the 304 response to operations whose response has an ETag."""
    if "ETag" in operation["responses"]["200"].get("headers", {}):
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)
        operation["responses"]["304"] = {"description": "Not modified: your cached copy is still current"}


def _add_export_formats(operation: dict[str, Any]) -> None:
    """Add the formats other than JSON to operations that return a page of books."""
    content = operation["responses"]["200"].get("content", {})
    if content.get("application/json", {}).get("schema") == {"$ref": "#/components/schemas/BookPage"}:
        content |= {media_type: {"schema": {"type": "string"}} for media_type in FORMATS}


def _request_body(name: str, media_types: Sequence[str]) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{name}"}
    return {"required": True, "content": {media_type: {"schema": reference} for media_type in media_types}}


def _require_condition(operation: dict[str, Any]) -> None:
    """Mark If-Match as required where its absence is 428. The handler has it optional, only to return that 428."""
    if "428" in operation["responses"]:
        (parameter,) = (parameter for parameter in operation["parameters"] if parameter["name"] == "If-Match")
        parameter["required"] = True


def _add_common_headers(spec: dict[str, Any]) -> None:
    """Add the headers of the gate to every response."""
    references = {name: {"$ref": f"#/components/headers/{name}"} for name in _COMMON_HEADERS}
    for item in spec["paths"].values():
        for operation in item.values():
            for response in operation["responses"].values():
                if "$ref" not in response:
                    response["headers"] = response.get("headers", {}) | references
    for response in spec["components"]["responses"].values():
        response["headers"] = response.get("headers", {}) | references


def _add_links(paths: dict[str, Any]) -> None:
    """Link each 201 response to the operations on the new resource."""
    for path, item in paths.items():
        resource = next((name for name in paths if name.startswith(f"{path}/{{") and name.endswith("_id}")), None)
        if resource is None or "post" not in item:
            continue
        parameter = resource[resource.index("{") + 1 : -1]
        links = item["post"]["responses"]["201"]["links"] = {}
        for operation in paths[resource].values():
            links[operation["operationId"]] = {
                "operationId": operation["operationId"],
                "parameters": {f"path.{parameter}": "$response.body#/id"},
            }
            if "requestBody" in operation:
                links[operation["operationId"]]["parameters"]["header.If-Match"] = "$response.header.ETag"
