"""The project of compose.yaml, made anew for a run: a name, secrets, ports and a database of its own.

The file is used as it is, from a private folder: no `.env` and no secret of the operator's comes along, but what
there says which images and how large. A second file publishes the database and the metrics, on the loopback.
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
"""Where compose.yaml mounts PROFILES_DIR."""

_SERVICES: Final = ("db", "api")
_OPERATOR_VARIABLES: Final = ("API_CPUS", "API_MEMORY", "BOOKSTORE_IMAGE", "POSTGRES_IMAGE", "POSTGRES_SHARED_BUFFERS")
"""What an operator's environment and .env say of production's share; all else is the lab's."""
_INHERITED: Final = re.compile(r"PATH|HOME|LANG|LC_ALL|TMPDIR|TZ|XDG_\w+|DBUS_\w+|(CONTAINERS|DOCKER|PODMAN)_\w+")
_VARIABLE: Final = re.compile(r"\$\{(\w+):?-([^}]*)\}")
_PROJECT_NAME: Final = re.compile(PREFIX + r"(\d+)-[0-9a-f]{8}")

# restart: what ends under the load is a finding, not to be mended. in_pod: podman-compose 1.1 and newer would make one.
_OVERRIDES: Final = f"""
services:
  db: {{ports: ["{HOST}:${{LAB_DATABASE_PORT}}:5432"], restart: "no"}}
  api: {{ports: ["{HOST}:${{LAB_METRICS_PORT}}:9400"], restart: "no"}}
x-podman: {{in_pod: false}}
"""


def check(folder: Path | None = None) -> ContainerEngine:
    """What is needed is there: compose.yaml, an engine, and both images. Raises ConfigurationError."""
    file = (folder or Path.cwd()) / FILE
    try:
        services = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
        images = {name: str(services[name]["image"]) for name in _SERVICES}
    except OSError as error:
        raise ConfigurationError(
            f"{file}: cannot be read: {error.strerror}; run it in a folder with the {FILE}"
        ) from None
    except (yaml.YAMLError, KeyError, TypeError):
        raise ConfigurationError(f"{file}: found no services {' and '.join(_SERVICES)} with an image each") from None
    found = container_engine.find()
    for name, image in (
        (name, _expand_variables(image, _operator_values(file.parent))) for name, image in images.items()
    ):
        if not found.has(image):
            advice = (
                f"build it: {found.program} build -t {image} ." if name == "api" else f"{found.program} pull {image}"
            )
            raise ConfigurationError(f"{file}: the service {name}'s image {image} is not there; {advice}")
    return found


def remove_stale_projects(program: str) -> None:
    """Removes what labs left that are gone, and their reapers with them."""
    listings = (
        ("ps", "-a", "--format", "{{.Names}}"),
        *(((it, "ls", "--format", "{{.Name}}")) for it in ("network", "volume")),
    )
    found = {
        it[0]: int(it[1])
        for listing in listings
        for it in _PROJECT_NAME.finditer(ContainerEngine(program, (), "").asked(*listing))
    }
    for name, owner in found.items():
        if not psutil.pid_exists(owner):
            end_project(program, name)


@contextmanager
def running_project(reaper: Reaper, folder: Path, limits: Limits, settings: Mapping[str, str]) -> Iterator[Project]:
    """The project with its database alone, which has the `settings`; all of it is gone when the block ends."""
    found = check()
    remove_stale_projects(found.program)
    name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    target = f"{found.program} {name}"
    reaper.watch("project", target)
    try:
        project = Project(found, name, folder / "compose", reaper, limits)
        project.start_database(settings)
        yield project
    finally:
        end_project(found.program, name)
        reaper.forget("project", target)


