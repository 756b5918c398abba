"""The protocol: deploy, verify, warm up, measure, stop; every profile once a round, in shuffled order."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import psutil
import psycopg

from bookstore import postgres, profile, schema
from bookstore.database_url import conninfo
from bookstore.guardian import Guardian
from bookstore.lab import ceiling, compare, load, machine, results, statements, verification
from bookstore.lab.deploy import deploy, wait_until
from bookstore.lab.deployment import Deployment, DeploymentError
from bookstore.lab.invalid import Invalid
from bookstore.lab.plan import MAX_CONNECTIONS, Plan
from bookstore.lab.results import Catalogue, Measurement, Reading, Round, Run, Sample
from bookstore.lab.samples import Samples
from bookstore.lab.statistics import percentile
from bookstore.lab.telemetry import Watcher
from bookstore.lab.track import summed
from bookstore.postgres import Cluster

QUIET_WITHIN_S: Final = 10

_CLUSTER_SETTINGS: Final = {
    **statements.LOG_SETTINGS,
    "max_connections": str(MAX_CONNECTIONS),
    "shared_buffers": "256MB",
    "autovacuum_naptime": "1d",  # the catalogue is vacuumed once it is in; nothing may start in a round
}

Fill = Callable[[psycopg.Connection], Catalogue]
"""Puts the catalogue into an empty, migrated database."""


class Progress(Protocol):
    def __call__(self, what: str, done: float) -> None:
        """`what` is done next; `done` is the share of the whole run that is behind us, 0 to 1."""


def run(it: Plan, fill: Fill, progress: Progress) -> tuple[Run, Path]:
    """Carries the plan out and stores the record; returns it with run.json's path.

    Everything it starts is gone when it returns or raises, Ctrl-C included. Raises Invalid
    where the measurement would not be valid.
    """
    with ExitStack() as stack:
        guardian = stack.enter_context(Guardian())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bookstore-lab-")))
        guardian.watch("folder", folder)
        progress("making a database", 0)
        cluster = stack.enter_context(postgres.temporary(guardian, _CLUSTER_SETTINGS))
        schema.upgrade(cluster.url().set(drivername="postgresql+psycopg"))
        with psycopg.connect(conninfo(cluster.url())) as connection:
            catalogue = fill(connection)
        with psycopg.connect(conninfo(cluster.url()), autocommit=True, application_name="bookstore-lab") as connection:
            runner = _Runner(it, cluster, connection, catalogue, folder, guardian, progress)
            try:
                return runner.carry_out()
            except (psycopg.Error, psutil.Error) as error:
                raise Invalid(f"the lab's database or a worker is gone: {error}") from error


class _Runner:
    def __init__(
        self,
        it: Plan,
        cluster: Cluster,
        connection: psycopg.Connection,
        catalogue: Catalogue,
        folder: Path,
        guardian: Guardian,
        progress: Progress,
    ) -> None:
        self.plan = it
        self.cluster = cluster
        self.connection = connection
        self.catalogue = catalogue
        self.ids = [row[0] for row in connection.execute("SELECT id FROM book ORDER BY id")]
        self.folder = folder
        self.guardian = guardian
        self.progress = progress
        self.answers: dict[str, verification.Answers] = {}
        self.statements: dict[str, list[str]] = {}
        self.samples: dict[tuple[int, str], list[Sample]] = {}

    def carry_out(self) -> tuple[Run, Path]:
        started_at = results.now()
        shuffle = random.Random(self.plan.seed)  # noqa: S311 - an order, not a secret
        rounds = []
        for number in range(1, self.plan.rounds + 1):
            order = shuffle.sample(self.plan.contenders, len(self.plan.contenders))
            measured = [self._measure(number, place, label, spec) for place, (label, spec, _) in enumerate(order)]
            rounds.append(Round(number, measured))
        return self._store(started_at, rounds)

    def _measure(self, number: int, place: int, label: str, spec: str) -> Measurement:
        count = len(self.plan.contenders)
        done = (number - 1) * count + place
        workload = self.plan.workload

        def tell(what: str, share: float = 0) -> None:
            whole = self.plan.rounds * count
            self.progress(f"round {number}/{self.plan.rounds}  {label}: {what}", (done + share) / whole)

        tell("starts")
        with deploy(spec, self.cluster.url(), self.folder, self.guardian) as deployment:
            workers = deployment.prove_identity()
            if number == 1:
                tell("is verified")
                self._verify(label, deployment)
            tell("is loaded")
            with Watcher(
                workers, connection=self.connection, postmaster=self.cluster.pid(), database="postgres"
            ) as watcher:
                sent = load.send(
                    workload, load.Target(deployment.base, self.ids), self.folder, self.guardian,
                    lambda what, gone: tell(what, 0.1 + 0.6 * gone), seed=self.plan.seed + number,
                )  # fmt: skip
                samples = _rows(load.measured(sent.samples, workload))
            if deployment.prove_identity() != workers:
                raise DeploymentError(f"{label}: a worker was replaced while it was measured")
        self._wait_quiet(label)
        tell("ceiling", 0.8)
        highest = ceiling.ceiling_per_s(
            self.cluster, "postgres", self.statements[label], workload.concurrency, self.folder
        )
        self.samples[number, label] = samples
        return self._measurement(label, samples, watcher, workers, highest)

    def _verify(self, label: str, deployment: Deployment) -> None:
        """Same answers as the profiles before it; and the SQL that one request makes."""
        mine = verification.answers(deployment, self.plan.workload, self.ids)
        for other, theirs in self.answers.items():
            verification.compare(label, mine, other, theirs)
        self.answers[label] = mine
        workload = self.plan.workload
        ask = workload.requests[0]
        path = ask.path_of(self.ids[len(self.ids) // 2])
        self.statements[label] = statements.capture(self.cluster, self.connection, deployment, path, ask.headers)

    def _wait_quiet(self, label: str) -> None:
        """Until the database knows no session of the service any more."""

        def quiet() -> bool:
            left = self.connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'bookstore/%'"
            ).fetchone()
            return left == (0,)

        if not wait_until(quiet, QUIET_WITHIN_S):
            raise DeploymentError(f"{label}: its database connections outlived it")

    def _measurement(
        self, label: str, samples: list[Sample], watcher: Watcher, workers: list[int], highest: float
    ) -> Measurement:
        counted = samples
        good = [sample for sample in counted if sample.ok]
        if not good:
            raise load.LoadError(f"{label}: none of {len(counted)} measured requests succeeded")
        latencies = sorted(sample.duration_ms for sample in counted)
        return Measurement(
            profile=label,
            requests=len(counted),
            errors=len(counted) - len(good),
            throughput_per_s=len(good) / self.plan.workload.duration,
            p50_ms=percentile(latencies, 0.50),
            p99_ms=percentile(latencies, 0.99),
            max_ms=latencies[-1],
            ceiling_per_s=highest,
            workers=workers,
            readings=_readings(watcher),
        )

    def _store(self, started_at: datetime, rounds: list[Round]) -> tuple[Run, Path]:
        labels = [label for label, *_ in self.plan.contenders]
        profiles = {label: profile.effective(found) for label, _, found in self.plan.contenders}
        counted = {
            label: [sample for (_, one), samples in self.samples.items() if one == label for sample in samples]
            for label in labels
        }
        counts = {label: statements.count(found) for label, found in self.statements.items()}
        row = self.connection.execute("SHOW server_version").fetchone()
        record = Run(
            id=results.folder_name(started_at, labels),
            started_at=started_at,
            seed=self.plan.seed,
            workload=self.plan.workload,
            catalogue=self.catalogue,
            machine=machine.machine(str(row[0]) if row else ""),
            profiles=profiles,
            statements=self.statements,
            rounds=rounds,
            summary=compare.summarise(rounds, labels, counted, counts),
            steps=compare.steps(rounds, profiles),
        )
        return record, results.store(record, self.samples, self.plan.output)


def _readings(watcher: Watcher) -> list[Reading]:
    """What was watched, as this version of the record has it."""
    watched = watcher.telemetry(0)
    told = {(one.of, one.name): one.values for one in watched.series}
    gaps: list[float | None] = [None] * len(watched.at_s)
    pss = told.get(("workers", "pss_bytes"), gaps)
    cpu = summed([track.gauge("cpu_s") for track in watcher.tracks.processes.values()])
    connections = watcher.tracks.sessions.gauge("connections")
    idle = told.get(("postgres", "sessions_idle_in_transaction"), gaps)

    def whole(value: float | None) -> int | None:
        return None if value is None else int(value)

    return [
        Reading(round(at_s - watched.at_s[0], 3), whole(pss), cpu, whole(connections), whole(idle))
        for at_s, pss, cpu, connections, idle in zip(watched.at_s, pss, cpu, connections, idle, strict=True)
    ]


def _rows(samples: Samples) -> list[Sample]:
    columns = (samples.done_s.tolist(), samples.latency_ms.tolist(), samples.status.tolist())
    return [Sample(*row) for row in zip(*columns, strict=True)]
