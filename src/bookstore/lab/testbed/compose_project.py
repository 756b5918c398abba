"""A compose project of its own for each run, from compose.yaml: its own name, secrets, ports and database.

The file is used as it is, from a private folder. Neither `.env` nor the operator's secrets are copied; only the image
names and sizes in `.env` apply. A second file publishes the database and the metrics on the loopback address.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
import sqlalchemy as sa
import yaml
from psycopg import sql

from bookstore.database.url import conninfo
from bookstore.exceptions import ConfigurationError
from bookstore.lab.record.run_record import Limits
from bookstore.lab.testbed import container_engine
from bookstore.lab.testbed.container_engine import ContainerEngine
from bookstore.lab.testbed.database import MAX_CONNECTIONS, connect
from bookstore.lab.testbed.deployment import HOST, DeploymentError
from bookstore.lab.testbed.process import free_port, wait_until
from bookstore.reaper import Reaper, end_project

FILE: Final = "compose.yaml"
USER: Final = "bookstore"
PREFIX: Final = "bookstore-lab-"
STARTS_WITHIN_S: Final = 60
PROFILES: Final = "/etc/bookstore/profiles"
"""The mount point of PROFILES_DIR in compose.yaml."""

_SERVICES: Final = ("db", "api")
_OPERATOR_VARIABLES: Final = ("API_CPUS", "API_MEMORY", "BOOKSTORE_IMAGE", "POSTGRES_IMAGE", "POSTGRES_SHARED_BUFFERS")
"""Variables that are taken from the operator's environment and .env; the lab sets everything else."""
_INHERITED: Final = re.compile(r"PATH|HOME|LANG|LC_ALL|TMPDIR|TZ|XDG_\w+|DBUS_\w+|(CONTAINERS|DOCKER|PODMAN)_\w+")
_VARIABLE: Final = re.compile(r"\$\{(\w+):?-([^}]*)\}")
_PROJECT_NAME: Final = re.compile(PREFIX + r"(\d+)-[0-9a-f]{8}")

# restart: a container that ends under load is a result, so it is not restarted.
# in_pod: podman-compose 1.1 and newer would create a pod.
_OVERRIDES: Final = f"""
services:
  db: {{ports: ["{HOST}:${{LAB_DATABASE_PORT}}:5432"], restart: "no"}}
  api: {{ports: ["{HOST}:${{LAB_METRICS_PORT}}:9400"], restart: "no"}}
x-podman: {{in_pod: false}}
"""


def check(folder: Path | None = None) -> ContainerEngine:
    """Check compose.yaml, the engine and both images, and return the engine. Raises ConfigurationError."""
    file = (folder or Path.cwd()) / FILE
    try:
        services = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
        images = {name: str(services[name]["image"]) for name in _SERVICES}
    except OSError as error:
        raise ConfigurationError(
            f"{file}: cannot be read: {error.strerror}; run the command in the folder of {FILE}"
        ) from None
    except (yaml.YAMLError, KeyError, TypeError):
        raise ConfigurationError(f"{file}: found no services {' and '.join(_SERVICES)} with an image") from None
    engine = container_engine.find()
    for name, image in (
        (name, _expand_variables(image, _operator_values(file.parent))) for name, image in images.items()
    ):
        if not engine.has_image(image):
            advice = (
                f"build it: {engine.program} build -t {image} ." if name == "api" else f"{engine.program} pull {image}"
            )
            raise ConfigurationError(f"{file}: the service {name}'s image {image} does not exist; {advice}")
    return engine


def remove_stale_projects(program: str) -> None:
    """Remove the containers, networks and volumes of labs that have ended together with their reapers."""
    listings = (
        ("ps", "-a", "--format", "{{.Names}}"),
        *(((kind, "ls", "--format", "{{.Name}}")) for kind in ("network", "volume")),
    )
    owners = {
        match[0]: int(match[1])
        for listing in listings
        for match in _PROJECT_NAME.finditer(ContainerEngine(program, (), "").run(*listing))
    }
    for name, owner in owners.items():
        if not psutil.pid_exists(owner):
            end_project(program, name)


@contextmanager
def running_project(reaper: Reaper, folder: Path, limits: Limits, settings: Mapping[str, str]) -> Iterator[Project]:
    """A project that runs only its database, with `settings`; everything is removed when the block ends."""
    engine = check()
    remove_stale_projects(engine.program)
    name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    target = f"{engine.program} {name}"
    reaper.watch("project", target)
    try:
        project = Project(engine, name, folder / "compose", reaper, limits)
        project.start_database(settings)
        yield project
    finally:
        end_project(engine.program, name)
        reaper.forget("project", target)


