"""Checks of path and query parameters: canonical ids, and only known query parameters, each at most once."""

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

MAX_ERRORS: Final = 20


async def check(request: Request[Any, Any, Any]) -> None:
    """Check the parameters of a request before it reaches its handler.

    Raises NotFoundException for an id that is not in canonical form, and ApiError `invalid_parameter` for a query
    parameter that is unknown, repeated or null, or contains control characters.
    """
    if path_parameters := request.scope["path_params"]:
        # Python's int() also accepts 1_0, +1 and digits of other scripts, but each book has a single path.
        parts = request.scope["path"].split("/")
        if not all(str(value) in parts for value in path_parameters.values()):
            raise NotFoundException
    if not request.scope["query_string"]:
        return
    known = _known_parameters(request.route_handler)
    items = list(request.query_params.multi_items())
    counts = Counter(name for name, _ in items)
    violations = {name: reason for name, value in items if (reason := _violation(name, value, counts[name], known))}
    if violations:
        errors = [FieldError(reason, parameter=excerpt(name)) for name, reason in sorted(violations.items())]
        raise ApiError("invalid_parameter", "One or more parameters are invalid.", *errors[:MAX_ERRORS])


def _violation(name: str, value: str, times: int, known: Mapping[str, bool]) -> str | None:
    if name not in known:
        allowed = f"allowed: {suggestion(excerpt(name), known)}" if known else "none is allowed here"
        return f"Unknown parameter; {allowed}."
    if times > 1:
        return "The parameter is repeated."
    if CONTROL.search(value):
        return "Control characters are not allowed."
    if value.lower() == "null" and not known[name]:  # msgspec would read it as None
        return "`null` is not a number."
    return None


@cache
def _known_parameters(handler: HTTPRouteHandler) -> Mapping[str, bool]:
    """Map the query parameters of `handler` and its dependencies to whether each is a string."""
    providers = handler.resolve_dependencies().values()
    signatures = [handler.parsed_fn_signature, *(provider.parsed_fn_signature for provider in providers)]
    return {
        field.kwarg_definition.name or name: str in (field.annotation, *get_args(field.annotation))
        for signature in signatures
        for name, field in signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    }
