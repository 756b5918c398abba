"""A run: measures every contender once per round, in random order, until the confidence interval is narrow enough."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import psutil
import psycopg

from bookstore.lab.analysis import summary, verdict
from bookstore.lab.checks import consistency, identity, statement_log
from bookstore.lab.exceptions import InvalidMeasurement, NoAnswer
from bookstore.lab.load import pgbench
from bookstore.lab.load.pgbench import Script
from bookstore.lab.measurement import MeasurementResult, measure, no_measurement, workload_for
from bookstore.lab.plan import Plan
from bookstore.lab.record import run_record
from bookstore.lab.record.run_record import Contender, Deploy, Measurement, Metric, Problem, Round, Run, Status
from bookstore.lab.storage import runs
from bookstore.lab.storage.partial_run import PartialRun
from bookstore.lab.telemetry import watcher
from bookstore.lab.telemetry.watcher import Cost
from bookstore.lab.testbed import compose, local
from bookstore.lab.testbed.contender import PlannedContender
from bookstore.lab.testbed.database import DATABASE, Fill
from bookstore.lab.testbed.deployment import Deployment, DeploymentError
from bookstore.lab.testbed.testbed import Testbed
from bookstore.reaper import Reaper

CEILING_ROUNDS: Final = 3
"""Rounds in which the ceiling is measured as well. It belongs to the database and varies less than a service does."""
MAX_FAILURES: Final = 2
"""A contender that could not be measured in as many rounds in a row is left out of the following ones, so that a
service that hangs costs minutes, not hours."""

_TESTBEDS: Final[Mapping[Deploy, Callable[..., AbstractContextManager[Testbed]]]] = {
    "process": local.testbed,
    "compose": compose.testbed,
}

Progress = Callable[[str, float], None]
"""Called with the next activity and the completed share of the whole run, 0 to 1. A run may end before 1."""


class Outcome(NamedTuple):
    """The record, the path of its run.json, and a sentence on what observation cost."""

    run: Run
    path: Path
    cost: str


def run(plan: Plan, fill: Fill, progress: Progress, resumable: str | None = None) -> Outcome:
    """Execute the plan and store the record.

    A run whose id is given as `resumable` continues where it was interrupted and can be interrupted again; it is stored
    when it is complete.

    Everything the run starts is gone when it returns or raises, also after Ctrl-C. Completed rounds are stored in any
    case: as "aborted" after Ctrl-C, which is raised again, and as "invalid" if too few rounds are valid. Raises
    InvalidMeasurement if there is nothing to store.
    """
    with ExitStack() as stack:
        reaper = stack.enter_context(Reaper())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bookstore-lab-")))
        reaper.watch("folder", folder)
        started_at = run_record.now()
        run_id = resumable or runs.folder_name(started_at, [contender.label for contender in plan.contenders])
        partial_run = stack.enter_context(PartialRun(plan.output, run_id, resume=resumable is not None))
        progress("creating the database", 0)
        limits, writes = plan.protocol.limits, plan.workload.writes
        testbed = stack.enter_context(_TESTBEDS[plan.protocol.deploy](fill, reaper, folder, limits, writes=writes))
        return _Runner(plan, testbed, partial_run, progress, started_at).execute()


class _Runner:
    def __init__(
        self, plan: Plan, testbed: Testbed, partial_run: PartialRun, progress: Progress, started_at: datetime
    ) -> None:
        self.plan = plan
        self.testbed = testbed
        self.partial_run = partial_run
        self.progress = progress
        self.started_at = started_at
        self.answers: dict[str, consistency.Answers] = {}
        self.rounds: list[Round] = []
        self.inspections: list[Measurement] = []
        self.costs: list[Cost] = []

    def execute(self) -> Outcome:
        try:
            self._run_rounds()
        except (psycopg.Error, psutil.Error) as error:
            return self._finish("invalid", f"the lab's database or a worker stopped: {str(error).strip()}")
        except InvalidMeasurement as error:
            return self._finish("invalid", str(error))
        except KeyboardInterrupt:
            if self.rounds and not self.partial_run.resumable:
                self._finish("aborted", f"stopped after round {len(self.rounds)}")
            raise
        return self._finish(*self._status())

    def _run_rounds(self) -> None:
        shuffle = random.Random(self.plan.seed)  # noqa: S311 - an order, not a secret
        while not self.rounds or not self._has_enough_rounds():
            number = len(self.rounds) + 1
            order = shuffle.sample(self.plan.contenders, len(self.plan.contenders))
            left = [contender for contender in order if not self._has_failed(contender.label)]
            measured = [self._measure(number, place, contender) for place, contender in enumerate(left)]
            self.rounds.append(Round(number, measured))
        self._inspect()

    def _has_enough_rounds(self) -> bool:
        """Whether no further round is needed, judged by the contenders that can still be measured."""
        left = [contender for contender in self._contenders() if not self._has_failed(contender.label)]
        return not left or verdict.has_enough_rounds(self.rounds, left, self.plan.protocol, self._metric())

    def _has_failed(self, label: str) -> bool:
        latest = summary.measurements_of(self.rounds, label)[-MAX_FAILURES:]
        return len(latest) == MAX_FAILURES and not any(measurement.seconds for measurement in latest)

    def _inspect(self) -> None:
        """Deploy each distinct profile once more, with its own metrics enabled. A failed inspection only loses the
        service's own metrics; it does not affect the rounds."""
        if not self.plan.protocol.inspect:
            return
        inspected = []
        for contender in self.plan.contenders:
            if contender.profile and (key := (contender.keys, contender.load)) not in inspected:
                inspected.append(key)
                report = partial(self._report_inspection, contender)
                try:
                    result = measure(
                        contender, self.plan.workload, self.plan.protocol, self.testbed, self.plan.seed,
                        lambda _: None, report, inspect=True,
                    )  # fmt: skip
                except InvalidMeasurement as error:
                    result = _failed(contender, error)
                self.inspections.append(result.measurement)

    def _report_inspection(self, contender: PlannedContender, activity: str, _share: float) -> None:
        self.progress(f"inspection  {contender.label}: {activity}", 0.99)

    def _measure(self, number: int, place: int, contender: PlannedContender) -> Measurement:
        total = self.plan.protocol.max_rounds * len(self.plan.contenders)
        done = (number - 1) * len(self.plan.contenders) + place
        if (stored := self.partial_run.done.get((number, contender.label))) is not None:
            return stored

        def report(activity: str, share: float) -> None:
            self.progress(f"round {number}  {contender.label}: {activity}", (done + 0.9 * share) / total)

        def verify(deployment: Deployment) -> None:
            report("verifying", 0)
            self._verify(contender, deployment)

        try:
            result = measure(
                contender, self.plan.workload, self.plan.protocol, self.testbed, self.plan.seed + number, verify, report
            )
        except NoAnswer as error:
            result = _failed(contender, error)
        except DeploymentError as error:
            if number == 1:  # the contender may never have been deployable
                raise DeploymentError(f"{contender.label}: {error}") from None
            result = _failed(contender, error)
        measurement = result.measurement
        scripts = self._scripts(contender) if measurement.seconds else []
        if scripts:  # counted in captures: under load some requests are always in flight
            weight = sum(script.weight for script in scripts)
            queries = sum(statement_log.count_queries(list(script.statements)) * script.weight for script in scripts)
            measurement = msgspec.structs.replace(measurement, statements_per_request=queries / weight)
        if result.cost:
            self.costs.append(result.cost)
        if scripts and number <= CEILING_ROUNDS:
            report("measuring the ceiling", 1)
            clients = workload_for(contender, self.plan.workload).clients
            ceiling_per_s = pgbench.measure_ceiling_per_s(
                self.testbed.database.url, scripts, clients, self.testbed.folder
            )
            measurement = msgspec.structs.replace(measurement, ceiling_per_s=ceiling_per_s)
        self.partial_run.add(number, measurement, result.samples)
        return measurement

    def _verify(self, contender: PlannedContender, deployment: Deployment) -> None:
        """Check identity each time; the first time also compare answers between contenders and capture the SQL."""
        database, workload = self.testbed.database, workload_for(contender, self.plan.workload)
        if contender.profile:
            identity.verify(contender.profile, deployment, database.connection, DATABASE)
        if contender.label in self.answers:
            return
        if not contender.profile:
            consistency.check_expectations(contender.label, deployment, workload, database.ids)
            self.answers[contender.label] = {}
            return
        answers = consistency.collect_answers(deployment, workload, database.ids)
        for other_label, other_answers in self.answers.items():
            if other_answers:
                consistency.compare(contender.label, answers, other_label, other_answers)
        self.answers[contender.label] = answers
        captured = {
            request.name: statement_log.capture(
                database.connection, deployment, request.path_for(database.ids[len(database.ids) // 2]), request.headers
            )
            for request in consistency.repeatable_requests(workload)
        }
        list_statements = statement_log.capture(database.connection, deployment, identity.PATH, identity.HEADERS)
        identity.verify_driver(contender.profile, list_statements)
        self.partial_run.add_statements(
            contender.label,
            {name: [statement.sql for statement in statements] for name, statements in captured.items()},
        )

    def _scripts(self, contender: PlannedContender) -> list[Script]:
        """Return each request's statements for pgbench; none for external services or if any request writes (no
        replay)."""
        workload, statements = self.plan.workload, self.partial_run.statements.get(contender.label, {})
        scripts = [
            Script(statements[request.name], request.weight)
            for request in workload.requests
            if statements.get(request.name)
        ]
        return scripts if len(scripts) == len(workload.requests) else []

    def _contenders(self) -> list[Contender]:
        return [
            Contender(
                label=contender.label,
                spec=contender.spec,
                kind="profile" if contender.profile else "external",
                keys=contender.keys,
                load=contender.load,
                statements=self.partial_run.statements.get(contender.label, {}),
            )
            for contender in self.plan.contenders
        ]

    def _metric(self) -> Metric:
        """Return the metric that decides on further rounds: throughput, or a latency in the open model."""
        measured = [it for round_ in self.rounds for it in round_.measurements if it.is_valid]
        requests = min((measurement.requests for measurement in measured), default=0)
        return verdict.headline(self.plan.workload.model, requests)

    def _status(self) -> tuple[Status, str]:
        """Return "complete", or "invalid" with the reason if a contender has too few valid rounds."""
        required = self.plan.protocol.min_rounds
        shortages = [
            f"{contender.label} has {valid} of {required} required valid rounds"
            for contender in self.plan.contenders
            if (
                valid := sum(
                    measurement.is_valid for measurement in summary.measurements_of(self.rounds, contender.label)
                )
            )
            < required
        ]
        return ("invalid", "; ".join(shortages)) if shortages else ("complete", "")

    def _finish(self, status: Status, reason: str) -> Outcome:
        if not self.rounds:
            raise InvalidMeasurement(reason)
        contenders = self._contenders()
        record = Run(
            id=self.partial_run.run_id,
            started_at=self.started_at,
            ended_at=run_record.now(),
            status=status,
            told=reason,
            seed=self.plan.seed,
            protocol=msgspec.structs.replace(self.plan.protocol, limits=self.testbed.limits()),
            workload=self.plan.workload,
            catalogue=self.testbed.database.catalogue,
            machine=self.testbed.machine(),
            contenders=contenders,
            rounds=self.rounds,
            inspections=self.inspections,
            summary=summary.summarise(self.rounds, contenders, self.partial_run.read, self.plan.workload.model),
            steps=summary.steps(self.rounds, contenders),
        )
        return Outcome(record, self.partial_run.finish(record), watcher.describe_cost(self.costs))


def _failed(contender: PlannedContender, error: InvalidMeasurement) -> MeasurementResult:
    """Return an empty measurement with the error's code and first line, which has no output of the service."""
    code = error.code if isinstance(error, (NoAnswer, DeploymentError)) else "server_died"
    return no_measurement(contender.label, Problem(code, str(error).splitlines()[0].rstrip(":")))
