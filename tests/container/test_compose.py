from __future__ import annotations

import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from tests.container.conftest import Podman, say

pytestmark = pytest.mark.timeout(600)  # building takes a minute

PATIENCE_S: Final = 60.0
REQUESTS: Final = 5
"""As many as the pool of the default profile has connections: each is then at work in the database."""

# Runs in the container of the service: the database is reached from nowhere else.
_LOCK: Final = """
import os, psycopg, sys
def connect():
    password = open(os.environ["DATABASE_PASSWORD_FILE"]).read().strip()
    return psycopg.connect(os.environ["DATABASE_URL"], password=password, autocommit=True)
with connect() as blocker, connect() as observer, blocker.transaction():
    blocker.execute("LOCK TABLE book IN ACCESS EXCLUSIVE MODE")
    print("locked", flush=True)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    while observer.execute(waiting).fetchone()[0] < int(sys.argv[1]):
        pass
    print("waiting", flush=True)
    sys.stdin.read()
"""


def until(holds: Callable[[], Any], what: str) -> Any:
    """Waits for what comes about in a container, and returns it; fails where it does not."""
    end = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < end, what
        time.sleep(0.1)
    return found


class Deployment:
    """compose.yaml under a project name of its own."""

    def __init__(self, podman: Podman, project: str, secrets_dir: Path, environ: dict[str, str]) -> None:
        self.podman = podman
        self.project = project
        self.secrets_dir = secrets_dir
        self.environ = environ
        self.base = f"http://{environ['BOOKSTORE_PUBLISH']}"

    def compose(self, *arguments: str, **environ: str) -> str:
        return self.podman.compose(self.project, *arguments, **self.environ | environ)

    def name(self, service: str) -> str:
        """The name of the container of `service`."""
        label = f"label=com.docker.compose.service={service}"
        ours = f"label=com.docker.compose.project={self.project}"
        return self.podman("ps", "-a", "--filter", label, "--filter", ours, "--format", "{{.Names}}").strip()

    def run(self, *command: str) -> str:
        """What a command in the container of the service prints."""
        # podman's resolver of names starts anew when networks of other containers come and go
        done = until(lambda: self._resolved(*command), "names are not resolved")
        assert done.returncode == 0, done.stderr
        said: str = done.stdout
        return said

    def _resolved(self, *command: str) -> subprocess.CompletedProcess[str] | None:
        done = self.podman.attempt("exec", self.name("api"), *command)
        return None if "failure in name resolution" in done.stderr else done

    def ready(self) -> Any:
        """What /health/ready says once it is."""

        def told() -> Any:
            with suppress(httpx.TransportError):
                answer = httpx.get(f"{self.base}/health/ready")
                return answer.json() if answer.status_code == 200 else None

        return until(told, "not ready")

    def logs(self, service: str = "api") -> str:
        done = self.podman.attempt("logs", self.name(service))
        return done.stdout + done.stderr

    def everything(self) -> str:
        """All that podman tells about the containers, and all that they said."""
        names = self.podman("ps", "-a", "--filter", f"name={self.project}", "--format", "{{.Names}}").split()
        return "".join(self.podman("inspect", name) for name in names) + "".join(
            self.logs(service) for service in ("db", "migrate", "api")
        )

    def left(self) -> list[str]:
        """What of the project podman still has."""
        ours = f"label=com.docker.compose.project={self.project}"
        kinds = (("ps", "-a", "-q"), ("volume", "ls", "-q"), ("network", "ls", "-q"))
        return [line for kind in kinds for line in self.podman(*kind, "--filter", ours).split()]


