"""JSON Schema of workload files, for editors, and a description of each key."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from bookstore.config.scalars import DURATION_PATTERN, duration_text
from bookstore.config.validation import is_duration, unpack_hint
from bookstore.lab.workload.file import MAX_ITEMS
from bookstore.lab.workload.spec import RequestSpec, Stage, Workload

MEANINGS: Final[dict[str, str]] = {
    "description": "One line on the purpose of the workload.",
    "path": "Shorthand for requests with a single GET of this path.",
    "headers": "Headers of the shorthand request.",
    "requests": "Kinds of request, mixed at random according to their weights.",
    "keys": "How {id} is drawn: uniform, or some books far more often (Zipf, exponent 0.99).",
    "model": "closed: each client waits for its response; open: requests arrive at a set rate.",
    "concurrency": "Number of clients; with stages, the number at the start. Closed model only.",
    "rate": "Requests per second; with stages, the rate at the start. Open model only.",
    "stages": "Steps in which the number of clients or the rate changes linearly to a target.",
    "duration": "Measured time; with stages, the sum of their durations.",
    "warm_up": "Maximum warm-up before the measured time; it ends earlier once throughput is steady.",
    "thresholds": "Pass criteria in k6's syntax, such as p(95)<200 or rate<0.01.",
    "books": "Size of a generated catalogue; by default the 10,000 real books.",
}
REQUEST_MEANINGS: Final[dict[str, str]] = {
    "name": "Name in tables; by default the method and path.",
    "method": "The HTTP method.",
    "path": "May contain {id} (a book's id), {number} (1 to 1000) and {uuid} (new for each request).",
    "weight": "Relative frequency, compared with the other requests' weights.",
    "headers": "Headers of the request; secrets are not allowed.",
    "body": "JSON, unless Content-Type says otherwise; may contain {id}, {number} and {uuid}.",
    "expects": "Text that an external service's response must contain; checked before measuring.",
}
STAGE_MEANINGS: Final[dict[str, str]] = {
    "duration": "Time to reach the target; 0s is a jump.",
    "target": "Clients (closed model) or requests per second (open model) at the end of the stage.",
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema 2020-12 of a workload file.

    It knows every key; which keys exclude each other is only checked by `workloads check`.
    """
    properties = _properties(Workload, MEANINGS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Bookstore workload",
        **_object({key: properties[key] for key in MEANINGS}, []),
        "oneOf": [{"required": ["path"]}, {"required": ["requests"]}],
    }


def default(key: str) -> str:
    """Return a key's default in words: `5`, `5s`, `none`."""
    if key in {"path", "requests"}:
        return "none: either path or requests is required"
    if key == "headers":
        return "none"
    field = next(field for field in msgspec.structs.fields(Workload) if field.name == key)
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(value, float):
        return duration_text(value)
    return str(value or "none")


def _properties(cls: type[msgspec.Struct], meanings: dict[str, str]) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    hints |= {key: hints.get(key) or get_type_hints(RequestSpec, include_extras=True)[key] for key in meanings}
    return {key: {"description": meanings[key], **_type(key, hints[key])} for key in meanings}


def _type(key: str, hint: Any) -> dict[str, Any]:
    kind, meta = unpack_hint(hint)
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if is_duration(meta):
        return {"type": "string", "pattern": f"^{DURATION_PATTERN}$"}
    if kind in (int, float):
        return {"type": "integer" if kind is int else "number", "minimum": meta.ge, "maximum": meta.le}
    if get_origin(kind) is dict:
        return {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    if get_origin(kind) is list:
        least = {"minItems": 1} if key == "requests" else {}
        return {"type": "array", "items": _items(get_args(kind)[0]), **least, "maxItems": MAX_ITEMS}
    return {"type": "string", **({"maxLength": meta.max_length} if meta and meta.max_length else {})}


def _items(kind: Any) -> dict[str, Any]:
    if kind is RequestSpec:
        return _object(_properties(RequestSpec, REQUEST_MEANINGS), ["path"])
    if kind is Stage:
        return _object(_properties(Stage, STAGE_MEANINGS), ["duration", "target"])
    return {"type": "string"}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    required_keys = {"required": required} if required else {}
    return {"type": "object", "additionalProperties": False, "properties": properties, **required_keys}