class Project:
    """A Server, and what contenders are deployed by."""

    def __init__(self, found: ContainerEngine, name: str, folder: Path, reaper: Reaper, limits: Limits) -> None:
        self.engine = found
        self.name = name
        self.folder = folder
        self._reaper = reaper
        self._port = free_port()
        self._password = secrets.token_urlsafe(24)
        folder.mkdir(mode=0o700)  # what is in it the containers' users may read, who enter by their mounts
        _make_folder(folder / "profiles")
        text = Path(FILE).read_text(encoding="utf-8")
        (folder / FILE).write_text(text.replace(":-}", "}"))  # podman-compose 1.0.3 knows no empty default
        (folder / "lab.yaml").write_text(_OVERRIDES)
        self.write_secret("db_password", self._password)
        asked = {"API_CPUS": limits.cpus, "API_MEMORY": limits.memory_bytes}
        self._environment = {
            **{key: value for key, value in os.environ.items() if _INHERITED.fullmatch(key)},
            **_operator_values(Path.cwd()),
            **{key: f"{value:g}" if key == "API_CPUS" else f"{value}b" for key, value in asked.items() if value},
            "SECRETS_DIR": str(folder / "secrets"),
            "PROFILES_DIR": str(folder / "profiles"),
            "POSTGRES_MAX_CONNECTIONS": str(MAX_CONNECTIONS),
            "BOOKSTORE_RATE_LIMIT": "off",  # one client asks for all
            "LAB_DATABASE_PORT": str(self._port),
            "LAB_METRICS_PORT": "0",
        }

    def write_secret(self, secret: str, text: str) -> None:
        """A secret for the containers that start next."""
        _write_file(self.folder / "secrets" / secret, f"{text}\n")

    def write_profile(self, profile: str, text: str) -> str:
        """A profile for the containers that start next, and its path there."""
        _write_file(self.folder / "profiles" / profile, text)
        return f"{PROFILES}/{profile}"

    def compose(self, *arguments: str, **environment: str) -> str:
        command = ["-p", self.name, "-f", FILE, "-f", "lab.yaml", *arguments]
        return self.engine.run_compose(command, self.folder, self._environment | environment, self._reaper)

    def containers(self, *services: str) -> list[str]:
        """The names of those containers of the project that are of one of these services, or of any."""
        labels = [
            f"label=com.docker.compose.project={self.name}",
            *(f"label=com.docker.compose.service={it}" for it in services),
        ]
        filters = [word for label in labels for word in ("--filter", label)]
        return self.engine.asked("ps", "-a", "--format", "{{.Names}}", *filters).split()

    def root(self, container: str) -> int | None:
        """The first process of a running container, as this machine knows it."""
        pid = int(self.engine.asked("inspect", "--format", "{{.State.Pid}}", container))
        return pid or None

    def image(self) -> str:
        """The service's image."""
        services: dict[str, Any] = yaml.safe_load((self.folder / FILE).read_text(encoding="utf-8"))["services"]
        return _expand_variables(str(services["api"]["image"]), self._environment)

    def url(self, database: str = "postgres") -> sa.URL:
        return sa.URL.create("postgresql", USER, self._password, HOST, self._port, database)

    def pid(self) -> int | None:
        containers = self.containers("db")
        return self.root(containers[0]) if containers else None

    def start_database(self, settings: Mapping[str, str]) -> None:
        """By compose.yaml, with the settings that need a start of their own on top. Raises DeploymentError."""
        said = self.compose("up", "-d", "--no-build", "db")
        if not (found := self.containers("db")):
            raise DeploymentError(f"compose made no container of db:\n{said.strip()[-1500:]}")
        self._wait(found[0])
        with connect(self) as connection:
            for key, value in settings.items():
                set_to = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(*key.split(".")), sql.Literal(value))
                connection.execute(set_to)
        self.engine.asked("restart", found[0])
        self._wait(found[0])

    def _wait(self, container: str) -> None:
        def answers() -> bool:
            with suppress(psycopg.OperationalError), psycopg.connect(conninfo(self.url()), connect_timeout=5):
                return True
            return False

        if not wait_until(answers, STARTS_WITHIN_S):
            log = self.engine.log(container)
            raise DeploymentError(f"the database does not answer within {STARTS_WITHIN_S} s:\n{log}")


def _write_file(file: Path, text: str) -> None:
    """A file that the containers' users may read, whatever the umask."""
    _make_folder(file.parent)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)


def _make_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)


def _expand_variables(text: str, values: Mapping[str, str]) -> str:
    """`${NAME:-default}` -> its value."""
    return _VARIABLE.sub(lambda found: values.get(found[1]) or found[2], text)


def _operator_values(folder: Path) -> dict[str, str]:
    """What the environment and `.env` say of _CHOSEN; the environment goes over the file, as in compose."""
    said: dict[str, str] = {}
    with suppress(OSError):
        for line in (folder / ".env").read_text(encoding="utf-8").splitlines():
            key, equals, value = line.partition("=")
            if equals and key.strip() in _OPERATOR_VARIABLES:
                said[key.strip()] = value.strip().strip("'\"")
    return said | {key: os.environ[key] for key in _OPERATOR_VARIABLES if os.environ.get(key)}
