"""The protocol: every contender once a round, in a fresh random order, until the interval is narrow enough."""

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
from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.load import pgbench
from bookstore.lab.load.pgbench import Script
from bookstore.lab.measurement import measure, no_measurement, workload_for
from bookstore.lab.plan import Plan
from bookstore.lab.record import run_record
from bookstore.lab.record.run_record import Contender, Deploy, Measurement, Metric, Problem, Round, Run, Status
from bookstore.lab.storage import runs
from bookstore.lab.storage.partial_run import PartialRun
from bookstore.lab.telemetry import watcher  # fmt: skip
from bookstore.lab.telemetry.watcher import Cost
from bookstore.lab.testbed import compose, local
from bookstore.lab.testbed.contender import PlannedContender
from bookstore.lab.testbed.database import DATABASE, Fill
from bookstore.lab.testbed.deployment import Deployment, DeploymentError
from bookstore.lab.testbed.testbed import Testbed
from bookstore.reaper import Reaper

CEILING_ROUNDS: Final = 3
"""Rounds in which the ceiling is measured too: it is the database's, and changes less than a service does."""


_TESTBEDS: Final[Mapping[Deploy, Callable[..., AbstractContextManager[Testbed]]]] = {
    "process": local.testbed,
    "compose": compose.testbed,
}

Progress = Callable[[str, float], None]
"""What is done next, and the share of the whole run that is behind us, 0 to 1; it may end before 1."""


class Outcome(NamedTuple):
    """The record, where its run.json lies, and the sentence on what watching cost."""

    run: Run
    path: Path
    cost: str


def run(it: Plan, fill: Fill, progress: Progress, resumable: str | None = None) -> Outcome:
    """Carries the plan out and stores the record. A run whose id is given as `resumable` goes on where it was
    stopped, and can be stopped again; it is stored when it is whole.

    Everything it starts is gone when it returns or raises, Ctrl-C included. Whole rounds are stored in any case: with
    the status aborted after Ctrl-C, which is raised again, and invalid where too few are valid. Raises
    InvalidMeasurement where there is nothing to store.
    """
    with ExitStack() as stack:
        reaper = stack.enter_context(Reaper())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bookstore-lab-")))
        reaper.watch("folder", folder)
        started_at = run_record.now()
        run_id = resumable or runs.folder_name(started_at, [contender.label for contender in it.contenders])
        partial_run = stack.enter_context(PartialRun(it.output, run_id, resume=resumable is not None))
        progress("making a database", 0)
        limits, writes = it.protocol.limits, it.workload.writes
        testbed = stack.enter_context(_TESTBEDS[it.protocol.deploy](fill, reaper, folder, limits, writes=writes))
        return _Runner(it, testbed, partial_run, progress, started_at).carry_out()


