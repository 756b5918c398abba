"""Checks before measuring that all profiles give the same answers, and that an external service answers as declared."""

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
    """Two contenders answer differently, so their speeds are not comparable, or one does not answer as declared."""


def collect_answers(deployment: Deployment, workload: Workload, ids: Sequence[int]) -> Answers:
    """Return the JSON values of sample requests, by path.

    The sample is the workload's own GETs, PAGES pages by cursor, some of the books `ids` (ascending) and a book that
    does not exist. The workload's GETs are also sent with its headers: encoded bodies are compared decoded, and a 304
    has no body.
    """
    sample = _sample_ids(ids)
    requests = [
        (index, request.headers, path)
        for index, request in enumerate(repeatable_requests(workload))
        for path in sorted({request.path_for(book_id) for book_id in sample})
    ]
    paths = {path for *_, path in requests} | {f"/books/{book_id}" for book_id in (*sample, ids[-1] + 1)}
    values = {path: _fetch(deployment, path) for path in sorted(paths)}
    values |= {
        f"{path} with headers {index}": _fetch(deployment, path, headers)
        for index, headers, path in requests
        if headers
    }
    cursor = ""
    for _ in range(PAGES):
        path = f"/books?limit=37{cursor}"
        values[path] = _fetch(deployment, path)
        if not (following := values[path]["body"].get("next_cursor")):
            break
        cursor = f"&cursor={following}"
    return values


def compare(label: str, contender: Answers, other_label: str, other: Answers) -> None:
    """Raise InconsistentAnswersError, with the first path and both answers, if the answers differ."""
    for path in contender:
        if contender[path] != other.get(path):
            raise InconsistentAnswersError(
                f"{label} and {other_label} answer GET {path} differently:\n"
                f"  {label}: {_abbreviate(contender[path])}\n  {other_label}: {_abbreviate(other.get(path))}"
            )


def check_expectations(label: str, deployment: Deployment, workload: Workload, ids: Sequence[int]) -> None:
    """Check that an external service answers each GET with 2xx and the expected text. Raises
    InconsistentAnswersError."""
    for request in repeatable_requests(workload):
        for path in sorted({request.path_for(book_id) for book_id in _sample_ids(ids)}):
            status, body = deployment.get(path, request.headers)
            if not http.client.OK <= status < http.client.MULTIPLE_CHOICES:
                raise InconsistentAnswersError(
                    f"{label} answers GET {path} with {status}: {_abbreviate(body.decode(errors='replace'))}"
                )
            if request.expects and request.expects not in body.decode(errors="replace"):
                raise InconsistentAnswersError(
                    f"{label} answers GET {path} without {request.expects!r}: "
                    f"{_abbreviate(body.decode(errors='replace'))}"
                )


def repeatable_requests(workload: Workload) -> list[RequestSpec]:
    """Return the requests that give the same answer when repeated."""
    return [
        request
        for request in workload.requests
        if request.method == "GET" and "{uuid}" not in request.path and "{number}" not in request.path
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
