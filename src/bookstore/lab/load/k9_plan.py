"""A workload as k9's plan: flows, the pace, and the keys in a file that is read row by row.

A plan has a flow for each kind of request; k9 draws among them by their weights. A row of the file goes to each
request that needs one, whoever sends it, so that the same seed asks every contender for the same books in the same
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bookstore.lab.workload.spec import MAX_CLIENTS, RequestSpec, Workload

TOKEN: Final = "BOOKSTORE_LAB_TOKEN"  # noqa: S105 - the variable's name
"""The environment variable of k9 that holds the token for writes."""

ZIPF_EXPONENT: Final = 0.99
"""YCSB's: with 10,000 books, the most wanted hundredth gets half of the requests."""
ROWS: Final = 100_000
"""Keys in the file; a longer load begins again at the first."""
MAX_NUMBER: Final = 1000
GRACE_S: Final = 30
"""How long a request that is on its way at the end may take."""
MARGIN_S: Final = 0.5
"""How much longer than measured the load lasts: k9's clock starts before its first request does."""

_FIRST_CLIENTS: Final = 10
"""Of the open model; k9 adds others when all are waiting. Each keeps a connection, and they take turns."""
_PER_S: Final = 1000
"""k9 wants whole numbers: rates are given as requests in so many seconds."""


def plan(workload: Workload, base: str, keys_file: Path, *, has_token: bool) -> dict[str, Any]:
    """The measured load of `workload` on the service at `base`."""
    pace = _ramping_load(workload) if workload.stages else _constant_load(workload, workload.duration + MARGIN_S)
    return _plan(workload, base, keys_file, {**pace, "gracefulStop": f"{GRACE_S}s"}, has_token)


def warm_up(workload: Workload, base: str, keys_file: Path, *, has_token: bool) -> dict[str, Any]:
    """The warm-up: all of it at the pace that the measured load begins with."""
    pace = {**_constant_load(workload, workload.warm_up), "gracefulStop": "2s"}
    return _plan(workload, base, keys_file, pace, has_token)


def write_keys(path: Path, workload: Workload, ids: Sequence[int], seed: Sequence[int]) -> None:
    """A file of ROWS rows: a key drawn as the workload's `keys` says, and a number."""
    chance = np.random.default_rng(seed)
    keys = draw_keys(ids, workload.keys == "zipf", chance) if ids else np.zeros(ROWS, np.int64)
    numbers = chance.integers(1, MAX_NUMBER, size=ROWS, endpoint=True)
    rows = [f"{key},{number}" for key, number in zip(keys.tolist(), numbers.tolist(), strict=True)]
    path.write_text("\n".join(["id,number", *rows]))


def draw_keys(ids: Sequence[int], is_zipf: bool, chance: np.random.Generator) -> NDArray[np.int64]:
    """ROWS of `ids`: each as likely as any other, or the k-th of a shuffled list in proportion to
    1 / k ** ZIPF_EXPONENT. Shuffled, because the ids that are asked for most would else lie on the same pages
    of the table."""
    shuffled = chance.permutation(np.asarray(ids, np.int64))
    if not is_zipf:
        return chance.choice(shuffled, ROWS)
    weights = 1 / np.arange(1, len(shuffled) + 1) ** ZIPF_EXPONENT
    return chance.choice(shuffled, ROWS, p=weights / weights.sum())


def _plan(workload: Workload, base: str, keys_file: Path, pace: dict[str, Any], has_token: bool) -> dict[str, Any]:
    names = [f"kind{number}" for number in range(len(workload.requests))]
    weights = {name: ask.weight for name, ask in zip(names, workload.requests, strict=True)}
    flows = {
        name: [{"request": _request(ask, number, base, has_token)}]
        for number, (name, ask) in enumerate(zip(names, workload.requests, strict=True))
    }
    feeders = {"keys": {"file": str(keys_file), "mode": "sequential"}}
    is_fed = any(word in f"{ask.path}{ask.body}" for ask in workload.requests for word in ("{id}", "{number}"))
    options = {"scenarios": {"load": {**pace, "transactions": weights}}}
    return {"options": options, "flows": flows, **({"feeders": feeders} if is_fed else {})}


def _request(ask: RequestSpec, number: int, base: str, has_token: bool) -> dict[str, Any]:
    headers = dict(ask.headers)
    said = {name.lower() for name in headers}
    if "accept-encoding" not in said:
        headers["Accept-Encoding"] = "identity"  # k9 would ask for gzip: wrk, ab and the article's runs do not
    if ask.body is not None and "content-type" not in said:
        headers["Content-Type"] = "application/json"
    if ask.writes and has_token:
        headers["Authorization"] = f"Bearer {{{{ __ENV.{TOKEN} }}}}"
    body = {} if ask.body is None else {"body": _translate_placeholders(ask.body)}
    tags = {"kind": str(number)}
    return {
        "method": ask.method,
        "url": base + _translate_placeholders(ask.path),
        "headers": headers,
        "tags": tags,
        **body,
    }


def _translate_placeholders(text: str) -> str:
    """Our placeholders as k9's."""
    for ours, theirs in (("{id}", "keys.id"), ("{number}", "keys.number"), ("{uuid}", "uuid()")):
        text = text.replace(ours, f"{{{{ {theirs} }}}}")
    return text


def _constant_load(workload: Workload, seconds: float) -> dict[str, Any]:
    duration = f"{seconds * 1000:.0f}ms"
    if workload.model == "closed":
        return {"executor": "constant-vus", "vus": workload.concurrency, "duration": duration}
    return {
        "executor": "constant-arrival-rate", "rate": round(workload.start * _PER_S), "duration": duration, **_arrival_options()
    }  # fmt: skip


def _ramping_load(workload: Workload) -> dict[str, Any]:
    """k6's stages, and one more at the end that holds the last target for the margin."""
    is_closed = workload.model == "closed"
    times = 1 if is_closed else _PER_S
    steps = [(stage.duration, stage.target) for stage in workload.stages]
    steps.append((MARGIN_S, steps[-1][1]))
    stages = [{"duration": f"{seconds * 1000:.0f}ms", "target": round(target * times)} for seconds, target in steps]
    start = round(workload.start * times)
    if is_closed:
        return {"executor": "ramping-vus", "startVUs": start, "stages": stages}
    return {"executor": "ramping-arrival-rate", "startRate": start, "stages": stages, **_arrival_options()}


def _arrival_options() -> dict[str, Any]:
    return {"timeUnit": f"{_PER_S}s", "preAllocatedVUs": _FIRST_CLIENTS, "maxVUs": MOST_CLIENTS}
