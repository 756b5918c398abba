"""What a handler declares for the OpenAPI document, and Litestar's configuration for it.

A handler declares `responses=problems("not_found")`, `operation_class=body(BookInput)` and `response_headers=[ETAG]`;
document.py adds what Litestar cannot derive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar, Final

import msgspec
from litestar.datastructures import ResponseHeader
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import License, OpenAPIType, Operation, Schema, Tag

from bookstore.exceptions import PROBLEM_TYPES
from bookstore.http import problem_details
from bookstore.http.request_body import JSON, MERGE_PATCH

ISBN: Final = {"format": "isbn"}
"""For a parameter's `schema_extra`. JSON Schema allows custom formats."""

ETAG: Final = ResponseHeader(
    name="ETag",
    documentation_only=True,
    description="The version of the representation, for `If-Match` and `If-None-Match`",
)
LINK: Final = ResponseHeader(
    name="Link",
    documentation_only=True,
    description='The URL of the next page, if there is one: `</books?cursor=…>; rel="next"`',
)
LOCATION: Final = ResponseHeader(name="Location", documentation_only=True, description="The path of the new resource")


@dataclass
class Problems(ResponseSpec):
    """The problem codes of one status, as Litestar stores them."""

    codes: tuple[str, ...] = ()


def problems(*codes: str) -> Mapping[int, ResponseSpec]:
    """Declare, for a handler's `responses`, the problem codes that it returns in addition to those of every route."""
    return {
        status: Problems(problem_details.Problem, media_type=problem_details.PROBLEM_JSON, codes=tuple(status_codes))
        for status, status_codes in group_by_status(codes).items()
    }


def body(struct: type[msgspec.Struct]) -> type[Operation]:
    """Declare, for a handler's `operation_class`, that it reads a `struct` with request_body.py."""

    class _BodyOperation(Operation):
        accepted_body: ClassVar = (struct.__name__, struct_schemas([struct]), (JSON,))

    return _BodyOperation


def merge_patch(struct: type[msgspec.Struct]) -> type[Operation]:
    """Declare, for a handler's `operation_class`, that it reads a merge patch (RFC 7396) of a `struct`.

    It also reads plain JSON, which the document omits: with two media types, openapi-python-client generates invalid
    code.
    """

    class _PatchOperation(Operation):
        accepted_body: ClassVar = (f"{struct.__name__}Patch", _patch_schemas(struct), (MERGE_PATCH,))

    return _PatchOperation


def comma_separated(values: Sequence[str]) -> Mapping[str, Any]:
    """Declare, for a parameter's `schema_extra`, that its text is a list of some of these values."""
    return {"items": Schema(type=OpenAPIType.STRING, enum=list(values)), "unique_items": True}


def config(**keys: Any) -> OpenAPIConfig:
    """Return Litestar's OpenAPI configuration. `keys` are passed to OpenAPIConfig."""
    return OpenAPIConfig(
        title="Bookstore",
        version=version("bookstore"),
        summary="A catalogue of books",
        description="Errors are problem details (RFC 9457) with a stable `code`, which "
        f"[{problem_details.PROBLEMS_PATH}]({problem_details.PROBLEMS_PATH}) explains.",
        license=License(name="MIT", identifier="MIT"),
        tags=[
            Tag(name="Books", description="Search, read and change the books of the catalogue"),
            Tag(name="Authors", description="Read and change authors, and list their books"),
            Tag(name="Genres", description="Read and change genres, and list their books"),
            Tag(name="Health", description="Liveness and readiness probes"),
            Tag(name="Service", description="Information about the service itself"),
        ],
        use_handler_docstrings=True,
        **keys,
    )


def group_by_status(codes: Sequence[str]) -> dict[int, list[str]]:
    """Group the distinct codes by status, in the order of PROBLEM_TYPES."""
    groups: dict[int, list[str]] = {}
    for code, problem_type in PROBLEM_TYPES.items():
        if code in codes:
            groups.setdefault(problem_type.status, []).append(code)
    return groups


def struct_schemas(structs: Sequence[type[msgspec.Struct]]) -> dict[str, Any]:
    """Return the JSON schemas of `structs` by name, with all limits but without defaults.

    From a default, generators such as openapi-typescript conclude that the member is always present.
    """
    schemas = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")[1]
    for schema in schemas.values():
        for member in schema["properties"].values():
            member.pop("default", None)
    return schemas


def _patch_schemas(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the schemas of a merge patch: no member is required, and optional members accept null."""
    schemas = struct_schemas([struct])
    whole = schemas.pop(struct.__name__)
    members = {
        name: member if name in whole["required"] else _nullable(member) for name, member in whole["properties"].items()
    }
    patch = {"title": f"{struct.__name__}Patch", "type": "object", "properties": members, "additionalProperties": False}
    return schemas | {f"{struct.__name__}Patch": patch}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return schema if "anyOf" in schema else {"anyOf": [schema, {"type": "null"}]}
