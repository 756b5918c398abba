"""Keyset pagination: `sort` and `cursor` as clients send them, and the cursors handed out with each page.

A cursor holds the sort key values of the last row and, for a search, its interpretation. It is signed, together with
the filters and order of its list, with a key that the database keeps: all workers and machines on a database accept
each other's cursors, and reject modified ones, forged ones and those of other lists. What a cursor says, for example
that the words of a search are not common, can therefore be trusted.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog import sorting
from bookstore.catalog.models import cursor_key
from bookstore.exceptions import ApiError, FieldError

T = TypeVar("T")

_DIGEST_BYTES: Final = 9
_FORMAT: Final = b"cursor 3"
_KEYS: Final = WeakKeyDictionary[sa.Engine, bytes]()


def signing_key(session: Session) -> bytes:
    """Return the key that signs the cursors of the session's database. Reads it once for each engine."""
    engine = session.connection().engine
    if engine not in _KEYS:
        _KEYS[engine] = session.execute(sa.select(cursor_key.c.key)).scalar_one()
    return _KEYS[engine]


def encode(values: Sequence[Any], list_key: str, key: bytes) -> str:
    """Return the cursor of a page whose last row has these sort key `values`.

    `list_key` identifies the list: its filters and order as text. `key` is the `signing_key`.
    """
    payload = msgspec.json.encode(values)
    return base64.urlsafe_b64encode(_digest(payload, list_key, key) + payload).decode().rstrip("=")


def decode(text: str, list_key: str, key: bytes, parameter: str = "cursor") -> list[Any]:
    """Return the values that `encode` received, with times as text.

    Raises ApiError, which names `parameter`, for any text that `encode` did not return for the same list and key.
    """
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        payload = whole[_DIGEST_BYTES:]
        values = msgspec.json.decode(payload, type=list[Any])
    except (ValueError, msgspec.MsgspecError, RecursionError):  # binascii.Error and UnicodeError are ValueErrors
        raise _invalid_cursor(parameter) from None
    is_signed = hmac.compare_digest(_digest(payload, list_key, key), whole[:_DIGEST_BYTES])
    if not is_signed or encode(values, list_key, key) != text:
        raise _invalid_cursor(parameter)
    return values


def sort_keys(parse: Callable[[], sorting.SortKeys]) -> sorting.SortKeys:
    """Return the sort keys that `parse` makes of the parameter `sort`. Raises ApiError for its ValueError."""
    try:
        return parse()
    except ValueError as error:
        raise invalid_parameter("sort", str(error)) from None


def convert_values(values: list[Any], kind: type[T], parameter: str = "cursor") -> T:
    """Return a cursor's values as the tuple type `kind`. Raises ApiError if they do not match it."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError:
        raise _invalid_cursor(parameter) from None


def keyset_parameters(values: list[Any], keys: sorting.SortKeys) -> dict[str, Any]:
    """Return a cursor's values as the parameters of `keyset_condition`. Raises ApiError if they do not fit `keys`."""
    kind: Any = tuple[tuple(key.kind for key in keys)]  # type: ignore[misc] # built at run time
    return {sorting.keyset_parameter(number): value for number, value in enumerate(convert_values(values, kind))}


def invalid_parameter(parameter: str, detail: str) -> ApiError:
    """Return the error for an invalid query parameter."""
    return ApiError("invalid_parameter", f"{parameter}: {detail}", FieldError(detail, parameter=parameter))


def _digest(payload: bytes, list_key: str, key: bytes) -> bytes:
    # BLAKE2 with a key is a MAC: no HMAC is needed around it.
    signed = payload + list_key.encode()
    return hashlib.blake2s(signed, digest_size=_DIGEST_BYTES, key=key, person=_FORMAT).digest()


def _invalid_cursor(parameter: str) -> ApiError:
    detail = "not a cursor of this list; send next_cursor unchanged, with the same filters and sort"
    return invalid_parameter(parameter, detail)
