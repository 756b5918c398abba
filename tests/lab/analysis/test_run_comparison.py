"""Comparison of two stored runs."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab.analysis.run_comparison import UNPAIRED, compare, differences
from bookstore.lab.analysis.statistics import unpaired_ratio
from bookstore.lab.record.run_record import Limits, Problem, Run
from bookstore.lab.report.conclusions import answer, notes
from bookstore.lab.report.table import legend, table

MakeRecord = Callable[..., Run]


@pytest.fixture
def before(make_record: MakeRecord) -> Run:
    run: Run = make_record({"a": [100.0, 101.0, 102.0, 99.0], "b": [200.0, 201.0, 202.0, 203.0]})
    return run


@pytest.fixture
def after(make_record: MakeRecord) -> Run:
    run: Run = make_record({"b": [150.0, 151.0, 149.0], "c": [300.0, 301.0, 302.0]})
    return msgspec.structs.replace(run, id="20260201T080000_b_c")


def test_alike(before: Run, after: Run) -> None:
    """Other profiles, rounds, seeds, and workload names and descriptions are no differences."""
    assert differences(before, after) == []
    renamed = msgspec.structs.replace(before.workload, name="x", description="y", thresholds=["p(99)<5"])
    assert differences(before, msgspec.structs.replace(after, workload=renamed)) == []


@pytest.mark.parametrize(
    ("part", "changes", "expected"),
    [
        ("machine", {"cpu": "other"}, "machine.cpu: cpu in 20260131T080000_one_two, other in 20260201T080000_b_c"),
        ("machine", {"memory_bytes": 5}, "machine.memory_bytes: 8589934592 in "),
        ("machine", {"python": "3.12.0"}, "versions.python: 3.11.0 in "),
        ("machine", {"packages": {"litestar": "2.1"}}, "versions.litestar: 2.0 in "),
        ("machine", {"packages": {"litestar": "2.0", "x": "1"}}, "versions.x: nothing in "),
        ("workload", {"concurrency": 25}, "workload.concurrency: 5 in "),
        ("workload", {"requests": []}, "workload.requests: "),
        ("machine", {"engine": "podman 4.3.1"}, "machine.engine: "),
        ("machine", {"image": "sha256:1"}, "machine.image: "),
        ("protocol", {"deploy": "compose"}, "protocol.deploy: process in "),
        ("catalogue", {"books": 61}, "catalogue.books: 60 in "),
    ],
)
def test_each_field_that_differs_is_named(
    before: Run, after: Run, part: str, changes: dict[str, object], expected: str
) -> None:
    """The line starts with the field's name and has both values."""
    changed = msgspec.structs.replace(getattr(after, part), **changes)
    (line,) = differences(before, msgspec.structs.replace(after, **{part: changed}))
    assert line.startswith(expected)


def test_limits_differ(before: Run, after: Run) -> None:
    """Different resource limits are a difference; the reason for a limit is not."""
    limited = msgspec.structs.replace(after.protocol, limits=Limits(1.0, None, "taskset", "no cgroup"))
    lines = differences(before, msgspec.structs.replace(after, protocol=limited))
    assert [line.split(":")[0] for line in lines] == ["limits.cpus", "limits.means"]


def test_different_runs_are_rejected_or_reported(before: Run, after: Run) -> None:
    """Differences raise ConfigurationError by field; if they are allowed, the record and the report mention them."""
    other = msgspec.structs.replace(after, catalogue=msgspec.structs.replace(after.catalogue, books=61))
    with pytest.raises(ConfigurationError, match=r"(?s)--allow-unlike.*catalogue\.books: 60 in .*, 61 in "):
        compare(before, other)
    run = compare(before, other, contender_label="b", allow_unlike=True)
    assert "differ: catalogue.books" in run.told
    assert run.told in notes(run)


def test_the_rounds_are_not_paired(before: Run, after: Run) -> None:
    """The ratio is Welch's over both runs' valid rounds, no round has both contenders, and the report says so."""
    run = compare(before, after, baseline_label="b")
    expected = unpaired_ratio([150.0, 151.0, 149.0], [200.0, 201.0, 202.0, 203.0])
    comparison = run.summary[1].compared_by("throughput_per_s")
    assert comparison is not None
    assert (comparison.ratio, comparison.verdict, comparison.rounds) == (expected.interval(), "slower", 3)
    assert [[measurement.profile[:1] for measurement in each.measurements] for each in run.rounds] == [["b"]] * 7
    assert run.told == UNPAIRED
    assert run.told in notes(run)
    assert answer(run).startswith("b (20260201T080000) handles 26 % fewer requests (0.74x, ")
    assert "b (20260131T080000)" in table(run, 80)
    assert "7 rounds" in legend(run)
    assert msgspec.json.decode(msgspec.json.encode(run), type=Run) == run


def test_which_contenders(before: Run, after: Run) -> None:
    """The default is the first contender, and in the other run the one of the same name, else its first."""
    assert [contender.label[:1] for contender in compare(before, after).contenders] == ["a", "b"]
    assert [contender.label[:1] for contender in compare(before, after, baseline_label="b").contenders] == ["b", "b"]
    run = compare(before, after, baseline_label="b", contender_label="c")
    assert [contender.label[:1] for contender in run.contenders] == ["b", "c"]
    with pytest.raises(ConfigurationError, match="no contender 'd'; allowed is b, c"):
        compare(before, after, contender_label="d")


def test_invalid_rounds_do_not_count(make_record: MakeRecord, after: Run) -> None:
    """An absurd invalid round changes no ratio; a contender without a valid round is rejected."""
    problem = Problem("machine_busy", "busy")
    speeds = {"b": [200.0, 201.0, 1e6]}
    comparison = (
        compare(make_record(speeds, problems={("b", 3): problem}), after).summary[1].compared_by("throughput_per_s")
    )
    assert comparison is not None
    assert comparison.ratio == unpaired_ratio([150.0, 151.0, 149.0], [200.0, 201.0]).interval()
    none = make_record({"b": [1.0]}, problems={("b", 1): problem})
    with pytest.raises(ConfigurationError, match="b has no valid round"):
        compare(none, after)


def test_a_run_with_itself(before: Run) -> None:
    """The two sides have different names, and no difference is shown."""
    run = compare(before, before)
    assert len({contender.label for contender in run.contenders}) == 2
    comparison = run.summary[1].compared_by("throughput_per_s")
    assert comparison is not None
    assert comparison.verdict == "no difference shown"


@pytest.mark.parametrize("which", [0, 1])
def test_an_incomplete_run_makes_an_incomplete_comparison(which: int, before: Run, after: Run) -> None:
    """An aborted run on either side makes an aborted comparison that names it."""
    both = [before, after]
    both[which] = msgspec.structs.replace(both[which], status="aborted", told="stopped after 1 whole rounds")
    record = compare(*both)
    assert record.status == "aborted"
    assert f"{both[which].id} is aborted: stopped after 1 whole rounds." in record.told
