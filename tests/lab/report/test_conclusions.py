"""What follows from a run, in words."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from bookstore.lab.record.run_record import Problem, Run
from bookstore.lab.report.conclusions import answer, invalid, sentences
from bookstore.lab.workload.spec import RequestSpec, Workload

MakeRecord = Callable[..., Run]

DASH = "\N{EN DASH}"


def around(value: float, share: float = 0.01) -> list[float]:
    """Six figures whose geometric mean is about `value`."""
    return [value * (1 + share * side) for side in (1, -1, 0, 1, -1, 0)]


def test_the_answer_comes_first(make_record: MakeRecord) -> None:
    """The best contender, its ratio with the interval, and what it needs less of."""
    run = make_record(
        {"lazy": [100.0] * 6, "joined": around(900), "json": around(1160)},
        costs={"lazy": (8, 10.0), "json": (5, 1.0)},
    )
    assert answer(run) == (
        f"json serves 11.6 times (11.5{DASH}11.7) the requests of lazy, with 9 statements fewer a request and "
        f"3 connections less."
    )
    assert sentences(run)[0] == answer(run)


def test_costs_are_named_where_they_differ(make_record: MakeRecord) -> None:
    """More is more, one is one, and what is alike is not named."""
    speeds = {"a": [100.0] * 6, "b": around(200)}
    assert answer(make_record(speeds)).endswith("the requests of a.")
    more = make_record(speeds, costs={"a": (5, 1.0), "b": (6, 3.5)})
    assert answer(more).endswith("with 2.5 statements more a request and 1 connection more.")


def test_a_loser_is_called_one(make_record: MakeRecord) -> None:
    """Where the baseline is the fastest, the best contender's share is told."""
    run = make_record({"a": [100.0] * 6, "b": around(50), "c": around(90)})
    assert answer(run) == f"c serves 0.90 times (0.89{DASH}0.91) the requests of a."


def test_no_difference_and_too_noisy_are_said(make_record: MakeRecord) -> None:
    """No ratio is told as a fact where the interval holds 1."""
    same = answer(make_record({"a": [100.0] * 6, "b": around(100)}))
    assert same.startswith("No difference is shown: b serves 1.00 times (")
    assert same.endswith(" would have been seen.")
    wild = answer(make_record({"a": [100.0] * 6, "b": around(110, 0.8)}))
    assert wild.startswith("Too noisy to say: b serves ")


def test_the_open_model_is_about_latency(make_record: MakeRecord) -> None:
    """The least p99 is the best."""
    load = Workload(name="open", model="open", rate=300, requests=[RequestSpec(name="a", path="/books")])
    run = make_record({"a": [300.0] * 6, "b": around(600), "c": around(400)}, workload=load)
    assert answer(run).startswith("b has 0.50 times (")
    assert answer(run).endswith(" the p99 of a.")


def test_without_a_baseline_nothing_can_be_said(make_record: MakeRecord) -> None:
    """Its rounds are all invalid: that is said. A profile alone is not compared."""
    wrong = Problem("errors", "5 of 100 requests failed")
    run = make_record({"a": [100.0], "b": [200.0]}, problems={("a", 1): wrong})
    assert answer(run) == "Nothing can be said: a, the baseline, has no valid round."
    assert answer(make_record({"a": [100.0, 102.0]})) == "a serves 101 requests a second."


def test_each_key_and_each_verdict(make_record: MakeRecord) -> None:
    """Every single key has its sentence, every contender its verdicts, and the smallest effect is told."""
    keys = {"a": {"loading": "lazy"}, "b": {"loading": "json"}}
    said = sentences(make_record({"a": [100.0] * 6, "b": around(200)}, keys=keys))
    assert f"loading lazy -> json: 2.00 times (1.98{DASH}2.02) the requests (b)" in said
    assert (
        "b: faster: throughput 2.00, p50 0.50, p95 0.50, p99 0.50; less: CPU a request 0.50; "
        "no difference shown: memory 1.00" in said
    )
    assert said[-1].startswith("The smallest difference in throughput that this run would have seen, four times of ")


def test_one_round_is_an_impression(make_record: MakeRecord) -> None:
    """One round tells no interval, and says so."""
    said = sentences(make_record({"a": [100.0], "b": [200.0]}))
    assert said[0] == "Too noisy to say: b serves 2.00 times (one round tells no interval) the requests of a."
    assert said[-1].startswith("One round tells no interval")


@pytest.mark.parametrize("rounds", [(3,), (2, 5)])
def test_what_was_not_counted_is_said_with_its_reason(make_record: MakeRecord, rounds: tuple[int, ...]) -> None:
    """Profile, rounds, reason and figure of each invalid measurement; nothing where all are valid."""
    problems = {("b", number): Problem("generator_busy", f"used {90 + number} % of a core") for number in rounds}
    speeds = {"a": [100.0] * 6, "b": around(200)}
    first, second = invalid(make_record(speeds, problems=problems))
    assert first == f"Not valid and not counted: {len(rounds)} of 12 measurements."
    numbers = ", ".join(map(str, rounds))
    assert second == f"b, round {numbers}: generator_busy: used {90 + rounds[0]} % of a core"
    assert invalid(make_record(speeds)) == []


@pytest.mark.parametrize(
    ("status", "said"),
    [("aborted", "Stopped before its end, no more than an impression: b"), ("invalid", "Not valid, ")],
)
def test_a_run_that_is_not_complete_says_so_first(status: str, said: str, make_record: MakeRecord) -> None:
    """Whoever reads no further than the answer knows that it is none."""
    run = make_record({"a": [100.0] * 6, "b": around(200)})
    assert answer(msgspec.structs.replace(run, status=status)).startswith(said)
