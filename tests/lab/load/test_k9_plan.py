from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from bookstore.lab.load import k9_plan
from bookstore.lab.workload import file as workload_file
from bookstore.lab.workload.spec import RequestSpec, Stage, Workload

GET = RequestSpec(name="get", path="/books")


@pytest.mark.parametrize(
    ("workload", "executor"),
    [
        (
            Workload(name="it", requests=[GET], concurrency=7, duration=2),
            {"executor": "constant-vus", "vus": 7, "duration": "2500ms"},
        ),
        (
            Workload(name="it", requests=[GET], model="open", rate=0.5, duration=2),
            {"executor": "constant-arrival-rate", "rate": 500, "timeUnit": "1000s", "duration": "2500ms"},
        ),
        (
            Workload(name="it", requests=[GET], concurrency=1, stages=[Stage(duration=2, target=9)]),
            {
                "executor": "ramping-vus", "startVUs": 1,
                "stages": [{"duration": "2000ms", "target": 9}, {"duration": "500ms", "target": 9}],
            },
        ),
        (
            Workload(name="it", requests=[GET], model="open", stages=[Stage(duration=2, target=1.5)]),
            {
                "executor": "ramping-arrival-rate", "startRate": 1500,
                "stages": [{"duration": "2000ms", "target": 1500}, {"duration": "500ms", "target": 1500}],
            },
        ),
    ],
)  # fmt: skip
def test_pace(workload: Workload, executor: dict[str, object]) -> None:
    """Each model, with and without stages, uses k6's executor for it; the load outlasts the measured time."""
    k9_load = k9_plan.plan(workload, "http://host", Path("keys"), has_token=False)["options"]["scenarios"]["load"]
    assert k9_load.items() >= executor.items()


@pytest.mark.parametrize("name", workload_file.names())
def test_no_token_no_braces(name: str) -> None:
    """A plan contains only the name of the token's variable, and only in writes."""
    workload = workload_file.load(name)
    planned = k9_plan.plan(workload, "http://host", Path("keys"), has_token=True)
    for number, request in enumerate(workload.requests):
        (step,) = planned["flows"][f"kind{number}"]
        assert (
            step["request"]["headers"].get("Authorization") == "Bearer {{ __ENV.BOOKSTORE_LAB_TOKEN }}"
        ) is request.writes
    assert b"{id}" not in msgspec.json.encode(planned)
    warm = k9_plan.warm_up(workload, "http://host", Path("keys"), has_token=True)
    assert warm["flows"] == planned["flows"]


def test_uniform_keys() -> None:
    """All ids are equally likely."""
    keys = k9_plan.draw_keys([2, 3, 5, 7], False, np.random.default_rng(1))
    drawn, counts = np.unique(keys, return_counts=True)
    assert drawn.tolist() == [2, 3, 5, 7]
    assert counts.min() > 0.97 * k9_plan.ROWS / 4


def test_zipf_keys() -> None:
    """The k-th most popular key is requested in proportion to 1 / k ** 0.99, independently of its id."""
    ids = range(1, 10_001)
    keys = k9_plan.draw_keys(ids, True, np.random.default_rng(1))
    drawn, counts = np.unique(keys, return_counts=True)
    order = np.argsort(-counts)
    expected = k9_plan.ROWS / (1 / np.arange(1, 10_001) ** 0.99).sum()
    assert counts[order][0] == pytest.approx(expected, rel=0.05)
    assert counts[order][9] == pytest.approx(expected / 10**0.99, rel=0.1)
    assert counts[order][:100].sum() / k9_plan.ROWS == pytest.approx(0.52, abs=0.02)
    assert np.median(drawn[order][:100]) == pytest.approx(5000, abs=1500)


def test_same_seed_same_keys(tmp_path: Path) -> None:
    """The seed alone determines the file."""
    workload = workload_file.load("mixed-90-10")
    texts = []
    for seed in ([1, 0], [1, 0], [1, 1]):
        k9_plan.write_keys(tmp_path / "keys", workload, range(1, 100), seed)
        texts.append((tmp_path / "keys").read_text())
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("id,number\n")
    assert texts[0].count("\n") == k9_plan.ROWS
