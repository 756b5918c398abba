"""The protocol: every contender is measured once per round, in random order, on the same database."""

from __future__ import annotations

import random
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from bookstore.database.url import conninfo
from bookstore.lab import run
from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.measurement import MeasurementResult, measure
from bookstore.lab.record import samples
from bookstore.lab.record.run_record import Catalogue, Limits, Problem, Run
from bookstore.lab.storage import runs
from bookstore.lab.testbed.database import BenchmarkDatabase
from bookstore.lab.testbed.deployment import Deployment
from bookstore.lab.workload import file as workload_file
from bookstore.lab.workload.spec import Workload

from .protocols import READING, child_processes, ignore_progress, make_plan, steady_service

PROFILES = ["asyncpg-json", "psycopg-sync-joined"]


def no_fill(_: psycopg.Connection) -> Catalogue:
    pytest.fail("the database exists already")


def run_plan(specs: list[str], output: Path, workload: Workload = READING, seed: int = 1, **protocol: object) -> Run:
    """Execute the plan and return the run as stored."""
    outcome = run.run(make_plan(specs, output, workload, seed, **protocol), no_fill, ignore_progress)
    assert runs.read(outcome.path) == outcome.run
    return outcome.run


def count_books(lab: BenchmarkDatabase) -> int:
    with psycopg.connect(conninfo(lab.url)) as connection:
        row = connection.execute("SELECT count(*) FROM book").fetchone()
    return int(row[0]) if row else 0


