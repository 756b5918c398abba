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
from tests.container.conftest import Podman, log

pytestmark = pytest.mark.timeout(600)  # building takes a minute

PATIENCE_S: Final = 60.0
REQUESTS: Final = 5
"""The pool size of the default profile, so that each request occupies one connection."""

# Runs in the container of the service, because the database is not reachable from elsewhere.
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


def wait_for(poll: Callable[[], Any], failure: str) -> Any:
    """Return the first true result of `poll`; fail with the message `failure` after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not (result := poll()):
        assert time.monotonic() < end, failure
        time.sleep(0.1)
    return result


class Deployment:
    """compose.yaml under a separate project name."""

    def __init__(self, podman: Podman, project: str, secrets_dir: Path, environ: dict[str, str]) -> None:
        self.podman = podman
        self.project = project
        self.secrets_dir = secrets_dir
        self.environ = environ
        self.base = f"http://{environ['BOOKSTORE_PUBLISH']}"

    def compose(self, *arguments: str, **environ: str) -> str:
        return self.podman.compose(self.project, *arguments, **self.environ | environ)

    def name(self, service: str) -> str:
        """Return the name of the container of `service`."""
        label = f"label=com.docker.compose.service={service}"
        ours = f"label=com.docker.compose.project={self.project}"
        return self.podman("ps", "-a", "--filter", label, "--filter", ours, "--format", "{{.Names}}").strip()

    def run(self, *command: str) -> str:
        """Run a command in the container of the service, and return its stdout."""
        # podman's name resolver restarts when networks of other containers appear or disappear
        result = wait_for(lambda: self._resolved(*command), "names are not resolved")
        assert result.returncode == 0, result.stderr
        stdout: str = result.stdout
        return stdout

    def _resolved(self, *command: str) -> subprocess.CompletedProcess[str] | None:
        result = self.podman.attempt("exec", self.name("api"), *command)
        return None if "failure in name resolution" in result.stderr else result

    def ready(self) -> Any:
        """Wait until the service is ready, and return the JSON of /health/ready."""

        def poll() -> Any:
            with suppress(httpx.TransportError):
                response = httpx.get(f"{self.base}/health/ready")
                return response.json() if response.status_code == 200 else None

        return wait_for(poll, "not ready")

    def logs(self, service: str = "api") -> str:
        result = self.podman.attempt("logs", self.name(service))
        return result.stdout + result.stderr

    def everything(self) -> str:
        """Return the containers' descriptions by `podman inspect`, and their logs."""
        names = self.podman("ps", "-a", "--filter", f"name={self.project}", "--format", "{{.Names}}").split()
        return "".join(self.podman("inspect", name) for name in names) + "".join(
            self.logs(service) for service in ("db", "migrate", "api")
        )

    def leftovers(self) -> list[str]:
        """Return the IDs of the project's containers, volumes and networks."""
        ours = f"label=com.docker.compose.project={self.project}"
        kinds = (("ps", "-a", "-q"), ("volume", "ls", "-q"), ("network", "ls", "-q"))
        return [line for kind in kinds for line in self.podman(*kind, "--filter", ours).split()]


