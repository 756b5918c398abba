"""Where contenders are deployed: what a measurement asks of the place, and no more."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from bookstore.auth.tokens import Token
from bookstore.lab.record.run_record import Limits, Machine
from bookstore.lab.testbed.contender import PlannedContender
from bookstore.lab.testbed.database import BenchmarkDatabase
from bookstore.lab.testbed.deployment import Deployment
from bookstore.reaper import Reaper


class Testbed(Protocol):
    """The lab's database, a folder for files, what ends all that is started, and how a contender is deployed."""

    database: BenchmarkDatabase
    folder: Path
    reaper: Reaper

    def deploy(
        self, contender: PlannedContender, token: Token | None, *, inspect: bool
    ) -> AbstractContextManager[Deployment]:
        """The contender on the lab's database, ready, within its limits; stopped when the block ends. `token` may
        write; with `inspect` the service tells about itself. Raises DeploymentError."""

    def leftovers(self) -> list[str]:
        """What outlived the deployment before, in words."""

    def limits(self) -> Limits:
        """The limits as they hold."""

    def machine(self) -> Machine:
        """What the run was made on."""
