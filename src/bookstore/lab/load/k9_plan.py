"""A workload as k9's plan: flows, the executor, and a file of keys that k9 reads row by row.

A plan has one flow per kind of request, among which k9 draws by weight. Each request that needs a key takes the next
row, whichever client sends it. The same seed therefore requests the same books in the same order from every contender.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bookstore.lab.workload.spec import MAX_CLIENTS, RequestSpec, Workload

TOKEN: Final = "BOOKSTORE_LAB_TOKEN"  # noqa: S105 - the variable's name
"""The environment variable through which k9 gets the token for writes."""

ZIPF_EXPONENT: Final = 0.99
"""YCSB's value: with 10,000 books, the most popular 1 % receive half of the requests."""
ROWS: Final = 100_000
"""Keys in the file; a longer load starts again at the first."""
MAX_NUMBER: Final = 1000
GRACE_S: Final = 30
"""Seconds that requests in flight at the end may still take."""
MARGIN_S: Final = 0.5
"""Seconds that the load outlasts the measurement, because k9's clock starts before its first request."""

_FIRST_CLIENTS: Final = 10
"""Initial clients of the open model; k9 adds more when all are waiting. Each keeps a connection, and they take
turns."""
_PER_S: Final = 1000
"""k9 requires integers, so rates are requests per this many seconds."""


def plan(workload: Workload, base: str, keys_file: Path, *, has_token: bool) -> dict[str, Any]:
    """Return k9's plan for the measured load of `workload` on the service at `base`."""
    executor = _ramping_load(workload) if workload.stages else _constant_load(workload, workload.duration + MARGIN_S)
    return _plan(workload, base, keys_file, {**executor, "gracefulStop": f"{GRACE_S}s"}, has_token)


def warm_up(workload: Workload, base: str, keys_file: Path, *, has_token: bool) -> dict[str, Any]:
    """Return k9's plan for the warm-up: constant, at the load with which the measured part starts."""
    executor = {**_constant_load(workload, workload.warm_up), "gracefulStop": "2s"}
    return _plan(workload, base, keys_file, executor, has_token)


def write_keys(path: Path, workload: Workload, ids: Sequence[int], seed: Sequence[int]) -> None:
    """Write ROWS rows of a key, drawn as the workload's `keys` says, and a number from 1 to MAX_NUMBER."""
    rng = np.random.default_rng(seed)
    keys = draw_keys(ids, workload.keys == "zipf", rng) if ids else np.zeros(ROWS, np.int64)
    numbers = rng.integers(1, MAX_NUMBER, size=ROWS, endpoint=True)
    rows = [f"{key},{number}" for key, number in zip(keys.tolist(), numbers.tolist(), strict=True)]
    path.write_text("\n".join(["id,number", *rows]))


def draw_keys(ids: Sequence[int], is_zipf: bool, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw ROWS of `ids`: uniformly, or the k-th of a shuffled list in proportion to 1 / k ** ZIPF_EXPONENT.

    The list is shuffled because popular ids would otherwise share the same pages of the table.
    """
    shuffled = rng.permutation(np.asarray(ids, np.int64))
    if not is_zipf:
        return rng.choice(shuffled, ROWS)
    weights = 1 / np.arange(1, len(shuffled) + 1) ** ZIPF_EXPONENT
    return rng.choice(shuffled, ROWS, p=weights / weights.sum())


def _plan(workload: Workload, base: str, keys_file: Path, executor: dict[str, Any], has_token: bool) -> dict[str, Any]:
    names = [f"kind{number}" for number in range(len(workload.requests))]
    weights = {name: request.weight for name, request in zip(names, workload.requests, strict=True)}
    flows = {
        name: [{"request": _request(request, number, base, has_token)}]
        for number, (name, request) in enumerate(zip(names, workload.requests, strict=True))
    }
    feeders = {"keys": {"file": str(keys_file), "mode": "sequential"}}
    needs_keys = any(
        placeholder in f"{request.path}{request.body}"
        for request in workload.requests
        for placeholder in ("{id}", "{number}")
    )
    options = {"scenarios": {"load": {**executor, "transactions": weights}}}
    return {"options": options, "flows": flows, **({"feeders": feeders} if needs_keys else {})}


def _request(request: RequestSpec, number: int, base: str, has_token: bool) -> dict[str, Any]:
    headers = dict(request.headers)
    names = {name.lower() for name in headers}
    if "accept-encoding" not in names:
        headers["Accept-Encoding"] = "identity"  # k9 would request gzip; wrk, ab and the article's runs do not
    if request.body is not None and "content-type" not in names:
        headers["Content-Type"] = "application/json"
    if request.writes and has_token:
        headers["Authorization"] = f"Bearer {{{{ __ENV.{TOKEN} }}}}"
    body = {} if request.body is None else {"body": _translate_placeholders(request.body)}
    tags = {"kind": str(number)}
    url = base + _translate_placeholders(request.path)
    return {"method": request.method, "url": url, "headers": headers, "tags": tags, **body}


def _translate_placeholders(text: str) -> str:
    """Replace the workload's placeholders with k9's expressions."""
    for placeholder, expression in (("{id}", "keys.id"), ("{number}", "keys.number"), ("{uuid}", "uuid()")):
        text = text.replace(placeholder, f"{{{{ {expression} }}}}")
    return text


def _constant_load(workload: Workload, seconds: float) -> dict[str, Any]:
    duration = f"{seconds * 1000:.0f}ms"
    if workload.model == "closed":
        return {"executor": "constant-vus", "vus": workload.concurrency, "duration": duration}
    rate = round(workload.start * _PER_S)
    return {"executor": "constant-arrival-rate", "rate": rate, "duration": duration, **_arrival_options()}


def _ramping_load(workload: Workload) -> dict[str, Any]:
    """k6's stages, plus a final one that keeps the last target during the margin."""
    is_closed = workload.model == "closed"
    scale = 1 if is_closed else _PER_S
    steps = [(stage.duration, stage.target) for stage in workload.stages]
    steps.append((MARGIN_S, steps[-1][1]))
    stages = [{"duration": f"{seconds * 1000:.0f}ms", "target": round(target * scale)} for seconds, target in steps]
    start = round(workload.start * scale)
    if is_closed:
        return {"executor": "ramping-vus", "startVUs": start, "stages": stages}
    return {"executor": "ramping-arrival-rate", "startRate": start, "stages": stages, **_arrival_options()}


def _arrival_options() -> dict[str, Any]:
    return {"timeUnit": f"{_PER_S}s", "preAllocatedVUs": _FIRST_CLIENTS, "maxVUs": MAX_CLIENTS}
