"""Bodies of requests: bytes -> JSON -> a struct, with every wrong member told at once.

msgspec judges the syntax: unlike Python's json it refuses NaN, lone surrogates and numbers beyond a float.
It keeps the last of two equal names in silence, so the text is read once more with json, whose hook sees
both. Together that is some 5 ms for a batch of 1,000 books.
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
"""Bytes of a request's body: of any, and of a batch of books."""
MOST_MISTAKES: Final = 100
LONGEST_NUMBER: Final = 20
"""Digits. 2^64 has as many; no member takes more."""

_PLACE: Final = re.compile(r" - at `[^`]*`$")


def read(
    content: bytes,
    content_type: str | None,
    type: type[T],  # noqa: A002 - as msgspec calls it
    *,
    accepted: Sequence[str] = (JSON,),
    encoding: str | None = None,
) -> T:
    """`content` as a `type`: parse(), then convert()."""
    return convert(parse(content, content_type, accepted, encoding), type)


def parse(
    content: bytes, content_type: str | None, accepted: Sequence[str] = (JSON,), encoding: str | None = None
) -> object:
    """The JSON document in `content` as dicts, lists, texts, numbers, bools and None.

    `content_type` and `encoding` are the headers Content-Type and Content-Encoding. Raises ApiError
    `unsupported_media_type` unless it is one of `accepted`, in UTF-8 and not compressed; `malformed_body`
    where the content is not strict JSON (RFC 8259) with unique names.
    """
    _check_type(content_type, accepted, encoding)
    if not content.strip():
        raise ApiError("malformed_body", "The body is empty.")
    try:
        text = content.decode()
        msgspec.json.decode(content)
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_float=_number)
    except RecursionError:
        raise ApiError("malformed_body", "The body is nested too deeply.") from None
    except UnicodeDecodeError as error:
        raise ApiError("malformed_body", f"The body is not UTF-8, from byte {error.start} on.") from None
    except ValueError as error:  # of msgspec, json and the hooks
        raise ApiError("malformed_body", f"The body is no JSON: {error}.") from None


def convert(document: object, type: type[T]) -> T:  # noqa: A002 - as msgspec calls it
    """`document`, as of parse(), as a `type`; no text in it has a control character.

    Raises ApiError `invalid_body` with a FieldError for each wrong member, up to 100 of them.
    """
    reason = "A text has a control character."
    if not any(map(CONTROL.search, _texts(document))):
        try:
            return msgspec.convert(document, type)
        except msgspec.ValidationError as error:
            reason = _sentence(error)
    mistakes = list(islice(_mistakes(document, type, ""), MOST_MISTAKES)) or [FieldError(reason, pointer="")]
    more = " or more" if len(mistakes) == MOST_MISTAKES else ""
    raise ApiError("invalid_body", f"The body is not valid in {len(mistakes)}{more} of its members.", *mistakes)


def _check_type(content_type: str | None, accepted: Sequence[str], encoding: str | None) -> None:
    allowed = " or ".join(accepted)
    media_type, *parameters = (part.strip().lower() for part in (content_type or "").split(";"))
    charset = next((one.partition("=")[2].strip('" ') for one in parameters if one.startswith("charset=")), "utf-8")
    found = None
    if media_type not in accepted:
        found = f"Content-Type is {excerpt(content_type) if content_type else 'missing'}; {allowed} is taken here."
    elif charset not in {"utf-8", "utf8"}:
        found = f"The charset is {excerpt(charset)}; JSON is UTF-8."
    elif encoding and encoding.strip().lower() != "identity":
        found = f"Content-Encoding is {excerpt(encoding)}; a body is taken as it is."
    if found:
        raise ApiError("unsupported_media_type", found, headers={"Accept": ", ".join(accepted)})


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(members)
    if len(made) < len(members):
        twice = next(name for name, times in Counter(name for name, _ in members).items() if times > 1)
        raise ValueError(f"an object has the name {excerpt(twice)} twice")
    return made


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)


def _number(text: str) -> float:
    """1.0 is a whole number, as JSON Schema says; beyond 2^53 it is not known to be one."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= 2**53 else value


def _texts(document: object) -> Iterator[str]:
    """Every text in `document`, without names; not by recursion, which the client could exhaust."""
    rest = [document]
    while rest:
        value = rest.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)


def _mistakes(value: object, hint: Any, pointer: str) -> Iterator[FieldError]:
    """What is wrong with `value` as a `hint`, member by member."""
    kind = _container(hint, value)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        inner = _of_members(value, kind, pointer)
    elif get_origin(kind) in {list, tuple} and isinstance(value, list):
        item = get_args(kind)[0]
        inner = (mistake for place, one in enumerate(value) for mistake in _mistakes(one, item, f"{pointer}/{place}"))
    else:
        inner = iter(())
    first = next(inner, None)
    if first is not None:
        yield first
        yield from inner
        return
    if isinstance(value, str) and (control := CONTROL.search(value)):
        yield FieldError(
            f"A text without control characters is needed, it has U+{ord(control[0]):04X}.", pointer=pointer
        )
        return
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        yield FieldError(_sentence(error), pointer=pointer)


def _of_members(value: dict[str, object], struct: type[msgspec.Struct], pointer: str) -> Iterator[FieldError]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, member in value.items():
        place = f"{pointer}/{_escaped(name)}"
        if name in fields:
            yield from _mistakes(member, fields[name].type, place)
        elif struct.__struct_config__.forbid_unknown_fields:
            yield FieldError(f"There is no such member; known: {suggestion(excerpt(name), fields)}.", pointer=place)
    for name, field in fields.items():
        if field.required and name not in value:
            yield FieldError("It is missing.", pointer=f"{pointer}/{_escaped(name)}")


def _container(hint: Any, value: object) -> Any:
    """The struct or list in `hint` that `value` could be: of `Annotated[list[X], …] | None` it is list[X]."""
    if get_origin(hint) is Annotated:
        return _container(get_args(hint)[0], value)
    if get_origin(hint) in {Union, UnionType}:
        options = (_container(option, value) for option in get_args(hint))
        return next((one for one in options if _is_container(one, value)), None)
    return hint


def _is_container(kind: Any, value: object) -> bool:
    if isinstance(value, list):
        return get_origin(kind) in {list, tuple}
    return isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _sentence(error: msgspec.ValidationError) -> str:
    """`Expected `int`, got `str` - at `$[0]`` -> `Expected `int`, got `str`.`"""
    return _PLACE.sub("", str(error)) + "."


def _escaped(name: str) -> str:
    """A name as a part of a pointer (RFC 6901)."""
    return excerpt(name).replace("~", "~0").replace("/", "~1")
