"""Keyset pagination: `sort` and `cursor` as clients send them, and the cursors handed out with each page.

A cursor holds the last row's values of the sort keys, and a digest over them and over the list (filters and order). A
cursor that was changed, or that belongs to another list, is refused. The digest is not a secret: forging it only moves
the start of a page of public data.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from bookstore.catalog import sorting
from bookstore.exceptions import ApiError, FieldError

T = TypeVar("T")

_DIGEST_BYTES: Final = 9
_FORMAT: Final = b"cursor 2"


def encode(place: Sequence[Any], asked: str) -> str:
    """Return the cursor of a page of the list `asked` (filters and order, as text) whose last row is at `place`."""
    values = msgspec.json.encode(place)
    return base64.urlsafe_b64encode(_digest(values, asked) + values).decode().rstrip("=")


def decode(text: str, asked: str) -> list[Any]:
    """Return the place that `encode` received, with times as text.

    Raises ApiError for any text that `encode` did not return for the same `asked`.
    """
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        values = whole[_DIGEST_BYTES:]
        place = msgspec.json.decode(values, type=list[Any])
    except (ValueError, msgspec.MsgspecError, RecursionError):  # binascii.Error and UnicodeError are ValueErrors
        raise _invalid_cursor() from None
    if _digest(values, asked) != whole[:_DIGEST_BYTES] or encode(place, asked) != text:
        raise _invalid_cursor()
    return place


def sort_keys(sort: str, orders: sorting.Orders) -> sorting.SortKeys:
    """Return the sort keys of the parameter `sort`. Raises ApiError for an unknown order."""
    try:
        return sorting.parse(sort, orders)
    except ValueError as error:
        raise invalid_parameter("sort", str(error)) from None


def convert_values(values: list[Any], kind: type[T]) -> T:
    """Return a cursor's values as the tuple type `kind`. Raises ApiError if they do not match it."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError:
        raise _invalid_cursor() from None


def keyset_parameters(values: list[Any], orders: sorting.SortKeys) -> dict[str, Any]:
    """Return a cursor's values as the parameters of `sorting.beyond`. Raises ApiError if they belong to other keys."""
    kind: Any = tuple[tuple(key.kind for key in orders)]  # type: ignore[misc] # made at run time
    return {sorting.keyset_parameter(number): value for number, value in enumerate(convert_values(values, kind))}


def invalid_parameter(parameter: str, detail: str) -> ApiError:
    """Return the error for an invalid query parameter."""
    return ApiError("invalid_parameter", f"{parameter}: {detail}", FieldError(detail, parameter=parameter))


def _digest(values: bytes, asked: str) -> bytes:
    return hashlib.blake2s(values + asked.encode(), digest_size=_DIGEST_BYTES, person=_FORMAT).digest()


def _invalid_cursor() -> ApiError:
    detail = "not a cursor of this list; take next_cursor as it came, with the same filters and sort"
    return invalid_parameter("cursor", detail)
