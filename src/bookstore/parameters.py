"""Query parameters: those that a route knows, each once. What is mistyped is not ignored in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, get_args

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from bookstore.faults import Fault, Mistake
from bookstore.fitting import suggestion
from bookstore.scalars import shown

MOST_MISTAKES: Final = 20


async def check(request: Request[Any, Any, Any]) -> None:
    """Raises Fault `invalid_parameter` for what the route does not know, has twice, or is null.

    Goes before every request; one without a query costs a look.
    """
    if not request.scope["query_string"]:
        return
    known = _known(request.route_handler)
    items = list(request.query_params.multi_items())
    found = Counter(name for name, _ in items)
    # msgspec, which Litestar asks, takes this word for no number at all.
    nulls = {name for name, value in items if value.lower() == "null" and not known.get(name, True)}
    if not nulls and known.keys() >= found.keys() and len(found) == len(items):
        return
    mistakes = [
        Mistake(_wrong(name, known, times), parameter=shown(name))
        for name, times in sorted(found.items())
        if name not in known or times > 1 or name in nulls
    ]
    raise Fault("invalid_parameter", "A parameter of the request is not valid.", *mistakes[:MOST_MISTAKES])


def _wrong(name: str, known: Mapping[str, bool], times: int) -> str:
    if name in known:
        return "It is there more than once." if times > 1 else "null is no number."
    allowed = f"known: {suggestion(shown(name), known)}" if known else "none is known here"
    return f"There is no such parameter; {allowed}."


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
