"""Request bodies: bytes -> JSON -> struct, with an error for every invalid member.

msgspec checks the syntax: unlike Python's json, it rejects NaN, lone surrogates and numbers beyond a float. It
silently keeps the last of two equal names, so the text is then parsed with json, whose hook sees both. Together
this takes about 5 ms for a batch of 1,000 books.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from types import UnionType
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

import msgspec

from bookstore.config.text import CONTROL, excerpt
from bookstore.config.validation import suggestion
from bookstore.exceptions import ApiError, FieldError

T = TypeVar("T")

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
LARGEST_BODY: Final = 256 * 1024
LARGEST_BATCH: Final = 4 * 1024 * 1024
"""Limits in bytes, for any request body and for a batch of books."""
MAX_ERRORS: Final = 100
LONGEST_NUMBER: Final = 20
"""Digits, as many as 2^64 has; no member accepts more."""

_BROKEN_ESCAPE: Final = re.compile("u[0-9A-Fa-f]{0,3}[^0-9A-Fa-f]")
_PLACE: Final = re.compile(r" - at `[^`]*`$")


def read(
    content: bytes,
    content_type: str | None,
    type: type[T],  # noqa: A002 - as msgspec calls it
    *,
    accepted: Sequence[str] = (JSON,),
    encoding: str | None = None,
) -> T:
    """Return `content` as a `type`: parse(), then convert()."""
    return convert(parse(content, content_type, accepted, encoding), type)


def parse(
    content: bytes, content_type: str | None, accepted: Sequence[str] = (JSON,), encoding: str | None = None
) -> object:
    """Return the JSON document in `content` as dicts, lists, strings, numbers, bools and None.

    `content_type` and `encoding` are the headers Content-Type and Content-Encoding. Raises ApiError
    `unsupported_media_type` unless the type is one of `accepted`, in UTF-8 and not compressed, and `malformed_body`
    unless the content is strict JSON (RFC 8259) with unique names.
    """
    _check_type(content_type, accepted, encoding)
    if not content.strip():
        raise ApiError("malformed_body", "The request body is empty.")
    try:
        text = content.decode()
        _check_syntax(content, text)
        return json.loads(text, object_pairs_hook=_build_object, parse_int=_parse_integer, parse_float=_parse_number)
    except RecursionError:
        raise ApiError("malformed_body", "The request body is nested too deeply.") from None
    except UnicodeDecodeError as error:
        raise ApiError("malformed_body", f"The request body is not valid UTF-8 at byte {error.start}.") from None
    except ValueError as error:  # from msgspec, json and the hooks
        raise ApiError("malformed_body", f"The request body is not valid JSON: {error}.") from None


def convert(document: object, type: type[T]) -> T:  # noqa: A002 - as msgspec calls it
    """Return `document`, a result of parse(), as a `type` without control characters in its strings.

    Raises ApiError `invalid_body` with a FieldError for each invalid member, up to 100 of them.
    """
    reason = "Control characters are not allowed."
    if not any(map(CONTROL.search, _strings(document))):
        try:
            return msgspec.convert(document, type)
        except msgspec.ValidationError as error:
            reason = _sentence(error)
    errors = list(islice(_errors(document, type, ""), MAX_ERRORS)) or [FieldError(reason, pointer="")]
    more = " or more" if len(errors) == MAX_ERRORS else ""
    raise ApiError("invalid_body", f"Invalid members in the request body: {len(errors)}{more}.", *errors)


def _check_type(content_type: str | None, accepted: Sequence[str], encoding: str | None) -> None:
    allowed = " or ".join(accepted)
    media_type, *parameters = (part.strip().lower() for part in (content_type or "").split(";"))
    charset = next((part.partition("=")[2].strip('" ') for part in parameters if part.startswith("charset=")), "utf-8")
    detail = None
    if media_type not in accepted:
        detail = f"Content-Type is {excerpt(content_type) if content_type else 'missing'}; send {allowed}."
    elif charset not in {"utf-8", "utf8"}:
        detail = f"The charset is {excerpt(charset)}; send UTF-8."
    elif {part.strip().lower() for part in (encoding or "").split(",")} - {"", "identity"}:
        detail = f"Content-Encoding is {excerpt(encoding or '')}; send the body uncompressed."
    if detail:
        raise ApiError("unsupported_media_type", detail, headers={"Accept": ", ".join(accepted)})


def _check_syntax(content: bytes, text: str) -> None:
    """Raise ValueError unless the content is JSON. msgspec reports wrong escapes near the end as truncation."""
    try:
        msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        if "truncated" not in str(error):
            raise
        try:
            json.loads(text)
        except json.JSONDecodeError as second:
            if _BROKEN_ESCAPE.match(text, second.pos):
                raise ValueError(f"invalid \\u escape (byte {len(text[: second.pos].encode())})") from None
            raise error from None
        raise ValueError("a \\u escape is half of a surrogate pair") from None


def _build_object(members: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(members)
    if len(unique) < len(members):
        duplicate = next(name for name, times in Counter(name for name, _ in members).items() if times > 1)
        raise ValueError(f"an object has the duplicate name {excerpt(duplicate)}")
    return unique


def _parse_integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number has {len(text)} digits; at most {LONGEST_NUMBER} are allowed")
    return int(text)


def _parse_number(text: str) -> float:
    """Return a whole number such as 1.0 as an int, as in JSON Schema, up to 2^53 where floats are exact."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= 2**53 else value


