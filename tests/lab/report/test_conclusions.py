"""The conclusions of a run as text."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from bookstore.lab.analysis import verdict
from bookstore.lab.record.run_record import Problem, Run
from bookstore.lab.report.conclusions import answer, excluded, notes, paragraphs, ratios, steps
from bookstore.lab.workload.spec import RequestSpec, Workload

MakeRecord = Callable[..., Run]

DASH = "\N{EN DASH}"
OPEN = Workload(name="open", model="open", rate=300, requests=[RequestSpec(name="a", path="/books")])


def around(value: float, share: float = 0.01) -> list[float]:
    """Six figures whose geometric mean is about `value`."""
    return [value * (1 + share * side) for side in (1, -1, 0, 1, -1, 0)]


def test_the_answer_comes_first(make_record: MakeRecord) -> None:
    """The best contender, its ratio with the interval, and what it saves."""
    run = make_record(
        {"lazy": [100.0] * 6, "joined": around(900), "json": around(1160)},
        costs={"lazy": (8, 10.0), "json": (5, 1.0)},
    )
    assert answer(run).startswith(
        f"json serves 11.6x (11.5{DASH}11.7) the requests of lazy, with 9 fewer statements per request and "
        f"3 fewer connections. Better: joined in throughput (9.00x), p50 (0.11x), "
    )
    assert paragraphs(run)[0].replace("\n", " ") == answer(run)


def test_costs_are_named_if_they_differ(make_record: MakeRecord) -> None:
    """Costs can be higher, a single one is singular, and equal ones are omitted."""
    speeds = {"a": [100.0] * 6, "b": around(200)}
    assert "the requests of a. Better: b in p50 (0.50x), " in answer(make_record(speeds))
    more = make_record(speeds, costs={"a": (5, 1.0), "b": (6, 3.5)})
    assert "with 2.5 more statements per request and 1 more connection. " in answer(more)


def test_slower_contenders(make_record: MakeRecord) -> None:
    """If the baseline is the fastest, the answer has the percentage that the best contender is slower."""
    run = make_record({"a": [100.0] * 6, "b": around(50), "c": around(90)})
    assert answer(run) == (
        f"c handles 10 % fewer requests (0.90x, 0.89{DASH}0.91) than a. Worse: b in throughput (0.50x), p50 (2.00x), "
        f"p95 (2.00x), p99 (2.00x) and CPU (2.00x); c in p50 (1.11x), p95 (1.11x), p99 (1.11x) and CPU (1.11x)."
    )


def test_worse_before_better(make_record: MakeRecord) -> None:
    """Every other verdict that shows a difference is named with its contender, the worse ones first, also if the
    headline's metric shows none; what is too noisy to say is not."""
    run = make_record({"a": [100.0] * 6, "fast": around(200), "slow": around(50), "same": [100.0] * 6})
    text = answer(run)
    assert (
        text.index("fast serves 2.00x") < text.index("Worse: slow in throughput (0.50x), ") < text.index("Better: fast")
    )
    assert "same" not in text
    rounds = [
        msgspec.structs.replace(
            each,
            measurements=[
                msgspec.structs.replace(it, pss_bytes=240_000_000) if it.profile == "b" else it
                for it in each.measurements
            ],
        )
        for each in make_record({"a": [100.0] * 6, "b": [100.0] * 6}).rounds
    ]
    run = make_record({"a": [100.0] * 6, "b": [100.0] * 6})
    one, two = run.summary
    heavy = msgspec.structs.replace(two, comparisons=verdict.comparisons(rounds, "b", "a"))
    text = answer(msgspec.structs.replace(run, summary=[one, heavy]))
    assert text.startswith("No difference shown: ")
    assert text.endswith("(4 times out of 5). Worse: b in PSS (2.00x).")
    assert "Worse" not in answer(make_record({"a": [100.0] * 6, "b": around(100, 0.8)}))


def test_no_difference_and_too_noisy(make_record: MakeRecord) -> None:
    """No ratio is stated as a fact if the interval contains 1."""
    same = answer(make_record({"a": [100.0] * 6, "b": around(100)}))
    assert same.startswith("No difference shown: b serves 1.00x (")
    assert same.endswith(" or more would probably have shown (4 times out of 5).")
    wild = answer(make_record({"a": [100.0] * 6, "b": around(110, 0.8)}))
    assert wild.startswith("Too noisy to say: b serves ")
    assert wild.endswith("; add rounds.")


def test_the_open_model_is_about_latency(make_record: MakeRecord) -> None:
    """The lowest p99 is the best; a difference below a factor of two is a percentage."""
    run = make_record({"a": [300.0] * 6, "b": around(600), "c": around(400)}, workload=OPEN)
    assert answer(run).startswith("b has 50 % lower p99 (0.50x, 0.49")
    assert ") than a. Better: b in " in answer(run)
    slower = answer(make_record({"a": [300.0] * 6, "b": around(250)}, workload=OPEN))
    assert slower.startswith("b has 20 % higher p99 (1.20x, ")
    assert answer(make_record({"a": [300.0] * 6, "b": around(100)}, workload=OPEN)).startswith("b has 3.00x (")