class Project:
    """A `Server` in containers, and the commands that deploy contenders beside it."""

    def __init__(self, engine: ContainerEngine, name: str, folder: Path, reaper: Reaper, limits: Limits) -> None:
        self.engine = engine
        self.name = name
        self.folder = folder
        self._reaper = reaper
        self._port = free_port()
        self._password = secrets.token_urlsafe(24)
        folder.mkdir(mode=0o700)  # its contents are readable for the containers' users, through the mounts
        _make_folder(folder / "profiles")
        text = Path(FILE).read_text(encoding="utf-8")
        (folder / FILE).write_text(text.replace(":-}", "}"))  # podman-compose 1.0.3 does not support empty defaults
        (folder / "lab.yaml").write_text(_OVERRIDES)
        self.write_secret("db_password", self._password)
        requested = {"API_CPUS": limits.cpus, "API_MEMORY": limits.memory_bytes}
        self._environment = {
            **{key: value for key, value in os.environ.items() if _INHERITED.fullmatch(key)},
            **_operator_values(Path.cwd()),
            **{key: f"{value:g}" if key == "API_CPUS" else f"{value}b" for key, value in requested.items() if value},
            "SECRETS_DIR": str(folder / "secrets"),
            "PROFILES_DIR": str(folder / "profiles"),
            "POSTGRES_MAX_CONNECTIONS": str(MAX_CONNECTIONS),
            "BOOKSTORE_RATE_LIMIT": "off",  # one client sends all requests
            "LAB_DATABASE_PORT": str(self._port),
            "LAB_METRICS_PORT": "0",
        }

    def write_secret(self, secret: str, text: str) -> None:
        """Write a secret for containers that start later."""
        _write_file(self.folder / "secrets" / secret, f"{text}\n")

    def write_profile(self, profile: str, text: str) -> str:
        """Write a profile for containers that start later, and return its path in them."""
        _write_file(self.folder / "profiles" / profile, text)
        return f"{PROFILES}/{profile}"

    def compose(self, *arguments: str, **environment: str) -> str:
        command = ["-p", self.name, "-f", FILE, "-f", "lab.yaml", *arguments]
        return self.engine.run_compose(command, self.folder, self._environment | environment, self._reaper)

    def containers(self, *services: str) -> list[str]:
        """Return the names of the project's containers, or only those of the given services."""
        labels = [
            f"label=com.docker.compose.project={self.name}",
            *(f"label=com.docker.compose.service={service}" for service in services),
        ]
        filters = [word for label in labels for word in ("--filter", label)]
        return self.engine.run("ps", "-a", "--format", "{{.Names}}", *filters).split()

    def root_pid(self, container: str) -> int | None:
        """Return the pid on this machine of a running container's first process, or None."""
        pid = int(self.engine.run("inspect", "--format", "{{.State.Pid}}", container))
        return pid or None

    def image(self) -> str:
        """Return the name of the service's image."""
        services: dict[str, Any] = yaml.safe_load((self.folder / FILE).read_text(encoding="utf-8"))["services"]
        return _expand_variables(str(services["api"]["image"]), self._environment)

    def url(self, database: str = "postgres") -> sa.URL:
        return sa.URL.create("postgresql", USER, self._password, HOST, self._port, database)

    def pid(self) -> int | None:
        containers = self.containers("db")
        return self.root_pid(containers[0]) if containers else None

    def start_database(self, settings: Mapping[str, str]) -> None:
        """Start the database with the settings that need a restart. Raises DeploymentError."""
        output = self.compose("up", "-d", "--no-build", "db")
        if not (containers := self.containers("db")):
            raise DeploymentError(f"compose created no container for db:\n{output.strip()[-1500:]}")
        self._wait(containers[0])
        with connect(self) as connection:
            for key, value in settings.items():
                statement = sql.SQL("ALTER SYSTEM SET {} = {}").format(
                    sql.Identifier(*key.split(".")), sql.Literal(value)
                )
                connection.execute(statement)
        self.engine.run("restart", containers[0])
        self._wait(containers[0])

    def _wait(self, container: str) -> None:
        def answers() -> bool:
            with suppress(psycopg.OperationalError), psycopg.connect(conninfo(self.url()), connect_timeout=5):
                return True
            return False

        if not wait_until(answers, STARTS_WITHIN_S):
            log = self.engine.log(container)
            raise DeploymentError(f"the database did not answer within {STARTS_WITHIN_S} s:\n{log}")


def _write_file(file: Path, text: str) -> None:
    """Write a file that the containers' users can read, whatever the umask."""
    _make_folder(file.parent)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)


def _make_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)


def _expand_variables(text: str, values: Mapping[str, str]) -> str:
    """Replace `${NAME:-default}` with its value."""
    return _VARIABLE.sub(lambda match: values.get(match[1]) or match[2], text)


def _operator_values(folder: Path) -> dict[str, str]:
    """Return the values of _OPERATOR_VARIABLES. The environment overrides `.env`, as in compose."""
    values: dict[str, str] = {}
    with suppress(OSError):
        for line in (folder / ".env").read_text(encoding="utf-8").splitlines():
            key, equals, value = line.partition("=")
            if equals and key.strip() in _OPERATOR_VARIABLES:
                values[key.strip()] = value.strip().strip("'\"")
    return values | {key: os.environ[key] for key in _OPERATOR_VARIABLES if os.environ.get(key)}