def test_a_run_of_profiles_and_another_service(
    ready_database: BenchmarkDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two profiles and an external service are measured once per round in the seed's order, each on a fresh database
    although the one before wrote; every request is in the samples."""
    at_start, after = [], []

    def measure_and_count(*arguments: Any, **options: Any) -> MeasurementResult:
        verify = arguments[5]

        def count_and_verify(deployment: Deployment) -> None:
            at_start.append(count_books(ready_database))
            verify(deployment)

        result = measure(*(*arguments[:5], count_and_verify, *arguments[6:]), **options)
        after.append(count_books(ready_database))
        return result

    monkeypatch.setattr(run, "measure", measure_and_count)
    workload = msgspec.structs.replace(workload_file.load("mixed-50-50"), duration=0.5, warm_up=0)
    specs = [*PROFILES, steady_service(tmp_path)]
    record = run_plan(specs, tmp_path / "runs", workload, seed=3, min_rounds=2, max_rounds=2)
    assert record.status == "complete", record.told
    labels = [*PROFILES, "steady"]
    assert [contender.label for contender in record.contenders] == labels
    assert [contender.profile for contender in record.summary] == labels
    assert [contender.kind for contender in record.contenders] == ["profile", "profile", "external"]
    shuffle = random.Random(3)  # noqa: S311 - an order, not a secret
    orders = [shuffle.sample(labels, 3) for _ in range(2)]
    assert [[measurement.profile for measurement in round_.measurements] for round_ in record.rounds] == orders
    assert orders[0] != orders[1], "choose a seed that shows it"
    assert at_start == [60] * 6
    wrote = [count for count, label in zip(after, chain(*orders), strict=True) if label != "steady"]
    assert all(count > 60 for count in wrote)
    folder = tmp_path / "runs" / record.id
    for round_ in record.rounds:
        for measurement in round_.measurements:
            own_samples = samples.read(folder, measurement.profile, round_.number)
            assert (
                len(own_samples.between(0, measurement.seconds))
                == measurement.requests
                == sum(measurement.statuses.values())
            )
            assert sum(kind.requests for kind in measurement.kinds) == measurement.requests
            assert {kind.name for kind in measurement.kinds} <= {request.name for request in workload.requests}
    assert len(samples.read(folder)) == sum(
        len(samples.read(folder, label, number)) for label in labels for number in (1, 2)
    )
    reading = {"list", "detail", "search"}
    assert [set(contender.statements) for contender in record.contenders] == [reading, reading, set()]
    assert all(all(contender.statements.values()) for contender in record.contenders)
    ceilings = [measurement.ceiling_per_s for round_ in record.rounds for measurement in round_.measurements]
    assert ceilings == [None] * 6  # writing statements cannot be replayed


def test_a_ceiling_and_limits(ready_database: BenchmarkDatabase, tmp_path: Path) -> None:
    """Workloads that only read get the database's ceiling, for profiles alone; a limit is recorded with its means."""
    limits = Limits(cpus=0.5)
    record = run_plan(["asyncpg-json", steady_service(tmp_path)], tmp_path / "runs", limits=limits)
    profile, other = sorted(record.rounds[0].measurements, key=lambda measurement: measurement.profile)
    assert profile.ceiling_per_s
    assert other.ceiling_per_s is None
    assert (profile.connections, profile.statements_per_request) == (5, 1)
    unknown = (other.connections, other.statements_per_request, other.database_cpu_ms_per_request)
    assert unknown == (None, None, None)  # it does not get the lab's database
    assert record.summary[1].connections is None
    assert record.summary[0].ceiling_share
    assert set(record.contenders[0].statements) == {"list", "detail"}
    assert record.protocol.limits.cpus == 0.5
    assert record.protocol.limits.means in {"cgroup1", "cgroup2", "taskset"}


@pytest.mark.parametrize(("precision_ratio", "rounds"), [(1e9, 2), (1e-9, 3)])
def test_rounds_end_when_they_are_enough(
    precision_ratio: float, rounds: int, ready_database: BenchmarkDatabase, tmp_path: Path
) -> None:
    """Rounds stop at the minimum once the interval is narrow enough, otherwise at the maximum."""
    specs = [steady_service(tmp_path), steady_service(tmp_path, "other")]
    record = run_plan(
        specs, tmp_path / "runs", min_rounds=2, max_rounds=3, precision_ratio=precision_ratio, watch=False
    )
    assert len(record.rounds) == rounds
    assert record.status == "complete"


def test_only_valid_rounds_are_in_the_summary(
    ready_database: BenchmarkDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid round is kept and counted as invalid, and none of its figures is in the summary."""
    results = []

    def invalidate_first(*arguments: Any, **options: Any) -> MeasurementResult:
        result = measure(*arguments[:7], **options)
        results.append(result)
        if len(results) > 1:
            return result
        problem = Problem("machine_busy", "as if")
        return result._replace(measurement=msgspec.structs.replace(result.measurement, problems=[problem]))

    monkeypatch.setattr(run, "measure", invalidate_first)
    record = run_plan([steady_service(tmp_path)], tmp_path / "runs", min_rounds=1, max_rounds=2, precision_ratio=1e-9)
    first, second = (round_.measurements[0] for round_ in record.rounds)
    assert (first.is_valid, second.is_valid) == (False, True)
    assert (record.summary[0].rounds, record.summary[0].invalid_rounds) == (1, 1)
    assert record.summary[0].requests == second.requests
    assert record.summary[0].throughput_per_s == second.throughput_per_s


def test_an_inspection_that_fails_costs_the_run_nothing(
    ready_database: BenchmarkDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that fails to start for the inspection leaves the rounds unaffected."""

    def failing(*arguments: Any, **options: Any) -> MeasurementResult:
        if options.get("inspect"):
            raise InvalidMeasurement("the service ended during startup:\nlog")
        return measure(*arguments, **options)

    monkeypatch.setattr(run, "measure", failing)
    record = run_plan(["asyncpg-json"], tmp_path / "runs", inspect=True)
    assert record.status == "complete"
    assert record.summary[0].rounds == 1
    assert [measurement.problems for measurement in record.inspections] == [
        [Problem("server_died", "the service ended during startup")]
    ]


def test_another_service_answers_as_the_workload_declares(ready_database: BenchmarkDatabase, tmp_path: Path) -> None:
    """A service that answers without the expected text is not measured and not left running."""
    requests = [msgspec.structs.replace(request, expects="isbn13") for request in READING.requests]
    workload = msgspec.structs.replace(READING, requests=requests)
    with pytest.raises(InvalidMeasurement, match=r"steady answers GET /books\?limit=20 without 'isbn13'"):
        run.run(make_plan([steady_service(tmp_path)], tmp_path / "runs", workload), no_fill, ignore_progress)
    assert list((tmp_path / "runs").iterdir()) == []
    assert child_processes("server.py") == []
