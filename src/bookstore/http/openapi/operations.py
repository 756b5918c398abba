"""What a handler says for the OpenAPI document, and what Litestar's part of it is.

A handler says `responses=problems("not_found")`, `operation_class=body(NewBook)` and
`response_headers=[ETAG]`; openapi_document.py adds what Litestar cannot know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar, Final

import msgspec
from litestar.datastructures import ResponseHeader
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import License, Operation, Tag

from bookstore.exceptions import PROBLEM_TYPES
from bookstore.http import problem_details
from bookstore.http.request_body import JSON, MERGE_PATCH

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


@dataclass
class Problems(ResponseSpec):
    """As Litestar keeps what `problems` says."""

    codes: tuple[str, ...] = ()


def problems(*codes: str) -> Mapping[int, ResponseSpec]:
    """For a handler's `responses`: the codes of PROBLEM_TYPES that it answers beside those of every route."""
    return {
        status: Problems(problem_details.Problem, media_type=problem_details.PROBLEM_JSON, codes=tuple(of_status))
        for status, of_status in by_status(codes).items()
    }


def body(struct: type[msgspec.Struct]) -> type[Operation]:
    """For a handler's `operation_class`: it reads a `struct` with bodies.py."""

    class _Taking(Operation):
        taken: ClassVar = (struct.__name__, of_structs([struct]), (JSON,))

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
        description=f"Every error is a problem (RFC 9457) with a stable `code`: see [{problem_details.PROBLEMS_PATH}]"
        f"({problem_details.PROBLEMS_PATH}).",
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


def by_status(codes: Sequence[str]) -> dict[int, list[str]]:
    """The codes under their status, in the order of PROBLEM_TYPES, each once."""
    found: dict[int, list[str]] = {}
    for code, kind in PROBLEM_TYPES.items():
        if code in codes:
            found.setdefault(kind.status, []).append(code)
    return found


def of_structs(structs: Sequence[type[msgspec.Struct]]) -> dict[str, Any]:
    """As msgspec describes them: with every limit, and without further members where none are taken."""
    return msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")[1]


def _of_patch(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """A merge patch: any members of the struct's, and null for those that need not be there."""
    made = of_structs([struct])
    whole = made.pop(struct.__name__)
    members = {
        name: member if name in whole["required"] else _or_null(member) for name, member in whole["properties"].items()
    }
    patch = {"title": f"{struct.__name__}Patch", "type": "object", "properties": members, "additionalProperties": False}
    return made | {f"{struct.__name__}Patch": patch}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in schema.items() if key != "default"}
    return plain if "anyOf" in plain else {"anyOf": [plain, {"type": "null"}]}
