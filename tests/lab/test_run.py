"""The protocol: whoever takes part is measured once a round, in an order of its own, on the same database."""

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

from .protocols import READING, children, planned, quiet, steady

PROFILES = ["asyncpg-json", "psycopg-sync-joined"]


def unused(_: psycopg.Connection) -> Catalogue:
    pytest.fail("the laboratory is there already")


def carried_out(specs: list[str], output: Path, workload: Workload = READING, seed: int = 1, **protocol: object) -> Run:
    """The run as it is stored."""
    outcome = run.run(planned(specs, output, workload, seed, **protocol), unused, quiet)
    assert runs.read(outcome.path) == outcome.run
    return outcome.run


def books(lab: BenchmarkDatabase) -> int:
    with psycopg.connect(conninfo(lab.url)) as connection:
        row = connection.execute("SELECT count(*) FROM book").fetchone()
    return int(row[0]) if row else 0


def test_a_run_of_profiles_and_another_service(
    ready_laboratory: BenchmarkDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two profiles and another service are measured once a round, in the order that the seed draws, each on the
    database as it was filled although the one before wrote; every request is in the samples."""
    at_start, after = [], []

    def counted(*arguments: Any, **options: Any) -> MeasurementResult:
        verify = arguments[5]

        def look(deployment: Deployment) -> None:
            at_start.append(books(ready_laboratory))
            verify(deployment)

        found = measure(*(*arguments[:5], look, *arguments[6:]), **options)
        after.append(books(ready_laboratory))
        return found

    monkeypatch.setattr(run, "measure", counted)
    workload = msgspec.structs.replace(workload_file.load("mixed-50-50"), duration=0.5, warm_up=0)
    specs = [*PROFILES, steady(tmp_path)]
    record = carried_out(specs, tmp_path / "runs", workload, seed=3, min_rounds=2, max_rounds=2)
    assert record.status == "complete", record.told
    labels = [*PROFILES, "steady"]
    assert [it.label for it in record.contenders] == [one.profile for one in record.summary] == labels
    assert [it.kind for it in record.contenders] == ["profile", "profile", "external"]
    shuffle = random.Random(3)  # noqa: S311 - an order, not a secret
    orders = [shuffle.sample(labels, 3) for _ in range(2)]
    assert [[one.profile for one in each.measurements] for each in record.rounds] == orders
    assert orders[0] != orders[1], "choose a seed that shows it"
    assert at_start == [60] * 6
    wrote = [count for count, label in zip(after, chain(*orders), strict=True) if label != "steady"]
    assert all(count > 60 for count in wrote)
    folder = tmp_path / "runs" / record.id
    for each in record.rounds:
        for one in each.measurements:
            mine = samples.read(folder, one.profile, each.number)
            assert len(mine.between(0, one.seconds)) == one.requests == sum(one.statuses.values())
            assert sum(kind.requests for kind in one.kinds) == one.requests
            assert {kind.name for kind in one.kinds} <= {ask.name for ask in workload.requests}
    assert len(samples.read(folder)) == sum(
        len(samples.read(folder, label, number)) for label in labels for number in (1, 2)
    )
    reading = {"list", "detail", "search"}
    assert [set(it.statements) for it in record.contenders] == [reading, reading, set()]
    assert all(all(it.statements.values()) for it in record.contenders)
    ceilings = [one.ceiling_per_s for each in record.rounds for one in each.measurements]
    assert ceilings == [None] * 6  # what writes cannot be said twice


def test_a_ceiling_and_limits(ready_laboratory: BenchmarkDatabase, tmp_path: Path) -> None:
    """Where all that is asked only reads the database's own ceiling is measured, for profiles alone; and a limit is
    recorded with the means that held it."""
    limits = Limits(cpus=0.5)
    record = carried_out(["asyncpg-json", steady(tmp_path)], tmp_path / "runs", limits=limits)
    profile, other = sorted(record.rounds[0].measurements, key=lambda one: one.profile)
    assert profile.ceiling_per_s
    assert other.ceiling_per_s is None
    assert record.summary[0].ceiling_share
    assert set(record.contenders[0].statements) == {"list", "detail"}
    assert record.protocol.limits.cpus == 0.5
    assert record.protocol.limits.means in {"cgroup1", "cgroup2", "taskset"}


@pytest.mark.parametrize(("precision_ratio", "rounds"), [(1e9, 2), (1e-9, 3)])
def test_rounds_end_when_they_are_enough(
    precision_ratio: float, rounds: int, ready_laboratory: BenchmarkDatabase, tmp_path: Path
) -> None:
    """Rounds stop at the least number once the interval is narrow enough, else at the most."""
    specs = [steady(tmp_path), steady(tmp_path, "other")]
    record = carried_out(
        specs, tmp_path / "runs", min_rounds=2, max_rounds=3, precision_ratio=precision_ratio, watch=False
    )
    assert len(record.rounds) == rounds
    assert record.status == "complete"


def test_only_valid_rounds_are_in_the_summary(
    ready_laboratory: BenchmarkDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round that is not valid is kept, told and counted as such, and none of its figures is in the summary."""
    seen = []

    def spoiled(*arguments: Any, **options: Any) -> MeasurementResult:
        found = measure(*arguments[:7], **options)
        seen.append(found)
        if len(seen) > 1:
            return found
        problem = Problem("machine_busy", "as if")
        return found._replace(measurement=msgspec.structs.replace(found.measurement, problems=[problem]))

    monkeypatch.setattr(run, "measure", spoiled)
    record = carried_out([steady(tmp_path)], tmp_path / "runs", min_rounds=1, max_rounds=2, precision_ratio=1e-9)
    first, second = (each.measurements[0] for each in record.rounds)
    assert (first.is_valid, second.is_valid) == (False, True)
    assert (record.summary[0].rounds, record.summary[0].invalid_rounds) == (1, 1)
    assert record.summary[0].requests == second.requests
    assert record.summary[0].throughput_per_s == second.throughput_per_s


def test_an_inspection_that_fails_costs_the_run_nothing(
    ready_laboratory: BenchmarkDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that does not start once more, with its metrics on, leaves the rounds as they were measured."""

    def failing(*arguments: Any, **options: Any) -> MeasurementResult:
        if options.get("inspect"):
            raise InvalidMeasurement("the service ended at its start:\nlog")
        return measure(*arguments, **options)

    monkeypatch.setattr(run, "measure", failing)
    record = carried_out(["asyncpg-json"], tmp_path / "runs", inspect=True)
    assert record.status == "complete"
    assert record.summary[0].rounds == 1
    assert [one.problems for one in record.inspections] == [[Problem("server_died", "the service ended at its start:")]]


def test_another_service_answers_as_the_workload_declares(ready_laboratory: BenchmarkDatabase, tmp_path: Path) -> None:
    """A service that answers without the text that the workload expects is not measured, and not left running."""
    asks = [msgspec.structs.replace(ask, expects="isbn13") for ask in READING.requests]
    workload = msgspec.structs.replace(READING, requests=asks)
    with pytest.raises(InvalidMeasurement, match=r"steady answers GET /books\?limit=20 without 'isbn13'"):
        run.run(planned([steady(tmp_path)], tmp_path / "runs", workload), unused, quiet)
    assert list((tmp_path / "runs").iterdir()) == []
    assert children("server.py") == []
