"""The terminal's table."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from bookstore.lab.record.run_record import Limits, Problem, Run
from bookstore.lab.report.table import asked, headline_of, legend, table, three
from bookstore.lab.workload.spec import RequestSpec, Stage, Workload

MakeRecord = Callable[..., Run]

DEFAULT = ["psycopg-sync-lazy", "psycopg-sync-joined", "asyncpg-joined", "asyncpg-json"]


@pytest.fixture
def default(make_record: MakeRecord) -> Run:
    """The default four profiles at figures of four digits."""
    return make_record(
        {name: [1000.0 * n + 111, 1000.0 * n + 175, 1000.0 * n + 143] for n, name in enumerate(DEFAULT, 1)}
    )


def test_the_default_comparison_fits_a_terminal(default: Run) -> None:
    """A row each within 80 columns, in the order asked for, no space at a line's end, no interval in the baseline's
    row; nothing failed, so there is no column for it."""
    head, rule, *rows = table(default, 80).splitlines()
    assert [row.split()[0] for row in rows] == DEFAULT
    assert max(map(len, (head, rule, *rows))) <= 80
    assert set(rule) == {"-"}
    assert all(line == line.rstrip() for line in (head, rule, *rows))
    assert rows[0].split()[1:4] == ["1143", "1.00", "11.4"]
    assert rows[1].split()[1:3] == ["2143", "1.88"]
    assert "-" in rows[1].split()[3]
    assert " ".join(head.split()) == "profile req/s ratio (95 %) p50 p99 max CPU PSS conn SQL ceil"


def test_failures_have_a_column(default: Run) -> None:
    """Where one request failed, every profile's number of failures is shown, and the legend counts them."""
    one, *others = default.summary
    failed = msgspec.structs.replace(default, summary=[msgspec.structs.replace(one, errors=3), *others])
    head, *_ = table(failed, 120).splitlines()
    assert "err" in head.split()
    assert "3 requests failed (err)" in legend(failed)
    assert "no request failed" in legend(default)


def test_long_names_stand_on_their_own_lines(make_record: MakeRecord) -> None:
    """Whatever the profiles are called, the figures stay within 80 columns."""
    name = "asyncpg-joined@pool_size=20,max_overflow=10,isolation_level=REPEATABLE READ"
    lines = table(make_record({"one": [1000.0, 1010.0], name: [2000.0, 2030.0]}), 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[lines.index(name) + 1].split()[0] == "2015"


def test_there_is_room_where_there_is(default: Run) -> None:
    """Columns stand apart by two spaces where the width allows."""
    assert max(map(len, table(default, 200).splitlines())) > max(map(len, table(default, 80).splitlines()))


def test_marks(make_record: MakeRecord) -> None:
    """Where no difference is shown the ratio has a ~, where it is too noisy to say a ?, else neither."""
    run = make_record(
        {
            "base": [100.0] * 6,
            "same": [100.0, 101.0, 99.0, 100.0, 101.0, 99.0],
            "wild": [50.0, 200.0, 50.0, 200.0, 50.0, 200.0],
            "fast": [200.0, 201.0, 199.0, 200.0, 201.0, 199.0],
        }
    )
    ratios = [line.split()[2] for line in table(run, 80).splitlines()[2:]]
    assert ratios == ["1.00", "1.00~", "1.00?", "2.00"]


def test_one_without_a_valid_round_has_dashes(make_record: MakeRecord) -> None:
    """It is shown, and no figure of it."""
    wrong = Problem("errors", "every request failed")
    run = make_record({"one": [100.0], "two": [200.0]}, problems={("two", 1): wrong})
    assert set(table(run, 80).splitlines()[3].split()[1:]) == {"-"}


def test_legend(default: Run) -> None:
    """It says what was asked and what each column means, within 80 columns."""
    said = legend(default)
    assert said.startswith("GET /books?limit=100, 5 clients for 3s\n3 rounds, 60 books (generated, seed 1)")
    assert "throughput over that of psycopg-sync-lazy" in said
    assert max(map(len, said.splitlines())) <= 80


def test_the_open_model_is_judged_by_p99(make_record: MakeRecord) -> None:
    """There the ratio is that of p99, and the legend says so; with few requests p95 it is."""
    load = Workload(name="open", model="open", rate=300, requests=[RequestSpec(name="a", path="/books")])
    run = make_record({"one": [300.0, 300.0], "two": [300.0, 300.0]}, workload=load)
    assert headline_of(run) == "p99_ms"
    assert "ratio: p99 over that of one" in legend(run)
    assert headline_of(make_record({"one": [100.0], "two": [100.0]}, workload=load)) == "p95_ms"


def test_legend_of_containers(default: Run) -> None:
    """Where the service ran in containers or within limits is told, in a line that fits; else nothing of it."""
    assert "containers" not in legend(default)
    assert "held to" not in legend(default)
    limits = Limits(1.0, 512 * 2**20, "cgroup2")
    held = msgspec.structs.replace(
        default,
        protocol=msgspec.structs.replace(default.protocol, deploy="compose", limits=limits),
        machine=msgspec.structs.replace(default.machine, engine="podman 4.3.1, podman-compose 1.0.3"),
    )
    told = "in containers (podman 4.3.1, podman-compose 1.0.3), held to 1 CPU, 512 MiB"
    assert told in legend(held).splitlines()
    alone = msgspec.structs.replace(default, protocol=msgspec.structs.replace(default.protocol, limits=limits))
    assert "held to 1 CPU, 512 MiB" in legend(alone).splitlines()


def test_what_was_asked() -> None:
    """One request in one line; a mix with shares; stages in their order; headers with their request."""
    one = RequestSpec(name="a", path="/books", headers={"Accept-Encoding": "gzip"}, weight=9)
    two = RequestSpec(name="b", path="/books", method="POST")
    assert asked(Workload(name="x", requests=[one], concurrency=1)) == [
        "GET /books, Accept-Encoding: gzip, 1 client for 3s"
    ]
    stages = [Stage(duration=10, target=200), Stage(duration=0.5, target=0)]
    assert asked(Workload(name="x", requests=[one, two], model="open", rate=20, stages=stages)) == [
        "x, 20 requests a second, to 200 in 10s, to 0 in 500ms:",
        "90% GET /books, Accept-Encoding: gzip",
        "10% POST /books",
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0.00"),
        (1.018, "1.02"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (24.06, "24.1"),
        (99.96, "100"),
        (1050, "1050"),
        (999_999.4, "999999"),
        (8e307, "8e+307"),
    ],
)
def test_three_digits(number: float, text: str) -> None:
    """As many as a measurement can tell, at the seams too."""
    assert three(number) == text