@pytest.fixture(scope="module")
def deployment(
    podman: Podman, image: str, postgres_image: str, tag: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """The database, migrated, and the service before it, with secrets of its own."""
    folder = tmp_path_factory.mktemp("secrets")
    password = secrets.token_hex(16)
    (folder / "db_password").write_text(f"{password}\n")
    command = ["tokens", "create", "ci", "--scope", "catalog:write", "--file", "/secrets/api_tokens"]
    as_us = ("--user", f"{os.getuid()}:{os.getgid()}")
    (folder / "token").write_text(podman("run", "--rm", *as_us, "-v", f"{folder}:/secrets", image, *command))
    for file in folder.iterdir():
        file.chmod(0o644)  # for the users of both containers; the folder keeps others out
    profiles = tmp_path_factory.mktemp("profiles")
    (profiles / "ours.yaml").write_text("extends: asyncpg-json\npool_size: 3\n")
    profiles.chmod(0o755)
    (profiles / "ours.yaml").chmod(0o644)
    environ = {
        "BOOKSTORE_IMAGE": image,
        "POSTGRES_IMAGE": postgres_image,
        "POSTGRES_MAX_CONNECTIONS": "40",
        "SECRETS_DIR": str(folder),
        "PROFILES_DIR": str(profiles),
        "BOOKSTORE_PUBLISH": f"127.0.0.1:{_free_port()}",
        "API_CPUS": "1.5",
        "API_MEMORY": "300m",
    }
    it = Deployment(podman, tag, folder, environ)
    try:
        say("starting db, migrate and api")
        it.compose("up", "-d", "--no-build")
        it.ready()
        yield it
    finally:
        say("stopping all, with the volume")
        it.compose("--profile", "pgbouncer", "down", "--volumes")
        assert it.left() == []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_books_are_imported_and_read(deployment: Deployment) -> None:
    """The migration ended well before the service; the sample is imported within it and read from outside, and who
    has the token writes."""
    migrated = deployment.podman.inspect("container", deployment.name("migrate"))
    assert migrated["State"]["ExitCode"] == 0
    told = deployment.run("bookstore", "catalog", "import")
    say(told.splitlines()[1].strip())
    assert [line.split()[:2] for line in told.splitlines() if "imported" in line] == [["imported", "10,000"]]
    books = httpx.get(f"{deployment.base}/books", params={"limit": 3}).json()["items"]
    say(f"reads {', '.join(book['title'] for book in books)}")
    assert len(books) == 3
    token = (deployment.secrets_dir / "token").read_text().strip()
    written = {"title": "A Book of the Container"}
    assert httpx.post(f"{deployment.base}/books", json=written).status_code == 401
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(f"{deployment.base}/books", json=written, headers=headers)
    assert answer.status_code == 201, answer.text


def test_the_variables_arrive(deployment: Deployment) -> None:
    """Limits, capabilities and the database's settings are those of compose.yaml and its variables."""
    found = deployment.podman.inspect("container", deployment.name("api"))
    assert found["HostConfig"]["Memory"] == 300 * 1024**2
    assert found["HostConfig"]["NanoCpus"] == 1_500_000_000
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["EffectiveCaps"] in (None, [])
    assert found["BoundingCaps"] in (None, [])
    code = _LOCK.split("with connect")[0] + "print(connect().execute('SHOW max_connections').fetchone()[0])"
    assert deployment.run("python", "-c", code).strip() == "40"


def test_nobody_can_change_the_service(deployment: Deployment) -> None:
    """Within the service a process is no root, cannot write to its root file system, and gets no more rights."""
    status = deployment.run("cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["10001"] * 4
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    done = deployment.podman.attempt("exec", "--user", "0", deployment.name("api"), "touch", "/opt/bookstore/x")
    assert "Read-only file system" in done.stderr


def test_health_check(deployment: Deployment) -> None:
    """The images' health checks say that both are well."""
    for service in ("db", "api"):
        done = deployment.podman.attempt("healthcheck", "run", deployment.name(service))
        assert done.returncode == 0, (service, done.stdout, done.stderr)


def test_metrics_are_for_the_network(deployment: Deployment) -> None:
    """The metrics port answers the other containers, and is not published."""
    code = "import urllib.request as u; print(u.urlopen('http://api:9400/metrics').read().decode())"
    assert "bookstore_profile_info" in deployment.run("python", "-c", code)
    ports = deployment.podman.inspect("container", deployment.name("api"))["NetworkSettings"]["Ports"]
    assert not ports.get("9400/tcp")


def test_another_profile_by_one_variable(deployment: Deployment) -> None:
    """BOOKSTORE_PROFILE changes the engine and nothing else: a shipped one, one that was mounted, one of the
    operator's making."""
    before = httpx.get(f"{deployment.base}/books").json()
    assert deployment.ready()["profile"] == "default"
    for spec in ("asyncpg-json@pool_size=2", "ours"):
        say(f"BOOKSTORE_PROFILE={spec}")
        deployment.compose("up", "-d", "--no-build", "api", BOOKSTORE_PROFILE=spec)
        until(lambda: deployment.ready()["profile"] == spec, spec)  # noqa: B023 - it is called here
        assert httpx.get(f"{deployment.base}/books").json() == before
    deployment.compose("up", "-d", "--no-build", "api")
    assert deployment.ready()["profile"] == "default"


def test_secrets_stay_secret(deployment: Deployment) -> None:
    """Neither password nor token is in what podman tells of the containers, in their logs, or in the environment of
    the service's processes."""
    environments = deployment.run("sh", "-c", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'")
    assert "DATABASE_PASSWORD_FILE=/run/secrets/db_password" in environments
    for file in ("db_password", "token"):
        secret = (deployment.secrets_dir / file).read_text().strip()
        assert secret not in deployment.everything()
        assert secret not in environments


def test_stops_without_a_loss(deployment: Deployment) -> None:
    """Requests at work when SIGTERM comes are answered whole; then PID 1 ends with 0, and starts again."""
    name = deployment.name("api")
    books = _get(deployment.base).json()
    command = ["podman", "exec", "-i", name, "python", "-c", _LOCK, str(REQUESTS)]
    answers: list[httpx.Response] = []
    readers = [threading.Thread(target=lambda: answers.append(_get(deployment.base))) for _ in range(REQUESTS)]
    with subprocess.Popen(
        command, env=deployment.podman.environ, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as blocker:
        assert blocker.stdout
        assert blocker.stdin
        assert blocker.stdout.readline() == "locked\n"
        for reader in readers:
            reader.start()
        assert blocker.stdout.readline() == "waiting\n"
        say(f"SIGTERM while {REQUESTS} requests are at work")
        stop = threading.Thread(target=deployment.podman, args=("stop", "--time", "20", name))
        stop.start()
        until(lambda: "Shutting down" in deployment.logs(), "the signal was not taken")
        assert answers == []
        blocker.stdin.close()
    for reader in readers:
        reader.join(PATIENCE_S)
    stop.join(PATIENCE_S)
    say(f"answered: {[answer.status_code for answer in answers]}")
    ended = deployment.podman.inspect("container", name)["State"]["ExitCode"]
    told = deployment.logs()
    deployment.compose("start", "api")
    deployment.ready()
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, books)] * REQUESTS
    assert ended == 0
    assert "Traceback" not in told


def _get(base: str) -> httpx.Response:
    return httpx.get(f"{base}/books", timeout=PATIENCE_S)


def test_the_migration_may_run_again(deployment: Deployment) -> None:
    """`migrate` of a database that is up to date changes nothing, and says at which revision it is."""
    told = deployment.run("bookstore", "db", "current")
    again = deployment.compose("run", "--rm", "--no-deps", "migrate")
    assert again.split()[-1] == told.split()[0]


def test_a_backup_comes_back(deployment: Deployment, tmp_path: Path) -> None:
    """What pg_dump wrote while the service went on is restored as docs/deploy.md says, over a database that has lost
    its books."""
    books = _get(deployment.base).json()
    dump = tmp_path / "bookstore.dump"
    say("pg_dump, TRUNCATE, pg_restore")
    with dump.open("wb") as file:
        _database(deployment, "pg_dump --username=bookstore --format=custom --dbname=bookstore", stdout=file)
    _database(deployment, "psql --username=bookstore --command='TRUNCATE book CASCADE'")
    until(lambda: _get(deployment.base).json() != books, "the books are still there")
    deployment.compose("stop", "api")
    with dump.open("rb") as file:
        command = "pg_restore --username=bookstore --dbname=bookstore --clean --if-exists --exit-on-error"
        _database(deployment, command, stdin=file)
    deployment.compose("start", "api")
    deployment.ready()
    assert _get(deployment.base).json() == books


def _database(deployment: Deployment, command: str, **streams: Any) -> None:
    """Runs a command in the container of the database, which finds the server's socket."""
    found = "for it in /tmp /var/run/postgresql; do [ -S $it/.s.PGSQL.5432 ] && export PGHOST=$it; done"
    whole = ["podman", "exec", "-i", deployment.name("db"), "sh", "-c", f"{found}; exec {command}"]
    done = subprocess.run(whole, env=deployment.podman.environ, stderr=subprocess.PIPE, check=False, **streams)
    assert done.returncode == 0, done.stderr


def test_pgbouncer_in_front(deployment: Deployment, pgbouncer_image: str) -> None:
    """The compose profile `pgbouncer` lets in who knows the password, in transaction mode, and nobody else."""
    say("starting pgbouncer")
    command = ("--profile", "pgbouncer", "up", "-d", "--no-build", "--no-deps", "pgbouncer")
    deployment.compose(*command, PGBOUNCER_IMAGE=pgbouncer_image)
    code = _LOCK.split("with connect")[0].replace('os.environ["DATABASE_URL"]', "sys.argv[1]")
    through = "postgresql://bookstore@pgbouncer:6432/"
    asked = f"{code}print(connect().execute('TABLE book LIMIT 3').rowcount)"
    until(lambda: _ran(deployment, asked, through + "bookstore"), "PgBouncer lets nobody in")
    assert _ran(deployment, asked, through + "bookstore") == "3"
    wrong = asked.replace(".strip()", ".strip() + 'x'")
    assert not _ran(deployment, wrong, through + "bookstore")
    shown = code + "print(psycopg.ClientCursor(connect()).execute('SHOW CONFIG').fetchall())"
    assert "('pool_mode', 'transaction'" in _ran(deployment, shown, through + "pgbouncer")
    books = _get(deployment.base).json()
    behind = {"BOOKSTORE_PROFILE": "asyncpg-pgbouncer", "DATABASE_HOST": "pgbouncer", "DATABASE_PORT": "6432"}
    say(f"serving through it: {behind['BOOKSTORE_PROFILE']}")
    deployment.compose("up", "-d", "--no-build", "--no-deps", "api", **behind)
    until(lambda: deployment.ready()["profile"] == behind["BOOKSTORE_PROFILE"], "not the profile")
    assert _get(deployment.base).json() == books


def _ran(deployment: Deployment, code: str, *arguments: str) -> str:
    done = deployment.podman.attempt("exec", deployment.name("api"), "python", "-c", code, *arguments)
    return done.stdout.strip()
