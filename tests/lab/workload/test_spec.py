from __future__ import annotations

from typing import Final

import pytest

from bookstore.lab.workload.spec import Method, RequestSpec, Stage, Workload, from_version_1

GET: Final = RequestSpec(name="get", path="/books")


@pytest.mark.parametrize(
    ("method", "writes"),
    [("GET", False), ("HEAD", False), ("POST", True), ("PUT", True), ("PATCH", True), ("DELETE", True)],
)
def test_writes(method: Method, writes: bool) -> None:
    """A request with any method that may change something makes it a writing workload."""
    assert (
        Workload(name="mix", requests=[GET, RequestSpec(name="other", method=method, path="/books")]).writes is writes
    )


def test_path_for() -> None:
    """`{id}` is replaced wherever it occurs; a path without it stays as it is."""
    assert RequestSpec(name="one", path="/books/{id}?again={id}").path_for(7) == "/books/7?again=7"
    assert GET.path_for(7) == "/books"


@pytest.mark.parametrize(
    ("workload", "start", "clients"),
    [
        (Workload(name="mix", requests=[GET], concurrency=7), 7, 7),
        (Workload(name="mix", requests=[GET], concurrency=2, stages=[Stage(duration=1, target=9)]), 2, 9),
        (Workload(name="mix", requests=[GET], model="open", rate=20), 20, 1000),
        (Workload(name="mix", requests=[GET], model="open", stages=[Stage(duration=1, target=30)]), 30, 1000),
    ],
)
def test_start(workload: Workload, start: float, clients: int) -> None:
    """The load starts with the configured clients or rate, or in the open model without a rate with the first stage's
    target."""
    assert (workload.start, workload.clients) == (start, clients)


def test_from_version_1() -> None:
    """A workload of record schema version 1 is one GET in the closed model."""
    record = {
        "name": "list-100", "description": "d", "path": "/books?limit=100", "headers": {"Accept": "a"},
        "concurrency": 25, "duration": 5.0, "warm_up": 2.0,
    }  # fmt: skip
    request = RequestSpec(name="list-100", path="/books?limit=100", headers={"Accept": "a"})
    assert from_version_1(record) == Workload(
        name="list-100", description="d", requests=[request], concurrency=25, duration=5.0, warm_up=2.0
    )
