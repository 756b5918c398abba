"""A testbed of compose.yaml's containers, with its limits of CPU and memory as in production."""

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
from bookstore.lab.testbed.process import free_port
from bookstore.lab.testbed.readiness import wait_ready
from bookstore.profile import rendering
from bookstore.reaper import Reaper

STOPPED_WITHIN_S: Final = 20
INIT_PROGRAMS: Final = frozenset({"catatonit", "docker-init", "podman-init", "tini"})
"""Programs that a container engine or an image may run as process 1 in front of the service."""

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
def testbed(fill: Fill, reaper: Reaper, folder: Path, requested: Limits, *, writes: bool) -> Iterator[ComposeTestbed]:
    """A testbed of containers within the `requested` limits, with a catalogue from `fill`; all of it is gone when the
    block ends. `writes` makes commits durable."""
    settings = server_settings(writes=writes)
    with running_project(reaper, folder, requested, settings) as project, filled_database(project, fill) as database:
        yield ComposeTestbed(database, project, folder, reaper, requested)


class ContainerDeployment(Deployment):
    """The service in a container. This machine sees its processes under other pids than the service itself."""

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
            raise DeploymentError("the service has stopped") from None


class ComposeTestbed:
    """A `Testbed` of containers."""

    def __init__(
        self, database: BenchmarkDatabase, project: Project, folder: Path, reaper: Reaper, requested: Limits
    ) -> None:
        self.database = database
        self.folder = folder
        self.reaper = reaper
        self._project = project
        self._requested = requested
        self._actual = Limits()
        self._versions = self._image_versions()

    @contextmanager
    def deploy(self, contender: PlannedContender, token: Token | None, *, inspect: bool) -> Iterator[Deployment]:
        project, name = self._project, f"{self._project.name}-api"
        project.write_secret("api_tokens", (token or _unused_token()).line())
        port, metrics_port = free_port(), free_port()
        try:
            output = project.compose(
                "run", "-d", "-T", "--no-deps", "--service-ports", "--name", name, "api",
                BOOKSTORE_PROFILE=self._mount_profile(contender),
                BOOKSTORE_PUBLISH=f"{HOST}:{port}",
                LAB_METRICS_PORT=str(metrics_port),
            )  # fmt: skip
            if name not in project.containers() or not (root := project.root_pid(name)):
                log = project.engine.log(name)
                raise DeploymentError(f"the container ended during startup:\n{output.strip()[-1500:]}\n{log}")
            deployment = ContainerDeployment(port, root, f"http://{HOST}:{metrics_port}/metrics" if inspect else None)
            wait_ready(deployment, "/health/ready", lambda: project.engine.log(name))
            self._actual = self._check_limits(limits.limits_in_force(deployment.workers()[0].pid))
            yield deployment
            self._end("stop", "-t", str(STOPPED_WITHIN_S), name)  # a clean shutdown, if nothing failed
        finally:
            self._end("kill", name)
            self._end("rm", "-f", "-v", name)

    def leftovers(self) -> list[str]:
        database = self._project.containers("db")
        return [f"the container {name}" for name in self._project.containers() if name not in database]

    def limits(self) -> Limits:
        return self._actual

    def machine(self) -> Machine:
        this_machine = machine.describe_machine(self.database.postgresql)
        packages = dict(self._versions)
        return msgspec.structs.replace(
            this_machine,
            python=packages.pop("python"),
            packages={"k9-load": this_machine.packages["k9-load"], **packages},
            engine=self._project.engine.versions,
            image=self._project.engine.run("image", "inspect", "--format", "{{.Id}}", self._project.image()),
        )

    def _end(self, *command: str) -> None:
        with suppress(DeploymentError):  # it has ended or was never created; leftovers() reports the rest
            self._project.engine.run(*command)

    def _mount_profile(self, contender: PlannedContender) -> str:
        """Write the profile into the mounted folder and return its path there, with the overrides appended again: file
        name and overrides are both part of the profile's name."""
        assert contender.profile
        base, mark, overrides = contender.profile.name.partition("@")
        folder = hashlib.sha256(contender.profile.name.encode()).hexdigest()[:8]
        path = self._project.write_profile(f"{folder}/{base}.yaml", rendering.to_yaml(contender.profile))
        return f"{path}{mark}{overrides}"

    def _check_limits(self, actual: Limits) -> Limits:
        """Return `actual`. Raises DeploymentError if the kernel enforces other limits than requested."""
        for option, requested, found in (
            ("--limit-cpu", self._requested.cpus, actual.cpus),
            ("--limit-memory", self._requested.memory_bytes, actual.memory_bytes),
        ):
            if requested is not None and (found is None or abs(found - requested) > requested / 100):
                limit = "no limit" if found is None else f"{found:g}"
                raise DeploymentError(
                    f"{option} {requested:g} is not in force: the container's control group has {limit}"
                )
        return actual

    def _image_versions(self) -> dict[str, str]:
        output = self._project.engine.run(
            "run", "--rm", "--network", "none", "--label", f"com.docker.compose.project={self._project.name}",
            "--entrypoint", "python", self._project.image(), "-c", _VERSIONS, *machine.PACKAGES,
        )  # fmt: skip
        return msgspec.json.decode(output, type=dict[str, str])


def innermost_pid(pid: int) -> int:
    """Return the process's id in its innermost pid namespace. Raises DeploymentError if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        raise DeploymentError("the service has stopped") from None
    return next((int(line.split()[-1]) for line in lines if line.startswith("NSpid:")), pid)


def _unused_token() -> Token:
    """Return a token that nobody has: the service requires one to start on an address that others can reach."""
    return tokens.create("lab", (tokens.CATALOG_WRITE,), run_record.now().date())[1]
