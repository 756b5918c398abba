"""Contenders in the containers of compose.yaml, within its limits: production's share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import psutil

from bookstore.auth import tokens
from bookstore.auth.tokens import Token
from bookstore.lab.record import run_record
from bookstore.lab.record.run_record import Limits, Machine
from bookstore.lab.testbed import limits, machine
from bookstore.lab.testbed.compose_project import Project, running_project
from bookstore.lab.testbed.contender import PlannedContender
from bookstore.lab.testbed.database import BenchmarkDatabase, Fill, filled_database, server_settings
from bookstore.lab.testbed.deployment import HOST, Deployment, DeploymentError
from bookstore.lab.testbed.process import free_port, wait_ready
from bookstore.profile import rendering
from bookstore.reaper import Reaper

STOPPED_WITHIN_S: Final = 20
INIT_PROGRAMS: Final = frozenset({"catatonit", "docker-init", "podman-init", "tini"})
"""What an engine or an image may put before the service, as process 1."""

_VERSIONS: Final = """
import json, sys
from importlib import metadata
found = {"python": sys.version.split()[0]}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@contextmanager
def testbed(fill: Fill, reaper: Reaper, folder: Path, wanted: Limits, *, writes: bool) -> Iterator[ComposeTestbed]:
    """A testbed of containers within the `wanted` limits, whose catalogue `fill` made; `writes` makes commits
    durable. All of it is gone when the block ends."""
    settings = server_settings(writes=writes)
    with running_project(reaper, folder, wanted, settings) as project, filled_database(project, fill) as database:
        yield ComposeTestbed(database, project, folder, reaper, wanted)


class ContainerDeployment(Deployment):
    """The service in a container: its processes are seen from outside, under other numbers than it has."""

    def __init__(self, port: int, root: int, metrics_url: str | None) -> None:
        super().__init__(None, port, metrics_url=metrics_url)
        self.root = psutil.Process(root)

    def has_ended(self) -> bool:
        return not self.root.is_running() or self.root.status() == psutil.STATUS_ZOMBIE

    def own_pid(self, pid: int) -> int:
        return innermost_pid(pid)

    def workers(self) -> list[psutil.Process]:
        try:
            main = self.root.children()[0] if self.root.name() in INIT_PROGRAMS else self.root
            return sorted(main.children(), key=lambda worker: worker.pid)
        except (psutil.NoSuchProcess, IndexError):
            raise DeploymentError("the service ended while it was needed") from None


class ComposeTestbed:
    """A Site."""

    def __init__(
        self, database: BenchmarkDatabase, project: Project, folder: Path, reaper: Reaper, asked: Limits
    ) -> None:
        self.database = database
        self.folder = folder
        self.reaper = reaper
        self._project = project
        self._asked = asked
        self._held = Limits()
        self._versions = self._told_by_image()

    @contextmanager
    def deploy(self, contender: PlannedContender, token: Token | None, *, inspect: bool) -> Iterator[Deployment]:
        project, name = self._project, f"{self._project.name}-api"
        project.write_secret("api_tokens", (token or _unused_token()).line())
        port, metrics_port = free_port(), free_port()
        try:
            said = project.compose(
                "run", "-d", "-T", "--no-deps", "--service-ports", "--name", name, "api",
                BOOKSTORE_PROFILE=self._mounted(contender),
                BOOKSTORE_PUBLISH=f"{HOST}:{port}",
                LAB_METRICS_PORT=str(metrics_port),
            )  # fmt: skip
            if name not in project.containers() or not (root := project.root(name)):
                log = project.engine.log(name)
                raise DeploymentError(f"the container ended at its start:\n{said.strip()[-1500:]}\n{log}")
            deployment = ContainerDeployment(port, root, f"http://{HOST}:{metrics_port}/metrics" if inspect else None)
            wait_ready(deployment, "/health/ready", lambda: project.engine.log(name))
            self._held = self._checked(limits.limits_in_force(deployment.workers()[0].pid))
            yield deployment
            self._end("stop", "-t", str(STOPPED_WITHIN_S), name)  # in good order, where nothing went wrong
        finally:
            self._end("kill", name)
            self._end("rm", "-f", "-v", name)

    def leftovers(self) -> list[str]:
        return [f"the container {it}" for it in self._project.containers() if it not in self._project.containers("db")]

    def limits(self) -> Limits:
        return self._held

    def machine(self) -> Machine:
        here = machine.describe_machine(self.database.postgresql)
        packages = dict(self._versions)
        return msgspec.structs.replace(
            here,
            python=packages.pop("python"),
            packages={"k9-load": here.packages["k9-load"], **packages},
            engine=self._project.engine.told,
            image=self._project.engine.asked("image", "inspect", "--format", "{{.Id}}", self._project.image()),
        )

    def _end(self, *command: str) -> None:
        with suppress(DeploymentError):  # it has ended, or was never made; what outlives this, left() tells
            self._project.engine.asked(*command)

    def _mounted(self, contender: PlannedContender) -> str:
        """The profile as this machine reads it, in the folder that the container reads; under its own name, with its
        overrides behind it once more, for both are part of what it is called."""
        assert contender.profile
        base, mark, overrides = contender.profile.name.partition("@")
        folder = hashlib.sha256(contender.profile.name.encode()).hexdigest()[:8]
        path = self._project.write_profile(f"{folder}/{base}.yaml", rendering.to_yaml(contender.profile))
        return f"{path}{mark}{overrides}"

    def _checked(self, held: Limits) -> Limits:
        """Raises DeploymentError where the kernel holds it to something else than was asked for."""
        for what, asked, found in (
            ("--limit-cpu", self._asked.cpus, held.cpus),
            ("--limit-memory", self._asked.memory_bytes, held.memory_bytes),
        ):
            if asked is not None and (found is None or abs(found - asked) > asked / 100):
                told = "no limit" if found is None else f"{found:g}"
                raise DeploymentError(f"{what} {asked:g} is not in force: the container's control group has {told}")
        return held

    def _told_by_image(self) -> dict[str, str]:
        said = self._project.engine.asked(
            "run", "--rm", "--network", "none", "--label", f"com.docker.compose.project={self._project.name}",
            "--entrypoint", "python", self._project.image(), "-c", _VERSIONS, *machine.PACKAGES,
        )  # fmt: skip
        return msgspec.json.decode(said, type=dict[str, str])


def innermost_pid(pid: int) -> int:
    """What a process is called in the innermost namespace it is in. Raises DeploymentError where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        raise DeploymentError("the service ended while it was needed") from None
    return next((int(line.split()[-1]) for line in lines if line.startswith("NSpid:")), pid)


def _unused_token() -> Token:
    """A token that nobody has: a service that others might reach starts with one only."""
    return tokens.make("lab", (tokens.CATALOG_WRITE,), run_record.now().date())[1]
