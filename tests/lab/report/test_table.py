"""The table in the terminal."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from bookstore.lab.record.run_record import Limits, Problem, Run
from bookstore.lab.report.table import describe_errors, describe_workload, headline_metric, legend, table, three_digits
from bookstore.lab.workload.spec import RequestSpec, Stage, Workload

MakeRecord = Callable[..., Run]

DEFAULT = ["psycopg-sync-lazy", "psycopg-sync-joined", "asyncpg-joined", "asyncpg-json"]


@pytest.fixture
def default(make_record: MakeRecord) -> Run:
    """The default four profiles with throughputs of four digits."""
    return make_record(
        {name: [1000.0 * n + 111, 1000.0 * n + 175, 1000.0 * n + 143] for n, name in enumerate(DEFAULT, 1)}
    )


def test_the_default_comparison_fits_a_terminal(default: Run) -> None:
    """One row per profile within 80 columns, in the given order, without trailing spaces. The baseline's row has no
    interval. Nothing failed, so there is no column for it."""
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
    """If a request failed, each profile's number of failures is shown, and the legend has the sum."""
    one, *others = default.summary
    failed = msgspec.structs.replace(default, summary=[msgspec.structs.replace(one, errors=3), *others])
    head, *_ = table(failed, 120).splitlines()
    assert "err" in head.split()
    assert {"errors       3 requests failed", "err          failed requests"} <= set(legend(failed).splitlines())
    assert "errors       none" in legend(default).splitlines()


