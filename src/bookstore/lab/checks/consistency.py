"""Before anything is measured: do all profiles answer the same, and does another service answer at all?"""

from __future__ import annotations

import http.client
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.testbed.deployment import Deployment
from bookstore.lab.workload.spec import RequestSpec, Workload

PAGES: Final = 3

Answers = dict[str, Any]


class InconsistentAnswersError(InvalidMeasurement):
    """Two profiles answer differently: their speeds cannot be compared."""


def collect_answers(deployment: Deployment, workload: Workload, ids: Sequence[int]) -> Answers:
    """The JSON values of a sample of requests, by path: the workload's own GETs, a walk over PAGES pages by
    cursor, some of the books `ids` (ascending), and a book that does not exist. The workload's own are asked
    with its headers as well: what comes in a coding is compared decoded, a 304 has no body."""
    some = _sample_ids(ids)
    asked = [
        (index, ask.headers, path)
        for index, ask in enumerate(repeatable_requests(workload))
        for path in sorted({ask.path_of(book_id) for book_id in some})
    ]
    paths = {path for *_, path in asked} | {f"/books/{book_id}" for book_id in (*some, ids[-1] + 1)}
    found = {path: _fetch(deployment, path) for path in sorted(paths)}
    found |= {f"{path} with headers {index}": _fetch(deployment, path, it) for index, it, path in asked if it}
    cursor = ""
    for _ in range(PAGES):
        path = f"/books?limit=37{cursor}"
        found[path] = _fetch(deployment, path)
        if not (following := found[path]["body"].get("next_cursor")):
            break
        cursor = f"&cursor={following}"
    return found


def compare(label: str, contender: Answers, other_label: str, other: Answers) -> None:
    """Raises UnlikeError naming the first path whose answers differ, and how."""
    for path in contender:
        if contender[path] != other.get(path):
            raise InconsistentAnswersError(
                f"{label} and {other_label} answer GET {path} differently:\n"
                f"  {label}: {_abbreviate(contender[path])}\n  {other_label}: {_abbreviate(other.get(path))}"
            )


def check_expectations(label: str, deployment: Deployment, workload: Workload, ids: Sequence[int]) -> None:
    """Another service need not answer as ours does, but as the workload declares: 2xx, with the text that it
    expects, for each of its GETs. Raises UnlikeError."""
    for ask in repeatable_requests(workload):
        for path in sorted({ask.path_of(book_id) for book_id in _sample_ids(ids)}):
            status, body = deployment.get(path, ask.headers)
            if not http.client.OK <= status < http.client.MULTIPLE_CHOICES:
                raise InconsistentAnswersError(
                    f"{label} answers GET {path} with {status}: {_abbreviate(body.decode(errors='replace'))}"
                )
            if ask.expects and ask.expects not in body.decode(errors="replace"):
                raise InconsistentAnswersError(
                    f"{label} answers GET {path} without {ask.expects!r}: {_abbreviate(body.decode(errors='replace'))}"
                )


def repeatable_requests(workload: Workload) -> list[RequestSpec]:
    """The requests that can be asked twice with the same answer."""
    return [
        ask
        for ask in workload.requests
        if ask.method == "GET" and "{uuid}" not in ask.path and "{number}" not in ask.path
    ]


def _sample_ids(ids: Sequence[int]) -> list[int]:
    return sorted({ids[0], ids[1 % len(ids)], ids[len(ids) // 3], ids[len(ids) // 2], ids[-1]})


def _fetch(deployment: Deployment, path: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    status, body = deployment.get(path, headers)
    if status == http.client.NOT_MODIFIED:
        return {"status": status, "body": None}
    try:
        return {"status": status, "body": msgspec.json.decode(body)}
    except msgspec.DecodeError:
        raise InconsistentAnswersError(f"GET {path}: status {status}, not JSON: {body[:80]!r}") from None


def _abbreviate(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 200 else f"{text[:200]}…"
