"""The JSON Schema of profile files, for editors: completion, and mistakes as they are typed."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from bookstore.config.scalars import DURATION_PATTERN
from bookstore.config.validation import is_duration, unpacked
from bookstore.profile.engine_profile import KEYS, EngineProfile
from bookstore.profile.rendering import as_text

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_EXTENDS: Final = (
    "Another profile, by name or by path from this file, whose keys hold where this file is silent; "
    "its description is not inherited."
)
_NO_THREADS: Final = "as many as pool_size + max_overflow with psycopg-sync, none with the others"


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of one profile's file. It knows each key; combinations are `profiles check`'s."""
    properties = {key: _property(key) for key in KEYS}
    properties["extends"] = {"description": _EXTENDS, "type": "string", "minLength": 1}
    return {
        "$schema": _DIALECT,
        "title": "Bookstore engine profile",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def default(key: str) -> str:
    """A key's default in a person's words: `5`, `2s`, `off`."""
    value = getattr(EngineProfile(name=""), key)
    if value is None:
        return _NO_THREADS
    return as_text(_hint(key), value) or "none"


def meaning(key: str) -> str:
    """The sentence beside the key's field."""
    return str(unpacked(_hint(key))[1].description)


def _property(key: str) -> dict[str, Any]:
    kind, meta = unpacked(_hint(key))
    return {"description": f"{meaning(key)} Default: {default(key)}.", **_type(kind, meta)}


def _type(kind: Any, meta: msgspec.Meta) -> dict[str, Any]:
    if get_origin(kind) is Literal:
        words = list(get_args(kind))
        return {"enum": [*words, None] if "null" in words else words}  # YAML reads a bare null as nothing
    if kind is bool:
        return {"enum": [True, False, "on", "off"]}
    if is_duration(meta):
        return {"type": "string", "pattern": f"^{DURATION_PATTERN}$"}
    if kind is int:
        return {"type": "integer", "minimum": meta.ge, "maximum": meta.le}
    return {"type": "string", "maxLength": meta.max_length}


def _hint(key: str) -> Any:
    return get_type_hints(EngineProfile, include_extras=True)[key]
