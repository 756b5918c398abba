"""For schemathesis: rules that the OpenAPI document tells in words, because JSON Schema has none for them.

Requests that are to be accepted are made to follow them; those that are to be refused go out as they are.
"""

from __future__ import annotations

from typing import Any

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.hooks import HookContext

from bookstore.catalog import isbn


def _hyphened(nine: str) -> str:
    return f"978-{nine}-{isbn.check_digit13(f'978{nine}')}"


schemathesis.openapi.format("isbn", st.from_regex(r"\A[0-9]{9}\Z").map(_hyphened))


@schemathesis.hook
def before_call(context: HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """schemathesis calls it before each request."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = case.id  # a new one for each thing to make
    _follow_rules_of_lists(case.query or {})
    body: Any = case.body
    if isinstance(body, dict):
        _follow_rules_of_books(body.get("items", [body]), case.operation.schema.get_base_url().rstrip("/"))


def _follow_rules_of_lists(query: dict[str, Any]) -> None:
    query.pop("cursor", None)  # only the service makes them; requests.yaml walks by them
    names = [name.removeprefix("-") for name in query.get("sort", "").split(",")]
    if len(set(names)) < len(names) or ("relevance" in names and "q" not in query):
        del query["sort"]


def _follow_rules_of_books(books: list[dict[str, Any]], base: str) -> None:
    """Their authors and genres exist, and no two have the same ISBN."""
    for member, path in (("author_ids", "authors"), ("genre_ids", "genres")):
        referring = [book for book in books if book.get(member)]
        there = _ids(f"{base}/{path}") if referring else []
        for book in referring:
            book[member] = there[: len(book[member])]
    seen = set()
    for book in books:
        if (number := book.get("isbn13")) in seen:
            book["isbn13"] = None
        seen.add(number)


def _ids(url: str) -> list[int]:
    """The newest ones that are there now."""
    items = requests.get(f"{url}?sort=-id&limit=200", timeout=10).json()["items"]
    return [one["id"] for one in items]