def _strings(document: object) -> Iterator[str]:
    """Yield every string in `document` except names. Not recursive, because a client could exhaust the stack."""
    rest = [document]
    while rest:
        value = rest.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)


def _errors(value: object, hint: Any, pointer: str) -> Iterator[FieldError]:
    """Yield the errors in `value` as a `hint`, member by member."""
    kind = _container(hint, value)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        inner = _member_errors(value, kind, pointer)
    elif get_origin(kind) in {list, tuple} and isinstance(value, list):
        item = get_args(kind)[0]
        inner = (error for index, member in enumerate(value) for error in _errors(member, item, f"{pointer}/{index}"))
    else:
        inner = iter(())
    first = next(inner, None)
    if first is not None:
        yield first
        yield from inner
        return
    if isinstance(value, str) and (control := CONTROL.search(value)):
        yield FieldError(f"Control characters are not allowed; found U+{ord(control[0]):04X}.", pointer=pointer)
        return
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        yield FieldError(_sentence(error), pointer=pointer)


def _member_errors(value: dict[str, object], struct: type[msgspec.Struct], pointer: str) -> Iterator[FieldError]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, member in value.items():
        place = f"{pointer}/{_escape(name)}"
        if name in fields:
            yield from _errors(member, fields[name].type, place)
        elif struct.__struct_config__.forbid_unknown_fields:
            yield FieldError(f"Unknown member; allowed: {suggestion(excerpt(name), fields)}.", pointer=place)
    for name, field in fields.items():
        if field.required and name not in value:
            yield FieldError("This member is required.", pointer=f"{pointer}/{_escape(name)}")


def _container(hint: Any, value: object) -> Any:
    """Return the struct or list type in `hint` that fits `value`: list[X] for `Annotated[list[X], …] | None`."""
    if get_origin(hint) is Annotated:
        return _container(get_args(hint)[0], value)
    if get_origin(hint) in {Union, UnionType}:
        options = (_container(option, value) for option in get_args(hint))
        return next((option for option in options if _is_container(option, value)), None)
    return hint


def _is_container(kind: Any, value: object) -> bool:
    if isinstance(value, list):
        return get_origin(kind) in {list, tuple}
    return isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _sentence(error: msgspec.ValidationError) -> str:
    """`Expected `int`, got `str` - at `$[0]`` -> `Expected `int`, got `str`.`"""
    return _PLACE.sub("", str(error)) + "."


def _escape(name: str) -> str:
    """Escape a name for a JSON pointer (RFC 6901)."""
    return excerpt(name).replace("~", "~0").replace("/", "~1")