class _Runner:
    def __init__(
        self, it: Plan, testbed: Testbed, partial_run: PartialRun, progress: Progress, started_at: datetime
    ) -> None:
        self.plan = it
        self.testbed = testbed
        self.partial_run = partial_run
        self.progress = progress
        self.started_at = started_at
        self.answers: dict[str, consistency.Answers] = {}
        self.rounds: list[Round] = []
        self.inspections: list[Measurement] = []
        self.costs: list[Cost] = []

    def carry_out(self) -> Outcome:
        try:
            self._rounds()
        except (psycopg.Error, psutil.Error) as error:
            return self._finish("invalid", f"the lab's database or a worker is gone: {str(error).strip()}")
        except InvalidMeasurement as error:
            return self._finish("invalid", str(error))
        except KeyboardInterrupt:
            if self.rounds and not self.partial_run.resumable:
                self._finish("aborted", f"stopped after {len(self.rounds)} whole rounds")
            raise
        return self._finish(*self._judged())

    def _rounds(self) -> None:
        shuffle = random.Random(self.plan.seed)  # noqa: S311 - an order, not a secret
        contenders = self._contenders()
        while not self.rounds or not verdict.has_enough_rounds(
            self.rounds, contenders, self.plan.protocol, self._metric()
        ):
            number = len(self.rounds) + 1
            order = shuffle.sample(self.plan.contenders, len(self.plan.contenders))
            measured = [self._measure(number, place, contender) for place, contender in enumerate(order)]
            self.rounds.append(Round(number, measured))
        self._inspect()

    def _inspect(self) -> None:
        """One deployment more of each profile, with its own metrics switched on; what is the same twice, once. One that
        fails leaves out what only the service tells, and makes no figure of the rounds less true."""
        if not self.plan.protocol.inspect:
            return
        seen_before = []
        for contender in self.plan.contenders:
            if contender.profile and (same := (contender.keys, contender.load)) not in seen_before:
                seen_before.append(same)
                tell = partial(self._tell_inspection, contender)
                try:
                    seen = measure(
                        contender, self.plan.workload, self.plan.protocol, self.testbed, self.plan.seed,
                        lambda _: None, tell, inspect=True,
                    )  # fmt: skip
                except InvalidMeasurement as error:
                    seen = no_measurement(contender.label, Problem("server_died", str(error).splitlines()[0]))
                self.inspections.append(seen.measurement)

    def _tell_inspection(self, contender: PlannedContender, what: str, _share: float) -> None:
        self.progress(f"inspection  {contender.label}: {what}", 0.99)

    def _measure(self, number: int, place: int, contender: PlannedContender) -> Measurement:
        whole = self.plan.protocol.max_rounds * len(self.plan.contenders)
        done = (number - 1) * len(self.plan.contenders) + place
        if (before := self.partial_run.done.get((number, contender.label))) is not None:
            return before

        def tell(what: str, share: float) -> None:
            self.progress(f"round {number}  {contender.label}: {what}", (done + 0.9 * share) / whole)

        def verify(deployment: Deployment) -> None:
            tell("is verified", 0)
            self._verify(contender, deployment)

        try:
            measured = measure(
                contender, self.plan.workload, self.plan.protocol, self.testbed, self.plan.seed + number, verify, tell
            )
        except DeploymentError as error:
            if number == 1:  # nothing has shown yet that it can be deployed at all
                raise
            measured = no_measurement(contender.label, Problem("server_died", str(error).splitlines()[0]))
        scripts = self._scripts(contender)
        measurement = measured.measurement
        if scripts:  # what was captured is exact; under load some requests are always on their way
            every = sum(script.weight for script in scripts)
            counted = sum(statement_log.count_queries(list(script.statements)) * script.weight for script in scripts)
            measurement = msgspec.structs.replace(measurement, statements_per_request=counted / every)
        if measured.cost:
            self.costs.append(measured.cost)
        if scripts and number <= CEILING_ROUNDS:
            tell("ceiling", 1)
            clients = workload_for(contender, self.plan.workload).clients
            highest = pgbench.measure_ceiling_per_s(self.testbed.database.url, scripts, clients, self.testbed.folder)
            measurement = msgspec.structs.replace(measurement, ceiling_per_s=highest)
        self.partial_run.add(number, measurement, measured.samples)
        return measurement

    def _verify(self, contender: PlannedContender, deployment: Deployment) -> None:
        """Each time that it is what it says; the first time that it answers as the others, and with what SQL."""
        lab, workload = self.testbed.database, workload_for(contender, self.plan.workload)
        if contender.profile:
            identity.verify(contender.profile, deployment, lab.connection, DATABASE)
        if contender.label in self.answers:
            return
        if not contender.profile:
            consistency.check_expectations(contender.label, deployment, workload, lab.ids)
            self.answers[contender.label] = {}
            return
        mine = consistency.collect_answers(deployment, workload, lab.ids)
        for other, theirs in self.answers.items():
            if theirs:
                consistency.compare(contender.label, mine, other, theirs)
        self.answers[contender.label] = mine
        captured = {
            ask.name: statement_log.capture(
                lab.connection, deployment, ask.path_for(lab.ids[len(lab.ids) // 2]), ask.headers
            )
            for ask in consistency.repeatable_requests(workload)
        }
        first = statement_log.capture(lab.connection, deployment, identity.PATH)
        identity.verify_driver(contender.profile, first)
        self.partial_run.note(contender.label, {name: [one.sql for one in them] for name, them in captured.items()})

    def _scripts(self, contender: PlannedContender) -> list[Script]:
        """The statements of each kind of request; none where one of them writes, whose statements cannot be said
        twice, and none for other services."""
        workload, said = self.plan.workload, self.partial_run.statements.get(contender.label, {})
        scripts = [Script(said[ask.name], ask.weight) for ask in workload.requests if said.get(ask.name)]
        return scripts if len(scripts) == len(workload.requests) else []

    def _contenders(self) -> list[Contender]:
        return [
            Contender(
                label=it.label,
                spec=it.spec,
                kind="profile" if it.profile else "external",
                keys=it.keys,
                load=it.load,
                statements=self.partial_run.statements.get(it.label, {}),
            )
            for it in self.plan.contenders
        ]

    def _metric(self) -> Metric:
        """What rounds are added for: in the open model throughput is what was asked for, and tells nothing."""
        requests = min((one.requests for each in self.rounds for one in each.measurements), default=0)
        return verdict.headline(self.plan.workload.model, requests)

    def _judged(self) -> tuple[Status, str]:
        """Whether there are enough valid rounds to believe, and why not."""
        least = self.plan.protocol.min_rounds
        short = [
            f"{it.label} has {valid} of {least} valid rounds"
            for it in self.plan.contenders
            if (valid := sum(one.is_valid for one in summary.measurements_of(self.rounds, it.label))) < least
        ]
        return ("invalid", "; ".join(short)) if short else ("complete", "")

    def _finish(self, status: Status, told: str) -> Outcome:
        if not self.rounds:
            raise InvalidMeasurement(told)
        contenders = self._contenders()
        record = Run(
            id=self.partial_run.run_id,
            started_at=self.started_at,
            ended_at=run_record.now(),
            status=status,
            told=told,
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