def test_without_a_baseline_there_is_no_conclusion(make_record: MakeRecord) -> None:
    """The answer says that all rounds of the baseline are invalid. A single profile is not compared."""
    wrong = Problem("errors", "5 of 100 requests failed")
    run = make_record({"a": [100.0], "b": [200.0]}, problems={("a", 1): wrong})
    assert answer(run) == "Invalid run: no conclusion (a, the baseline, has no valid round)."
    aborted = msgspec.structs.replace(run, status="aborted")
    assert answer(aborted) == "Aborted run: no conclusion (a, the baseline, has no valid round)."
    assert answer(make_record({"a": [100.0, 102.0]})) == "a serves 101 requests per second."


def test_single_keys_and_ratios(make_record: MakeRecord) -> None:
    """Every single key has a row, every contender its ratios, and the smallest detectable difference is stated."""
    keys = {"a": {"loading": "lazy"}, "b": {"loading": "json"}}
    run = make_record({"a": [100.0] * 6, "b": around(200)}, keys=keys)
    assert steps(run)[1:] == [("loading  lazy -> json", "2.00x", f"1.98{DASH}2.02")]
    head, row = ratios(run)
    assert [name.strip() for name in head[1:]] == ["throughput", "p50", "p95", "p99", "CPU", "PSS"]
    assert row == ("b", "2.00x ", "0.50x ", "0.50x ", "0.50x ", "0.50x ", "1.00x~")
    assert notes(run)[-1].startswith("Smallest difference this run could detect: ")
    assert notes(run)[-1].endswith(" % (throughput, 4 times out of 5)")


def test_equal_changes_name_their_contender(make_record: MakeRecord) -> None:
    """If several pairs of profiles differ by the same change, each row names its contender."""
    labels = ("p-lazy", "p-json", "q-json", "q-lazy")
    keys = {label: {"driver": label[0], "loading": label[2:]} for label in labels}
    names = [row[0] for row in steps(make_record({label: around(100) for label in labels}, keys=keys))[1:]]
    assert [name for name in names if name.endswith(")")] == ["driver   p -> q (q-lazy)", "driver   p -> q (q-json)"]


def test_the_text_fits_a_terminal(make_record: MakeRecord) -> None:
    """Whatever the profiles are called, no line is wider than 80 columns."""
    name = "asyncpg-joined@pool_size=20,max_overflow=10,isolation_level=REPEATABLE READ"
    wrong = Problem("machine_busy", "others used 31 % of the CPUs; allowed is 5 %: end what else runs on this machine")
    run = make_record({"one": around(100), name: around(200)}, problems={(name, 3): wrong})
    lines = "\n".join(paragraphs(run)).splitlines()
    assert max(map(len, lines)) <= 80
    assert not any(line.strip().startswith("%") for line in lines)


def test_a_single_round_is_preliminary(make_record: MakeRecord) -> None:
    """A single round gives no interval, and the text says so."""
    run = make_record({"a": [100.0], "b": [200.0]})
    assert answer(run) == "Too noisy to say: b serves 2.00x (no interval) the requests of a; add rounds."
    assert notes(run) == ["A single round gives no interval: the figures are preliminary."]


@pytest.mark.parametrize(("rounds", "text"), [((3,), "round 3"), ((2, 5), "rounds 2, 5")])
def test_excluded_measurements_have_a_reason(make_record: MakeRecord, rounds: tuple[int, ...], text: str) -> None:
    """Profile, rounds, reason and figure of each invalid measurement; nothing if all are valid."""
    problems = {("b", number): Problem("generator_busy", f"used {90 + number} % of a core") for number in rounds}
    speeds = {"a": [100.0] * 6, "b": around(200)}
    first, second = excluded(make_record(speeds, problems=problems))
    assert first == f"Excluded: {len(rounds)} of 12 measurements"
    assert second == f"b, {text}: generator_busy: used {90 + rounds[0]} % of a core"
    assert excluded(make_record(speeds)) == []


@pytest.mark.parametrize(
    ("status", "prefix"),
    [("aborted", "Aborted run, preliminary: b"), ("invalid", "Invalid run, do not trust these figures: b")],
)
def test_the_status_comes_before_the_answer(status: str, prefix: str, make_record: MakeRecord) -> None:
    """The answer of a run that is not complete starts with its status; the reason is a note."""
    run = make_record({"a": [100.0] * 6, "b": around(200)})
    run = msgspec.structs.replace(run, status=status, told="b has 3 of 6 valid rounds")
    assert answer(run).startswith(prefix)
    assert notes(run)[0] == f"Status: {status}, b has 3 of 6 valid rounds"
