"""Parameters: ids are written in one way, and of a query's those that a route knows, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, get_args

from litestar import Request
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from bookstore.config.text import CONTROL, excerpt
from bookstore.config.validation import suggestion
from bookstore.exceptions import ApiError, FieldError

MOST_MISTAKES: Final = 20


async def check(request: Request[Any, Any, Any]) -> None:
    """Raises NotFoundException for an id that is not written as we write it; ApiError `invalid_parameter` for a
    query parameter that the route does not know, that comes twice, is null or has control characters.

    Goes before every request; one without a query costs a look.
    """
    if path_parameters := request.scope["path_params"]:
        # int() of Python also reads 1_0, +1 and digits of other scripts: one book has one path.
        parts = request.scope["path"].split("/")
        if not all(str(value) in parts for value in path_parameters.values()):
            raise NotFoundException
    if not request.scope["query_string"]:
        return
    known = _known(request.route_handler)
    items = list(request.query_params.multi_items())
    found = Counter(name for name, _ in items)
    wrong = {name: reason for name, value in items if (reason := _wrong(name, value, found[name], known))}
    if wrong:
        mistakes = [FieldError(reason, parameter=excerpt(name)) for name, reason in sorted(wrong.items())]
        raise ApiError("invalid_parameter", "A parameter of the request is not valid.", *mistakes[:MOST_MISTAKES])


def _wrong(name: str, value: str, times: int, known: Mapping[str, bool]) -> str | None:
    if name not in known:
        allowed = f"known: {suggestion(excerpt(name), known)}" if known else "none is known here"
        return f"There is no such parameter; {allowed}."
    if times > 1:
        return "It is there more than once."
    if CONTROL.search(value):
        return "A text without control characters is needed."
    if value.lower() == "null" and not known[name]:  # msgspec takes the word for no number at all
        return "null is no number."
    return None


@cache
def _known(handler: HTTPRouteHandler) -> Mapping[str, bool]:
    """The names of the query parameters of `handler` and its dependencies, and whether each is a text."""
    providers = handler.resolve_dependencies().values()
    signatures = [handler.parsed_fn_signature, *(provider.parsed_fn_signature for provider in providers)]
    return {
        field.kwarg_definition.name or name: str in (field.annotation, *get_args(field.annotation))
        for signature in signatures
        for name, field in signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    }