@pytest.fixture(scope="module")
def deployment(
    podman: Podman, image: str, postgres_image: str, tag: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """The service with a migrated database and its own secrets."""
    folder = tmp_path_factory.mktemp("secrets")
    password = secrets.token_hex(16)
    (folder / "db_password").write_text(f"{password}\n")
    command = ["tokens", "create", "ci", "--scope", "catalog:write", "--file", "/secrets/api_tokens"]
    as_us = ("--user", f"{os.getuid()}:{os.getgid()}")
    (folder / "token").write_text(podman("run", "--rm", *as_us, "-v", f"{folder}:/secrets", image, *command))
    for file in folder.iterdir():
        file.chmod(0o644)  # readable by the users of both containers; other users cannot enter the folder
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
    running = Deployment(podman, tag, folder, environ)
    try:
        log("starting db, migrate and api")
        running.compose("up", "-d", "--no-build")
        running.ready()
        yield running
    finally:
        log("stopping all, with the volume")
        running.compose("--profile", "pgbouncer", "down", "--volumes")
        assert running.leftovers() == []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_books_are_imported_and_read(deployment: Deployment) -> None:
    """The migration has succeeded; the sample can be imported inside the container, read from outside, and written
    with the token."""
    migrated = deployment.podman.inspect("container", deployment.name("migrate"))
    assert migrated["State"]["ExitCode"] == 0
    report = deployment.run("bookstore", "catalog", "import")
    log(report.splitlines()[1].strip())
    assert [line.split()[:2] for line in report.splitlines() if "imported" in line] == [["imported", "10,000"]]
    books = httpx.get(f"{deployment.base}/books", params={"limit": 3}).json()["items"]
    log(f"reads {', '.join(book['title'] for book in books)}")
    assert len(books) == 3
    token = (deployment.secrets_dir / "token").read_text().strip()
    book = {"title": "A Book of the Container"}
    assert httpx.post(f"{deployment.base}/books", json=book).status_code == 401
    headers = {"Authorization": f"Bearer {token}"}
    response = httpx.post(f"{deployment.base}/books", json=book, headers=headers)
    assert response.status_code == 201, response.text


def test_settings_are_applied(deployment: Deployment) -> None:
    """Limits, capabilities and the database's settings match compose.yaml and its variables."""
    container = deployment.podman.inspect("container", deployment.name("api"))
    assert container["HostConfig"]["Memory"] == 300 * 1024**2
    assert container["HostConfig"]["NanoCpus"] == 1_500_000_000
    assert container["HostConfig"]["ReadonlyRootfs"] is True
    assert container["EffectiveCaps"] in (None, [])
    assert container["BoundingCaps"] in (None, [])
    code = _LOCK.split("with connect")[0] + "print(connect().execute('SHOW max_connections').fetchone()[0])"
    assert deployment.run("python", "-c", code).strip() == "40"


def test_the_service_is_unprivileged(deployment: Deployment) -> None:
    """Processes of the service are not root, cannot write to the root file system and cannot gain privileges."""
    status = deployment.run("cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["10001"] * 4
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    result = deployment.podman.attempt("exec", "--user", "0", deployment.name("api"), "touch", "/opt/bookstore/x")
    assert "Read-only file system" in result.stderr


def test_health_check(deployment: Deployment) -> None:
    """The health checks of both images succeed."""
    for service in ("db", "api"):
        result = deployment.podman.attempt("healthcheck", "run", deployment.name(service))
        assert result.returncode == 0, (service, result.stdout, result.stderr)


def test_metrics_stay_in_the_network(deployment: Deployment) -> None:
    """Other containers can reach the metrics port, which is not published."""
    code = "import urllib.request as u; print(u.urlopen('http://api:9400/metrics').read().decode())"
    assert "bookstore_profile_info" in deployment.run("python", "-c", code)
    ports = deployment.podman.inspect("container", deployment.name("api"))["NetworkSettings"]["Ports"]
    assert not ports.get("9400/tcp")


def test_another_profile_by_one_variable(deployment: Deployment) -> None:
    """BOOKSTORE_PROFILE changes only the engine; it accepts a shipped profile with an override and a mounted one."""
    before = httpx.get(f"{deployment.base}/books").json()
    assert deployment.ready()["profile"] == "default"
    for spec in ("asyncpg-json@pool_size=2", "ours"):
        log(f"BOOKSTORE_PROFILE={spec}")
        deployment.compose("up", "-d", "--no-build", "api", BOOKSTORE_PROFILE=spec)
        wait_for(lambda: deployment.ready()["profile"] == spec, spec)  # noqa: B023 - called in this iteration
        assert httpx.get(f"{deployment.base}/books").json() == before
    deployment.compose("up", "-d", "--no-build", "api")
    assert deployment.ready()["profile"] == "default"


def test_secrets_stay_secret(deployment: Deployment) -> None:
    """Neither password nor token appears in `podman inspect`, in the logs, or in the environment of the service's
    processes."""
    environments = deployment.run("sh", "-c", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'")
    assert "DATABASE_PASSWORD_FILE=/run/secrets/db_password" in environments
    for file in ("db_password", "token"):
        secret = (deployment.secrets_dir / file).read_text().strip()
        assert secret not in deployment.everything()
        assert secret not in environments


def test_graceful_shutdown(deployment: Deployment) -> None:
    """Requests in flight at SIGTERM get complete responses; PID 1 then exits with 0, and can be started again."""
    name = deployment.name("api")
    books = _get(deployment.base).json()
    command = ["podman", "exec", "-i", name, "python", "-c", _LOCK, str(REQUESTS)]
    responses: list[httpx.Response] = []
    readers = [threading.Thread(target=lambda: responses.append(_get(deployment.base))) for _ in range(REQUESTS)]
    with subprocess.Popen(
        command, env=deployment.podman.environ, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as blocker:
        assert blocker.stdout
        assert blocker.stdin
        assert blocker.stdout.readline() == "locked\n"
        for reader in readers:
            reader.start()
        assert blocker.stdout.readline() == "waiting\n"
        log(f"SIGTERM while {REQUESTS} requests are in flight")
        stop = threading.Thread(target=deployment.podman, args=("stop", "--time", "20", name))
        stop.start()
        wait_for(lambda: "Shutting down" in deployment.logs(), "the service does not shut down")
        assert responses == []
        blocker.stdin.close()
    for reader in readers:
        reader.join(PATIENCE_S)
    stop.join(PATIENCE_S)
    log(f"answered: {[response.status_code for response in responses]}")
    exit_code = deployment.podman.inspect("container", name)["State"]["ExitCode"]
    logs = deployment.logs()
    deployment.compose("start", "api")
    deployment.ready()
    assert [(response.status_code, response.json()) for response in responses] == [(200, books)] * REQUESTS
    assert exit_code == 0
    assert "Traceback" not in logs


def _get(base: str) -> httpx.Response:
    return httpx.get(f"{base}/books", timeout=PATIENCE_S)


def test_migration_can_run_again(deployment: Deployment) -> None:
    """`migrate` on an up-to-date database changes nothing and prints the revision."""
    current = deployment.run("bookstore", "db", "current")
    output = deployment.compose("run", "--rm", "--no-deps", "migrate")
    assert output.split()[-1] == current.split()[0]


def test_restore_from_backup(deployment: Deployment, tmp_path: Path) -> None:
    """A dump taken while the service runs can be restored as in docs/deploy.md, into a database that has lost its
    books."""
    books = _get(deployment.base).json()
    dump = tmp_path / "bookstore.dump"
    log("pg_dump, TRUNCATE, pg_restore")
    with dump.open("wb") as file:
        _run_in_database(deployment, "pg_dump --username=bookstore --format=custom --dbname=bookstore", stdout=file)
    _run_in_database(deployment, "psql --username=bookstore --command='TRUNCATE book CASCADE'")
    wait_for(lambda: _get(deployment.base).json() != books, "the books are still there")
    deployment.compose("stop", "api")
    with dump.open("rb") as file:
        command = "pg_restore --username=bookstore --dbname=bookstore --clean --if-exists --exit-on-error"
        _run_in_database(deployment, command, stdin=file)
    deployment.compose("start", "api")
    deployment.ready()
    assert _get(deployment.base).json() == books


def _run_in_database(deployment: Deployment, command: str, **streams: Any) -> None:
    """Run a command in the database's container, with PGHOST set to the folder of the server's socket."""
    find_socket = "for d in /tmp /var/run/postgresql; do [ -S $d/.s.PGSQL.5432 ] && export PGHOST=$d; done"
    arguments = ["podman", "exec", "-i", deployment.name("db"), "sh", "-c", f"{find_socket}; exec {command}"]
    result = subprocess.run(arguments, env=deployment.podman.environ, stderr=subprocess.PIPE, check=False, **streams)
    assert result.returncode == 0, result.stderr


def test_pgbouncer_in_front(deployment: Deployment, pgbouncer_image: str) -> None:
    """The compose profile `pgbouncer` accepts only clients with the password, and uses transaction mode."""
    log("starting pgbouncer")
    command = ("--profile", "pgbouncer", "up", "-d", "--no-build", "--no-deps", "pgbouncer")
    deployment.compose(*command, PGBOUNCER_IMAGE=pgbouncer_image)
    code = _LOCK.split("with connect")[0].replace('os.environ["DATABASE_URL"]', "sys.argv[1]")
    through = "postgresql://bookstore@pgbouncer:6432/"
    query = f"{code}print(connect().execute('TABLE book LIMIT 3').rowcount)"
    wait_for(lambda: _run_python(deployment, query, through + "bookstore"), "PgBouncer accepts no client")
    assert _run_python(deployment, query, through + "bookstore") == "3"
    wrong_password = query.replace(".strip()", ".strip() + 'x'")
    assert not _run_python(deployment, wrong_password, through + "bookstore")
    show_config = code + "print(psycopg.ClientCursor(connect()).execute('SHOW CONFIG').fetchall())"
    assert "('pool_mode', 'transaction'" in _run_python(deployment, show_config, through + "pgbouncer")
    books = _get(deployment.base).json()
    variables = {"BOOKSTORE_PROFILE": "asyncpg-pgbouncer", "DATABASE_HOST": "pgbouncer", "DATABASE_PORT": "6432"}
    log(f"serving through it: {variables['BOOKSTORE_PROFILE']}")
    deployment.compose("up", "-d", "--no-build", "--no-deps", "api", **variables)
    wait_for(lambda: deployment.ready()["profile"] == variables["BOOKSTORE_PROFILE"], "another profile is running")
    assert _get(deployment.base).json() == books


def _run_python(deployment: Deployment, code: str, *arguments: str) -> str:
    result = deployment.podman.attempt("exec", deployment.name("api"), "python", "-c", code, *arguments)
    return result.stdout.strip()
