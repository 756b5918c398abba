"""The interface of a place where contenders are deployed."""

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
    """The lab's database, a folder for files, the reaper, and the deployment of contenders."""

    database: BenchmarkDatabase
    folder: Path
    reaper: Reaper

    def deploy(
        self, contender: PlannedContender, token: Token | None, *, inspect: bool
    ) -> AbstractContextManager[Deployment]:
        """The contender on the lab's database, ready, within its limits; stopped when the block ends. `token` grants
        write access; `inspect` enables the service's metrics. Raises DeploymentError."""

    def leftovers(self) -> list[str]:
        """Describe what remained of the previous deployment."""

    def limits(self) -> Limits:
        """Return the limits as applied."""

    def machine(self) -> Machine:
        """Describe the machine and the versions of the run."""
