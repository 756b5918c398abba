"""Before anything is measured: do all profiles answer the same?"""

from __future__ import annotations

import http.client
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from bookstore.lab.deployment import Deployment
from bookstore.lab.invalid import Invalid
from bookstore.lab.workload import Workload

PAGES: Final = 3

Answers = dict[str, Any]


class UnlikeError(Invalid):
    """Two profiles answer differently: their speeds cannot be compared."""


def answers(deployment: Deployment, workload: Workload, ids: Sequence[int]) -> Answers:
    """The JSON values of a sample of requests, by path: the workload's own, a walk over PAGES pages by
    cursor, some of the books `ids` (ascending), and a book that does not exist. The workload's own are asked
    with its headers as well: what comes in a coding is compared decoded, a 304 has no body."""
    some = {ids[0], ids[1 % len(ids)], ids[len(ids) // 3], ids[len(ids) // 2], ids[-1]}
    asks = [ask for ask in workload.requests if not ask.writes]
    own = {ask.path_of(book_id) for book_id in some for ask in asks}
    paths = own | {f"/books/{book_id}" for book_id in (*some, ids[-1] + 1)}
    found = {path: _value(deployment, path) for path in sorted(paths)}
    for number, ask in enumerate(asks):
        if ask.headers:
            own = {ask.path_of(book_id) for book_id in some}
            found |= {f"{path} with headers {number}": _value(deployment, path, ask.headers) for path in sorted(own)}
    cursor = ""
    for _ in range(PAGES):
        path = f"/books?limit=37{cursor}"
        found[path] = _value(deployment, path)
        if not (following := found[path]["body"].get("next_cursor")):
            break
        cursor = f"&cursor={following}"
    return found


def compare(label: str, contender: Answers, other_label: str, other: Answers) -> None:
    """Raises UnlikeError naming the first path whose answers differ, and how."""
    for path in contender:
        if contender[path] != other.get(path):
            raise UnlikeError(
                f"{label} and {other_label} answer GET {path} differently:\n"
                f"  {label}: {_short(contender[path])}\n  {other_label}: {_short(other.get(path))}"
            )


def _value(deployment: Deployment, path: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    status, body = deployment.get(path, headers)
    if status == http.client.NOT_MODIFIED:
        return {"status": status, "body": None}
    try:
        return {"status": status, "body": msgspec.json.decode(body)}
    except msgspec.DecodeError:
        raise UnlikeError(f"GET {path}: status {status}, not JSON: {body[:80]!r}") from None


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 200 else f"{text[:200]}…"