def test_long_names_stand_on_their_own_lines(make_record: MakeRecord) -> None:
    """With long profile names, the figures stay within 80 columns."""
    name = "asyncpg-joined@pool_size=20,max_overflow=10,isolation_level=REPEATABLE READ"
    lines = table(make_record({"one": [1000.0, 1010.0], name: [2000.0, 2030.0]}), 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[lines.index(name) + 1].split()[0] == "2015"


def test_wide_terminals_get_wider_gaps(default: Run) -> None:
    """Columns are two spaces apart if the width allows it."""
    assert max(map(len, table(default, 200).splitlines())) > max(map(len, table(default, 80).splitlines()))


def test_marks(make_record: MakeRecord) -> None:
    """A ratio has a ~ if no difference is shown, a ? if it is too noisy to say, else neither."""
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


def test_a_contender_without_a_valid_round_has_dashes(make_record: MakeRecord) -> None:
    """Its row has no figures."""
    wrong = Problem("errors", "every request failed")
    run = make_record({"one": [100.0], "two": [200.0]}, problems={("two", 1): wrong})
    assert set(table(run, 80).splitlines()[3].split()[1:]) == {"-"}


def test_legend(default: Run) -> None:
    """The workload, the run and each column of the table have a labelled line of at most 80 columns."""
    first, second, *lines = legend(default).splitlines()
    assert first == "workload     GET /books?limit=100, 5 clients for 3s"
    assert second == "run          3 rounds, 60 books (generated, seed 1)"
    assert "ratio        throughput relative to psycopg-sync-lazy, with its 95 % interval" in lines
    assert {"p50", "CPU", "PSS", "conn", "SQL", "ceil"} <= {line.split()[0] for line in lines}
    assert max(map(len, lines)) <= 80


def test_the_legend_explains_only_what_is_shown(make_record: MakeRecord) -> None:
    """Without a valid round there is no ratio, with a single round no interval; a mark is explained if it occurs."""
    alike, wild = [100.0, 101.0, 99.0, 100.0, 101.0, 99.0], [50.0, 200.0, 50.0, 200.0, 50.0, 200.0]

    def labels(run: Run) -> set[str]:
        return {line.split()[0] for line in legend(run).splitlines()}

    assert {"~", "?"} & labels(make_record({"one": [100.0] * 6, "two": alike})) == {"~"}
    assert {"~", "?"} <= labels(make_record({"one": [100.0] * 6, "two": alike, "three": wild}))
    single = make_record({"one": [100.0], "two": [200.0]})
    assert "ratio        throughput relative to one\n" in legend(single)
    assert {"~", "?"} & labels(single) == {"?"}
    wrong = Problem("errors", "every request failed")
    nothing = make_record({"one": [100.0], "two": [200.0]}, problems={("one", 1): wrong, ("two", 1): wrong})
    assert labels(nothing) == {"workload", "run", "errors"}
    assert "errors    unknown: no round is valid" in legend(nothing)


def test_errors_of_invalid_rounds(make_record: MakeRecord) -> None:
    """Failed requests of invalid rounds are named although no figure contains them."""
    wrong = Problem("errors", "7 of 500 requests failed")
    run = make_record({"one": [100.0, 100.0], "two": [200.0, 200.0]}, problems={("two", 1): wrong})
    assert describe_errors(run) == "none"
    first, *others = run.rounds
    failed = [msgspec.structs.replace(it, errors=0 if it.is_valid else 7) for it in first.measurements]
    run = msgspec.structs.replace(run, rounds=[msgspec.structs.replace(first, measurements=failed), *others])
    assert describe_errors(run) == "7 requests failed in invalid rounds"
    one, two = run.summary
    run = msgspec.structs.replace(run, summary=[msgspec.structs.replace(one, errors=1), two])
    assert describe_errors(run) == "1 request failed, 7 requests failed in invalid rounds"


def test_the_open_model_is_judged_by_p99(make_record: MakeRecord) -> None:
    """Its ratio is that of p99, or of p95 with few requests, and the legend says so."""
    load = Workload(name="open", model="open", rate=300, requests=[RequestSpec(name="a", path="/books")])
    run = make_record({"one": [300.0, 300.0], "two": [300.0, 300.0]}, workload=load)
    assert headline_metric(run) == "p99_ms"
    assert "p99 relative to one" in legend(run)
    assert headline_metric(make_record({"one": [100.0], "two": [100.0]}, workload=load)) == "p95_ms"


def test_legend_of_containers(default: Run) -> None:
    """A line says that the service ran in containers or within limits; otherwise there is none."""
    assert "containers" not in legend(default)
    assert "limited to" not in legend(default)
    limits = Limits(1.0, 512 * 2**20, "cgroup2")
    limited = msgspec.structs.replace(
        default,
        protocol=msgspec.structs.replace(default.protocol, deploy="compose", limits=limits),
        machine=msgspec.structs.replace(default.machine, engine="podman 4.3.1, podman-compose 1.0.3"),
    )
    assert "in containers (podman 4.3.1, podman-compose 1.0.3), limited to 1 CPU, 512 MiB" in legend(limited).replace(
        "\n" + 13 * " ", " "
    )
    alone = msgspec.structs.replace(default, protocol=msgspec.structs.replace(default.protocol, limits=limits))
    assert "service      limited to 1 CPU, 512 MiB" in legend(alone).splitlines()


def test_workload() -> None:
    """A single request takes one line, a mix one per request with its share; stages are in order."""
    one = RequestSpec(name="a", path="/books", headers={"Accept-Encoding": "gzip"}, weight=9)
    two = RequestSpec(name="b", path="/books", method="POST")
    assert describe_workload(Workload(name="x", requests=[one], concurrency=1)) == [
        "GET /books, Accept-Encoding: gzip, 1 client for 3s"
    ]
    stages = [Stage(duration=10, target=200), Stage(duration=0.5, target=0)]
    assert describe_workload(Workload(name="x", requests=[one, two], model="open", rate=20, stages=stages)) == [
        "x, 20 requests per second, to 200 in 10s, to 0 in 500ms:",
        "90 % GET /books, Accept-Encoding: gzip",
        "10 % POST /books",
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
    """Rounding keeps three digits at the boundaries."""
    assert three_digits(number) == text
