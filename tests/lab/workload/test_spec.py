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
    """Any method that may change something makes a workload one that writes."""
    assert Workload(name="it", requests=[GET, RequestSpec(name="other", method=method, path="/books")]).writes is writes


def test_path_of() -> None:
    """`{id}` is replaced wherever it stands; a path without it is asked as it is."""
    assert RequestSpec(name="one", path="/books/{id}?again={id}").path_for(7) == "/books/7?again=7"
    assert GET.path_for(7) == "/books"


@pytest.mark.parametrize(
    ("one", "start", "clients"),
    [
        (Workload(name="it", requests=[GET], concurrency=7), 7, 7),
        (Workload(name="it", requests=[GET], concurrency=2, stages=[Stage(duration=1, target=9)]), 2, 9),
        (Workload(name="it", requests=[GET], model="open", rate=20), 20, 1000),
        (Workload(name="it", requests=[GET], model="open", stages=[Stage(duration=1, target=30)]), 30, 1000),
    ],
)
def test_start(one: Workload, start: float, clients: int) -> None:
    """The load begins with what is said, in the open model without a rate with the first stage's target."""
    assert (one.start, one.clients) == (start, clients)


def test_of_version_1() -> None:
    """A workload of the first record schema is one GET in the closed model."""
    record = {
        "name": "list-100", "description": "d", "path": "/books?limit=100", "headers": {"Accept": "a"},
        "concurrency": 25, "duration": 5.0, "warm_up": 2.0,
    }  # fmt: skip
    asked = RequestSpec(name="list-100", path="/books?limit=100", headers={"Accept": "a"})
    assert from_version_1(record) == Workload(
        name="list-100", description="d", requests=[asked], concurrency=25, duration=5.0, warm_up=2.0
    )
