"""The JSON Schema of workload files, for editors; and what each key means."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from bookstore.config.scalars import DURATION_PATTERN, duration_text
from bookstore.config.validation import is_duration, unpacked
from bookstore.lab.workload.file import MAX_ITEMS
from bookstore.lab.workload.spec import RequestSpec, Stage, Workload

MEANINGS: Final[dict[str, str]] = {
    "description": "What the workload is for, in a line.",
    "path": "Short for requests with one GET of this path.",
    "headers": "Sent with each request of path.",
    "requests": "The kinds of request, mixed at random by their weights.",
    "keys": "How {id} is drawn: each book alike, or some far more often (Zipf, exponent 0.99).",
    "model": "closed: clients that wait for their answers; open: requests come at a rate.",
    "concurrency": "Clients; with stages those at the start. Closed model only.",
    "rate": "Requests a second; with stages those at the start. Open model only.",
    "stages": "Steps in which clients or rate go to a target, in a straight line.",
    "duration": "The measured time; with stages their sum.",
    "warm_up": "The longest warm-up before it; it ends earlier when throughput is steady.",
    "thresholds": "Promises in k6's syntax, such as p(95)<200 or rate<0.01.",
    "books": "Size of a generated catalogue; without it, the 10,000 real books.",
}
REQUEST_MEANINGS: Final[dict[str, str]] = {
    "name": "What tables call it; by default its method and path.",
    "method": "The HTTP method.",
    "path": "May hold {id} (a book's id), {number} (1 to 1000) and {uuid} (a new one each time).",
    "weight": "How often it is sent, beside the others' weights.",
    "headers": "Sent with it; no secrets.",
    "body": "JSON, unless a Content-Type says otherwise; may hold {id}, {number} and {uuid}.",
    "expects": "A text that the answer of a service other than ours must hold; looked for before measuring.",
}
STAGE_MEANINGS: Final[dict[str, str]] = {
    "duration": "How long the way to the target takes; 0s is a jump.",
    "target": "Clients (closed model) or requests a second (open model) at its end.",
}


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of one workload's file. It knows each key; what keys rule out each other is
    `workloads check`'s."""
    properties = _properties(Workload, MEANINGS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Bookstore workload",
        **_object({key: properties[key] for key in MEANINGS}, []),
        "oneOf": [{"required": ["path"]}, {"required": ["requests"]}],
    }


def default(key: str) -> str:
    """A key's default in a person's words: `5`, `5s`, `none`."""
    if key in {"path", "requests"}:
        return "none: one of path and requests has to be said"
    if key == "headers":
        return "none"
    found = next(field for field in msgspec.structs.fields(Workload) if field.name == key)
    value = found.default_factory() if found.default is msgspec.NODEFAULT else found.default
    if isinstance(value, float):
        return duration_text(value)
    return str(value or "none")


def _properties(cls: type[msgspec.Struct], meanings: dict[str, str]) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    hints |= {key: hints.get(key) or get_type_hints(RequestSpec, include_extras=True)[key] for key in meanings}
    return {key: {"description": meanings[key], **_type(key, hints[key])} for key in meanings}


def _type(key: str, hint: Any) -> dict[str, Any]:
    kind, meta = unpacked(hint)
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
    needed = {"required": required} if required else {}
    return {"type": "object", "additionalProperties": False, "properties": properties, **needed}
