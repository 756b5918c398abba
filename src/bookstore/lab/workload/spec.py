"""Structs of a workload: which requests are sent, and how fast.

Closed model: a fixed number of clients, each of which sends its next request when it has the response to the last
one. Open model: requests arrive at a rate, whether or not the service keeps up.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

MAX_CLIENTS: Final = 1000
"""Maximum number of clients in the closed model, and of requests in flight in the open model."""

_SECONDS: Final = {"duration": True}

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class RequestSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request, sent `weight` times as often as one of weight 1.

    In path and body `{id}` is a book's id, `{number}` a whole number from 1 to 1000, and `{uuid}` a text unique to
    the request. `expects` is a text that an external service's response must contain.
    """

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
        """Return the path with `{id}` replaced by `book_id`."""
        return self.path.replace("{id}", str(book_id))


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A stage as in k6: clients (closed model) or requests per second (open model) change linearly to `target` within
    `duration` seconds."""

    duration: Annotated[float, Meta(ge=0, le=3600, extra=_SECONDS)]
    target: Annotated[float, Meta(ge=0, le=100_000)]


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """The load of a measurement.

    `requests` are mixed at random by their weights. `keys` says how `{id}` is drawn: uniformly, or some books far
    more often (Zipf). `concurrency` clients (closed model) or `rate` requests per second (open model) are the load at
    the start of the first of the `stages`; without stages the load is constant for `duration` seconds. A warm-up of
    at most `warm_up` seconds comes first and ends once throughput is steady. `thresholds` are k6 expressions. `books`
    is the catalogue's size; None is the 10,000 real books.
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
        return any(request.writes for request in self.requests)

    @property
    def start(self) -> float:
        """Clients or requests per second at the start of the load, which the warm-up uses too."""
        if self.model == "closed":
            return self.concurrency
        return self.rate or next((stage.target for stage in self.stages if stage.target), 1.0)

    @property
    def clients(self) -> int:
        """Maximum number of connections the load generator opens at once."""
        if self.model == "open":
            return MAX_CLIENTS
        return max([self.concurrency, *(int(stage.target) for stage in self.stages)])


def from_version_1(record: dict[str, Any]) -> Workload:
    """Return the workload in a run record of schema version 1: one GET in the closed model.

    Raises msgspec.ValidationError or KeyError if the record has no such workload.
    """
    rest = {key: value for key, value in record.items() if key not in {"path", "headers"}}
    request = {"name": record["name"], "path": record["path"], "headers": record.get("headers", {})}
    return msgspec.convert({**rest, "requests": [request]}, Workload)
