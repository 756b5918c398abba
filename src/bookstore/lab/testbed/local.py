"""A testbed of local processes, on an embedded PostgreSQL server of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bookstore.auth import token_file
from bookstore.auth.tokens import Token
from bookstore.lab.record.run_record import Limits, Machine
from bookstore.lab.testbed import limits, machine
from bookstore.lab.testbed.contender import PlannedContender
from bookstore.lab.testbed.database import DATABASE, BenchmarkDatabase, Fill, benchmark_database
from bookstore.lab.testbed.deployment import Deployment, Pooler
from bookstore.lab.testbed.limits import ResourceLimiter
from bookstore.lab.testbed.pgbouncer import pgbouncer
from bookstore.lab.testbed.process import deploy, deploy_external
from bookstore.reaper import Reaper


@contextmanager
def testbed(fill: Fill, reaper: Reaper, folder: Path, requested: Limits, *, writes: bool) -> Iterator[LocalTestbed]:
    """A testbed within the `requested` limits, with a catalogue from `fill`; all of it is gone when the block ends.
    `writes` makes commits durable."""
    with (
        benchmark_database(reaper, fill, writes=writes) as database,
        limits.resource_limiter(requested) as (limiter, applied),
    ):
        yield LocalTestbed(database, folder, reaper, limiter, applied)


class LocalTestbed:
    """A `Testbed` of processes on this machine."""

    def __init__(
        self, database: BenchmarkDatabase, folder: Path, reaper: Reaper, limiter: ResourceLimiter, applied: Limits
    ) -> None:
        self.database = database
        self.folder = folder
        self.reaper = reaper
        self._limiter = limiter
        self._applied = applied

    @contextmanager
    def deploy(self, contender: PlannedContender, token: Token | None, *, inspect: bool) -> Iterator[Deployment]:
        (tokens := self.folder / "tokens").unlink(missing_ok=True)
        if token:
            token_file.add(tokens, token)  # in the deployment's own data folder
        if contender.service:
            with deploy_external(
                contender.service, self.database.url, self.folder, self.reaper, limiter=self._limiter
            ) as deployment:
                yield deployment
            return
        with (
            self._pooler(contender) as pooler,
            deploy(
                contender.spec,
                self.database.url,
                self.folder,
                self.reaper,
                limiter=self._limiter,
                metrics=inspect,
                pooler=pooler,
            ) as deployment,
        ):
            yield deployment

    @contextmanager
    def _pooler(self, contender: PlannedContender) -> Iterator[Pooler | None]:
        """The PgBouncer of a profile with behind_pooler. It is not limited, because it belongs to the database's
        side."""
        if not (contender.profile and contender.profile.behind_pooler):
            yield None
            return
        with pgbouncer(self.database.server.url(), self.reaper) as bouncer:
            yield Pooler(bouncer.pid, bouncer.url(DATABASE))

    def leftovers(self) -> list[str]:
        return []  # process groups end with their block

    def limits(self) -> Limits:
        return self._applied

    def machine(self) -> Machine:
        return machine.describe_machine(self.database.postgresql)
