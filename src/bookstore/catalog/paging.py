"""A page's place in its list: `sort` and `cursor` as clients send them -> keys and values."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from bookstore.catalog import pagination, sorting
from bookstore.exceptions import ApiError, FieldError

T = TypeVar("T")


def wrong(parameter: str, detail: str) -> ApiError:
    """The answer to a query parameter that is not valid."""
    return ApiError("invalid_parameter", f"{parameter}: {detail}", FieldError(detail, parameter=parameter))


def keys(sort: str, orders: sorting.Orders) -> sorting.Keys:
    """The keys of `sort`. Raises ApiError for what is not known."""
    try:
        return sorting.parse(sort, orders)
    except ValueError as error:
        raise wrong("sort", str(error)) from None


def opened(text: str, asked: str) -> list[Any]:
    """What the cursor `text` holds. Raises ApiError where it is none of the list `asked`."""
    try:
        return pagination.decode(text, asked)
    except ValueError:
        raise _foreign() from None


def converted(values: list[Any], kind: type[T]) -> T:
    """A cursor's values as the tuple `kind`. Raises ApiError for other ones."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError:
        raise _foreign() from None


def parameters(values: list[Any], orders: sorting.Keys) -> dict[str, Any]:
    """A cursor's values as the parameters of `sorting.beyond`. Raises ApiError for those of other keys."""
    kind: Any = tuple[tuple(key.kind for key in orders)]  # type: ignore[misc] # made at run time
    return {sorting.parameter(number): value for number, value in enumerate(converted(values, kind))}


def _foreign() -> ApiError:
    return wrong("cursor", "not a cursor of this list; take next_cursor as it came, with the same filters and sort")
