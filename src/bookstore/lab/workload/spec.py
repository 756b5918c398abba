"""A workload: what is asked and how fast.

Closed model: a fixed number of clients, each asking its next question when it has the answer to the last one.
Open model: requests come at a rate, whether or not the service keeps up with it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

MAX_CLIENTS: Final = 1000
"""Of the closed model; and as many requests may be on their way at once in the open one."""

_SECONDS: Final = {"duration": True}

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class RequestSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request, sent `weight` times as often as one of weight 1. `{id}` in path and body is a book's id,
    `{number}` a whole number from 1 to 1000, `{uuid}` a text that no other request has. `expects` is a text that a
    service other than ours has to answer with."""

    name: Annotated[str, Meta(max_length=80)]
    method: Method = "GET"
    path: Annotated[str, Meta(max_length=2000)]
    weight: Annotated[int, Meta(ge=1, le=1000)] = 1
    headers: dict[str, str] = {}
    body: Annotated[str, Meta(max_length=20_000)] | None = None
    expects: Annotated[str, Meta(max_length=1000)] | None = None

    @property
    def writes(self) -> bool:
        return self.method not in {"GET", "HEAD"}

    def path_for(self, book_id: object) -> str:
        """The path of one request, `book_id` standing for `{id}`."""
        return self.path.replace("{id}", str(book_id))


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """k6's: within `duration` the number of clients (closed) or of requests a second (open) goes to `target`, in a
    straight line."""

    duration: Annotated[float, Meta(ge=0, le=3600, extra=_SECONDS)]
    target: Annotated[float, Meta(ge=0, le=100_000)]


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """`requests` are mixed at random by their weights. `keys` says how `{id}` is drawn: each book as likely as any
    other, or some far more often (Zipf). `concurrency` clients (closed) or `rate` requests a second (open) are what
    the first of the `stages` starts with; without stages they stay for `duration`. Before that comes a warm-up,
    until throughput is steady, of at most `warm_up`. `thresholds` are k6's. `books` is the catalogue's size; None
    is the 10,000 real ones.
    """

    name: str
    description: Annotated[str, Meta(max_length=400)] = ""
    requests: Annotated[list[RequestSpec], Meta(min_length=1, max_length=50)]
    keys: Literal["uniform", "zipf"] = "uniform"
    model: Literal["closed", "open"] = "closed"
    concurrency: Annotated[int, Meta(ge=1, le=MAX_CLIENTS)] = 5
    rate: Annotated[float, Meta(ge=0.1, le=100_000)] | None = None
    stages: Annotated[list[Stage], Meta(max_length=50)] = []
    duration: Annotated[float, Meta(ge=0.5, le=3600, extra=_SECONDS)] = 3.0
    warm_up: Annotated[float, Meta(ge=0, le=3600, extra=_SECONDS)] = 5.0
    thresholds: Annotated[list[str], Meta(max_length=50)] = []
    books: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None

    @property
    def writes(self) -> bool:
        """Whether any request changes the catalogue, so that a token is needed."""
        return any(ask.writes for ask in self.requests)

    @property
    def start(self) -> float:
        """The clients or requests a second that the load begins with, and the warm-up has."""
        if self.model == "closed":
            return self.concurrency
        return self.rate or next((stage.target for stage in self.stages if stage.target), 1.0)

    @property
    def clients(self) -> int:
        """How many connections the load generator may have open at once."""
        if self.model == "open":
            return MAX_CLIENTS
        return max([self.concurrency, *(int(stage.target) for stage in self.stages)])


def from_version_1(record: dict[str, Any]) -> Workload:
    """The workload in a run record of schema version 1: one GET in the closed model. Raises msgspec.ValidationError
    or KeyError where it is none."""
    rest = {key: value for key, value in record.items() if key not in {"path", "headers"}}
    ask = {"name": record["name"], "path": record["path"], "headers": record.get("headers", {})}
    return msgspec.convert({**rest, "requests": [ask]}, Workload)
