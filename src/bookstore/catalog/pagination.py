"""Keyset pagination: `sort` and `cursor` as clients send them, and the cursors handed out with each page.

A cursor holds the sort key values of the last row, and a digest of these values and of the list (filters and order).
Modified cursors and cursors of other lists are rejected. The digest is not a secret: a forged cursor only moves the
start of a page of public data.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from bookstore.catalog import sorting
from bookstore.exceptions import ApiError, FieldError

T = TypeVar("T")

_DIGEST_BYTES: Final = 9
_FORMAT: Final = b"cursor 2"


def encode(values: Sequence[Any], list_key: str) -> str:
    """Return the cursor of a page whose last row has these sort key `values`.

    `list_key` identifies the list: its filters and order as text.
    """
    payload = msgspec.json.encode(values)
    return base64.urlsafe_b64encode(_digest(payload, list_key) + payload).decode().rstrip("=")


def decode(text: str, list_key: str) -> list[Any]:
    """Return the values that `encode` received, with times as text.

    Raises ApiError for any text that `encode` did not return for the same `list_key`.
    """
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        payload = whole[_DIGEST_BYTES:]
        values = msgspec.json.decode(payload, type=list[Any])
    except (ValueError, msgspec.MsgspecError, RecursionError):  # binascii.Error and UnicodeError are ValueErrors
        raise _invalid_cursor() from None
    if _digest(payload, list_key) != whole[:_DIGEST_BYTES] or encode(values, list_key) != text:
        raise _invalid_cursor()
    return values


def sort_keys(parse: Callable[[], sorting.SortKeys]) -> sorting.SortKeys:
    """Return the sort keys that `parse` makes of the parameter `sort`. Raises ApiError for its ValueError."""
    try:
        return parse()
    except ValueError as error:
        raise invalid_parameter("sort", str(error)) from None


def convert_values(values: list[Any], kind: type[T]) -> T:
    """Return a cursor's values as the tuple type `kind`. Raises ApiError if they do not match it."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError:
        raise _invalid_cursor() from None


def keyset_parameters(values: list[Any], keys: sorting.SortKeys) -> dict[str, Any]:
    """Return a cursor's values as the parameters of `keyset_condition`. Raises ApiError if they do not fit `keys`."""
    kind: Any = tuple[tuple(key.kind for key in keys)]  # type: ignore[misc] # built at run time
    return {sorting.keyset_parameter(number): value for number, value in enumerate(convert_values(values, kind))}


def invalid_parameter(parameter: str, detail: str) -> ApiError:
    """Return the error for an invalid query parameter."""
    return ApiError("invalid_parameter", f"{parameter}: {detail}", FieldError(detail, parameter=parameter))


def _digest(payload: bytes, list_key: str) -> bytes:
    return hashlib.blake2s(payload + list_key.encode(), digest_size=_DIGEST_BYTES, person=_FORMAT).digest()


def _invalid_cursor() -> ApiError:
    detail = "not a cursor of this list; send next_cursor unchanged, with the same filters and sort"
    return invalid_parameter("cursor", detail)
