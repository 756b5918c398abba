"""`bookstore serve` with real processes: workers, signals, rejected configurations, and cleanup."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, get_args
from unittest.mock import Mock

import httpx
import psutil
import psycopg
import pytest
import sqlalchemy as sa

from bookstore.database.url import conninfo
from bookstore.http.server import _Server
from bookstore.profile.engine_profile import Driver

PATIENCE_S = 40.0
PYTHONPATH = os.environ.get("PYTHONPATH", "")
BIN = Path(sys.executable).parent
Observer = psycopg.Connection[Any]


def until(condition: Callable[[], Any], failure: str) -> Any:
    """Wait for a condition in another process and return its value; fail after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < end, failure
        time.sleep(0.02)
    return value


class Server:
    """A server in its own session, with its output."""

    def __init__(self, command: Sequence[str | Path], env: dict[str, str], port: int, log: Path) -> None:
        self.log = log
        self.base = f"http://127.0.0.1:{port}"
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": PYTHONPATH, "HOME": str(log.parent), **env},
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.seen: set[int] = set()

    @property
    def output(self) -> str:
        return self.log.read_text()

    def get(self, path: str) -> httpx.Response | None:
        """Send GET on a new connection, so that any worker may accept it. Returns None on a transport error."""
        with suppress(httpx.TransportError):
            return httpx.get(self.base + path, timeout=PATIENCE_S)
        return None

    def workers(self, count: int) -> dict[int, int]:
        """Wait until `count` workers are ready and return their pids by worker number."""
        ready: dict[int, int] = {}

        def are_ready() -> bool:
            assert self.process.poll() is None, self.output
            answer = self.get("/health/ready")
            if answer is not None and answer.status_code == 200:
                body = answer.json()
                ready[body["worker"]] = body["pid"]
            return len(ready) == count and all(map(psutil.pid_exists, ready.values()))

        until(are_ready, f"not all workers are ready: {ready}")
        self.seen.update(ready.values())
        return ready

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal to the main process only and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def remaining(self) -> list[int]:
        """Return the processes of the server's session that still run."""
        group = self.process.pid
        return [
            process.pid
            for process in psutil.process_iter()
            if process.pid in {group, *self.seen} or _group(process.pid) == group
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        ]


def _group(pid: int) -> int | None:
    with suppress(ProcessLookupError):
        return os.getpgid(pid)
    return None


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def shared_url(own_database: Callable[..., AbstractContextManager[sa.URL]]) -> Iterator[sa.URL]:
    """A migrated database with three books."""
    with own_database(
        "INSERT INTO book (title) SELECT 'Book ' || n FROM generate_series(1, 3) n",
    ) as url:
        yield url


@pytest.fixture
def observer(shared_url: sa.URL) -> Iterator[Observer]:
    with psycopg.connect(conninfo(shared_url), autocommit=True) as connection:
        yield connection


@pytest.fixture
def run(shared_url: sa.URL, port: int, tmp_path: Path) -> Callable[..., Any]:
    """Runs a command on the database: `with run(command, NAME=value) as server`; no process outlives the block."""

    @contextmanager
    def running(command: Sequence[str | Path], **env: str) -> Iterator[Server]:
        server = Server(command, {"DATABASE_URL": conninfo(shared_url), **env}, port, tmp_path / "log")
        try:
            yield server
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()

    return running


def serve(spec: str, port: int, *more: str) -> list[str | Path]:
    return [BIN / "bookstore", "serve", "--profile", spec, "--port", str(port), *more]


def refusal(command: Sequence[str | Path], url: sa.URL, **env: str) -> str:
    """Return the error message of a command that must exit with code 2 and without a traceback."""
    process = subprocess.Popen(
        [str(part) for part in command],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": PYTHONPATH, "DATABASE_URL": conninfo(url), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    finally:
        with suppress(ProcessLookupError):  # if it serves instead, kill its workers too
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == 2, stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    return stderr


def sessions(observer: Observer, where: str = "true") -> int:
    """Return the number of the service's sessions on the database."""
    row = observer.execute(
        "SELECT count(*) FROM pg_stat_activity"  # noqa: S608 - `where` comes from this file
        f" WHERE datname = current_database() AND application_name LIKE 'bookstore/%' AND {where}".encode()
    ).fetchone()
    assert row
    return int(row[0])


@pytest.mark.parametrize("driver", get_args(Driver))
def test_serves_and_stops(
    run: Callable[..., Any], port: int, observer: Observer, shared_url: sa.URL, driver: Driver
) -> None:
    """Two workers become ready, each with its own pid, number and pool. SIGTERM lets a request in flight complete; then
    the exit code is 0, and no process or session remains."""
    with run(serve(f"default@driver={driver},workers=2,pool_size=3", port)) as server:
        workers = server.workers(2)
        assert set(workers) == {1, 2}
        assert len(set(workers.values()) | {server.process.pid}) == 3
        assert sessions(observer) == 2 * 3
        assert [book["title"] for book in server.get("/books").json()["items"]] == ["Book 1", "Book 2", "Book 3"]

        answers: list[httpx.Response | None] = []
        request = threading.Thread(target=lambda: answers.append(server.get("/books")))
        with psycopg.connect(conninfo(shared_url)) as blocker:
            blocker.execute("LOCK TABLE book IN ACCESS EXCLUSIVE MODE")
            request.start()
            until(lambda: sessions(observer, "wait_event_type = 'Lock'") == 1, "the request does not wait")
            server.process.send_signal(signal.SIGTERM)
            until(lambda: "Shutting down" in server.output, "the signal was ignored")
        request.join(PATIENCE_S)
        assert server.process.wait(PATIENCE_S) == 0
        (answer,) = answers
        assert answer is not None
        assert (answer.status_code, len(answer.json()["items"])) == (200, 3)
        until(lambda: server.remaining() == [], "processes remain")
        until(lambda: sessions(observer) == 0, "sessions remain")
        assert "Traceback" not in server.output


def test_killed_worker_is_replaced(run: Callable[..., Any], port: int, observer: Observer) -> None:
    """A killed worker is replaced under its number while the other keeps serving; Ctrl-C then exits with code 0."""
    with run(serve("default@workers=2,pool_size=2", port)) as server:
        before = server.workers(2)
        os.kill(before[1], signal.SIGKILL)
        until(lambda: server.get("/books") is not None, "the other worker does not serve")
        until(lambda: not _runs(before[1]), "the worker was not killed")
        after = server.workers(2)
        assert after[1] != before[1]
        assert after[2] == before[2]
        until(lambda: sessions(observer) == 2 * 2, "the killed worker's sessions remain")
        assert server.stop(signal.SIGINT) == 0
        until(lambda: server.remaining() == [], "processes remain")
        until(lambda: sessions(observer) == 0, "sessions remain")


def _runs(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_port_in_use(shared_url: sa.URL, port: int) -> None:
    """If the port is in use, even with SO_REUSEPORT, nothing starts and the error names the port."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        message = refusal(serve("default", port), shared_url)
    assert f"127.0.0.1:{port}: cannot listen: Address already in use" in message


def test_over_budget(shared_url: sa.URL, port: int, observer: Observer) -> None:
    """A profile that could exceed the connection budget is rejected before it opens a connection; the error has the sum
    and the pool size that would fit."""
    message = refusal(serve("default@workers=2,pool_size=200,max_overflow=1", port), shared_url)
    assert "needs 603 = (2 workers + 1 while one is replaced) x (pool_size 200 + max_overflow 1)" in message
    usable = re.search(r"usable are (\d+)", message)
    assert usable
    assert f"the largest pool_size that fits is {int(usable[1]) // 3 - 1} " in message
    assert "--over-budget" in message
    assert sessions(observer) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_missing_pooler(shared_url: sa.URL, port: int, tmp_path: Path) -> None:
    """A profile with behind_pooler is rejected if it would connect to PostgreSQL directly or to the embedded one; the
    error says what to do."""
    message = refusal(serve("asyncpg-pgbouncer", port), shared_url)
    assert "behind_pooler is on, and PostgreSQL itself answers at " in message
    assert "set DATABASE_URL to the address of PgBouncer" in message
    command = [*serve("asyncpg-pgbouncer", port)]
    environ = {**os.environ, "BOOKSTORE_DATA_DIR": str(tmp_path)}
    environ.pop("DATABASE_URL", None)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 2
    assert "DATABASE_URL is not set: the embedded PostgreSQL has no pooler" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_over_budget_on_request(run: Callable[..., Any], port: int) -> None:
    """With --over-budget such a profile starts, as long as its initial connections are available."""
    spec = "default@pool_size=1,max_overflow=500"
    with run(serve(spec, port, "--over-budget")) as server:
        assert set(server.workers(1)) == {1}
        assert server.get("/books").status_code == 200


def test_other_variables_are_ignored(run: Callable[..., Any], port: int) -> None:
    """Environment variables that would override the profile are listed once and have no effect."""
    foreign = {
        "GRANIAN_WORKERS": "3", "GRANIAN_PORT": "1", "GRANIAN_INTERFACE": "wsgi", "LITESTAR_DEBUG": "1",
        "PGOPTIONS": "-c search_path=nowhere", "PGAPPNAME": "mine", "PGHOST": "nowhere.invalid",
    }  # fmt: skip
    with run(serve("default@pool_size=1", port), **foreign) as server:
        assert set(server.workers(1)) == {1}
        assert server.get("/books").status_code == 200
        assert f"ignored environment variables (the profile decides): {', '.join(sorted(foreign))}" in server.output
        assert server.output.count("ignored") == 1


def test_workers_by_environment(run: Callable[..., Any], port: int) -> None:
    """WEB_CONCURRENCY overrides the workers of the profile, which is logged; a variable can also set the profile."""
    command = [BIN / "bookstore", "serve", "--port", str(port)]
    with run(command, WEB_CONCURRENCY="2", BOOKSTORE_PROFILE="default@pool_size=1") as server:
        assert set(server.workers(2)) == {1, 2}
        assert "WEB_CONCURRENCY=2 overrides the profile's workers" in server.output


@pytest.mark.parametrize(
    ("spec", "suggestion"),
    [
        ("defualt", "default"),
        ("default@pool_szie=3", "pool_size"),
    ],
)
def test_unknown_profile(shared_url: sa.URL, port: int, spec: str, suggestion: str) -> None:
    """An unknown profile or key exits with code 2 and suggests a similar name."""
    assert suggestion in refusal(serve(spec, port), shared_url)


def test_wrong_number_of_workers(shared_url: sa.URL) -> None:
    """The error for a WEB_CONCURRENCY that is not a number names the variable."""
    assert "WEB_CONCURRENCY" in refusal([BIN / "bookstore", "serve"], shared_url, WEB_CONCURRENCY="two")


def test_granian_serves_the_factory(run: Callable[..., Any], port: int, observer: Observer) -> None:
    """`granian --factory bookstore.app:create_app` serves with the profile from the environment; its worker has no
    number."""
    command = [
        BIN / "granian", "--interface", "asgi", "--factory", "bookstore.app:create_app", "--port", str(port),
    ]  # fmt: skip
    with run(command, BOOKSTORE_PROFILE="default@pool_size=2") as server:
        ((worker, pid),) = server.workers(1).items()
        assert worker is None
        assert pid != server.process.pid
        assert len(server.get("/books").json()["items"]) == 3
        assert sessions(observer) == 2
        assert server.stop() == 0
        until(lambda: sessions(observer) == 0, "sessions remain")


def test_litestar_finds_the_factory(shared_url: sa.URL, tmp_path: Path) -> None:
    """`litestar --app bookstore.app:create_app` lists the routes."""
    done = subprocess.run(
        [BIN / "litestar", "--app", "bookstore.app:create_app", "routes"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": PYTHONPATH, "DATABASE_URL": conninfo(shared_url)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for path in ("/books", "/books/{book_id:int}", "/health/live", "/health/ready"):
        assert path in done.stdout


# Checks of the gate that need several processes and real sockets.

BODY_APP = """
from litestar import post
from bookstore.http import authorization, gate
from bookstore import app

gate.BODY_WITHIN_S = 1.0

@post("/taken", opt=authorization.PUBLIC)
async def take(data: dict[str, int]) -> int:
    return len(data)

def create_app():
    service = app.create_app()
    service.register(take)
    return service
"""


def send(port: int, *parts: bytes) -> bytes:
    """Send `parts` on a new connection, as far as the server accepts them, and return everything received until the
    connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        with suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
        answer = b""
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
        return answer


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "Host: localhost", "Connection: close", "\r\n"]).encode()


def test_oversize_heads(run: Callable[..., Any], port: int) -> None:
    """Oversize and incomplete heads are answered with 4xx or disconnected; the server keeps serving."""
    with run(serve("default@pool_size=1", port)) as server:
        pid = server.workers(1)[1]
        assert send(port, head("GET /books?q=" + "a" * 16_000 + " HTTP/1.1")).startswith(b"HTTP/1.1 414 ")
        assert b'"code":"uri_too_long"' in send(port, head("GET /books?q=" + "a" * 60_000 + " HTTP/1.1"))
        for lines in (
            ["GET /books?q=" + "a" * 500_000 + " HTTP/1.1"],
            ["GET /books HTTP/1.1", "X: " + "a" * 500_000],
            ["GET /books HTTP/1.1", *(f"X-{number}: a" for number in range(2000))],
        ):
            assert send(port, head(*lines))[:10] in {b"", b"HTTP/1.1 4"}
        assert send(port, b"GET /books HTTP/1.1\r\nHost: loc") == b""  # closed after the time limit
        assert server.workers(1) == {1: pid}


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["GET /books HTTP/1.1", "Host: localhost", "Host: localhost"], 400),
        (["GET /books HTTP/1.1", "Host: evil.example"], 400),
        (["GET /books HTTP/1.1", "Host: a b\xff"], 400),
        (["GET /books HTTP/1.1"], 400),
        (["GET /books HTTP/1.0"], 400),
        (["GET /books HTTP/1.1", "Host: [::1]:99"], 200),
        (["HEAD /books HTTP/1.1", "Host: LOCALHOST"], 200),
    ],
)
def test_hosts(one_server: int, lines: list[str], status: int) -> None:
    """A service on the loopback interface accepts the loopback names; any other, duplicate or missing Host is 400."""
    answer = send(one_server, "\r\n".join([*lines, "Connection: close", "\r\n"]).encode("latin-1"))
    assert answer.split(b" ", 2)[1] == str(status).encode()


@pytest.fixture(scope="module")
def one_server(shared_url: sa.URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server that several tests share."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    server = Server(serve("default@pool_size=1", port), {"DATABASE_URL": conninfo(shared_url)}, port, log)
    try:
        server.workers(1)
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()


def test_bodies(run: Callable[..., Any], port: int, tmp_path: Path, observer: Observer) -> None:
    """A body that is declared too large, or never ends, is 413 before it is read fully. A body that does not arrive
    is 408: it holds no database connection, does not block other clients, and its connection is closed."""
    (tmp_path / "taker.py").write_text(BODY_APP)
    command = [BIN / "granian", "--interface", "asgi", "--factory", "taker:create_app", "--port", str(port)]
    with run(command, PYTHONPATH=f"{tmp_path}:{PYTHONPATH}", BOOKSTORE_PROFILE="default@pool_size=2") as server:
        server.workers(1)
        kind = "Content-Type: application/json"
        post = ("POST /taken HTTP/1.1", kind)
        assert b"\r\n\r\n1" in send(port, head(*post, "Content-Length: 7"), b'{"a":1}')
        assert send(port, head(*post, "Content-Length: 99999999999"), b"[").startswith(b"HTTP/1.1 413 ")
        chunks = [b"10000\r\n" + b" " * 0x10000 + b"\r\n"] * 400
        assert send(port, head(*post, "Transfer-Encoding: chunked"), *chunks).startswith(b"HTTP/1.1 413 ")

        answers: list[bytes] = []
        slow = [threading.Thread(target=lambda: answers.append(send(port, head(*post, "Content-Length: 9"), b"[")))] * 1
        slow += [threading.Thread(target=lambda: answers.append(send(port, head(*post, "Content-Length: 9"))))]
        for thread in slow:
            thread.start()
        assert server.get("/books").status_code == 200
        assert sessions(observer, "state <> 'idle'") == 0
        for thread in slow:
            thread.join(PATIENCE_S)
        assert [answer.startswith(b"HTTP/1.1 408 ") for answer in answers] == [True, True]
        assert all(b"connection: close" in answer and b'"code":"request_timeout"' in answer for answer in answers)
        assert server.get("/books").status_code == 200


def test_rate_over_all_workers(run: Callable[..., Any], port: int) -> None:
    """Two workers share the rate limit of a client, whatever X-Forwarded-For says; probes are not counted."""
    with run(serve("default@workers=2,pool_size=1", port), BOOKSTORE_RATE_LIMIT="5") as server:
        server.workers(2)
        begin = time.monotonic()
        answers = [
            httpx.get(server.base + "/books", headers={"X-Forwarded-For": f"203.0.113.{number}"})
            for number in range(200)
        ]
        passed = sum(answer.status_code == 200 for answer in answers)
        assert 10 <= passed <= 10 + 5 * (time.monotonic() - begin) + 1
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) == 200 - passed
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert refused[0].json()["code"] == "too_many_requests"
        assert len(server.workers(2)) == 2


# Access control with several processes.

PROTECTED_APP = """
from litestar import Request, get
from bookstore.http import authorization
from bookstore import app

@get("/whoami", opt=authorization.WRITE)
async def whoami(request: Request) -> str:
    return request.auth.name

def create_app():
    service = app.create_app()
    service.register(whoami)
    return service
"""


def tokens(data: Path, *arguments: str) -> str:
    """Run `bookstore tokens` and return its stdout."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHONPATH, "BOOKSTORE_DATA_DIR": str(data)}
    return subprocess.check_output([BIN / "bookstore", "tokens", *arguments], env=env, text=True).strip()


def test_tokens_come_and_go(run: Callable[..., Any], port: int, tmp_path: Path) -> None:
    """Two running workers accept a new token at once, and reject it once it is revoked; the log contains no token."""
    (tmp_path / "protected.py").write_text(PROTECTED_APP)
    command = [BIN / "granian", "--interface", "asgi", "--factory", "protected:create_app", "--port", str(port)]
    env = {"PYTHONPATH": f"{tmp_path}:{PYTHONPATH}", "BOOKSTORE_DATA_DIR": str(tmp_path)}
    with run([*command, "--workers", "2"], BOOKSTORE_PROFILE="default@pool_size=1", **env) as server:
        pids: set[int] = set()

        def both_serve() -> bool:
            answer = server.get("/health/ready")
            pids.update([answer.json()["pid"]] if answer else [])
            return len(pids) == 2

        def statuses(token: str) -> set[int]:
            headers = {"Authorization": f"Bearer {token}"}
            return {httpx.get(server.base + "/whoami", headers=headers).status_code for _ in range(20)}

        until(both_serve, "not both workers serve")
        assert statuses("none") == {401}
        token = tokens(tmp_path, "create", "ci", "--scope", "catalog:write")
        assert statuses(token) == {200}
        tokens(tmp_path, "revoke", "ci")
        assert statuses(token) == {401}
        assert "unknown token: GET /whoami from 127.0.0.1" in server.output
        assert token not in server.output


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "db.invalid", "127.0.0.1.invalid"])  # noqa: S104 - rejected
def test_beyond_loopback(shared_url: sa.URL, tmp_path: Path, host: str) -> None:
    """A host beyond the loopback interface without tokens prevents startup, and the error says what to do."""
    message = refusal(serve("default", 1, "--host", host), shared_url, BOOKSTORE_DATA_DIR=str(tmp_path))
    assert message.startswith(
        f"bookstore: host {host}: other machines may reach it, and no token is configured for writing; "
    )
    assert "bookstore tokens create NAME --scope catalog:write" in message
    assert "--read-only" in message


def test_beyond_loopback_on_purpose(shared_url: sa.URL, tmp_path: Path) -> None:
    """With a token, or read-only by option or variable, startup gets as far as binding the address, which this machine
    does not have."""
    command = serve("default", 1, "--host", "192.0.2.1")
    data = {"BOOKSTORE_DATA_DIR": str(tmp_path)}
    line = f"ci admin {'0' * 64}"
    for message in (
        refusal([*command, "--read-only"], shared_url, **data),
        refusal(command, shared_url, **data, BOOKSTORE_READ_ONLY="yes"),
        refusal(command, shared_url, **data, BOOKSTORE_API_TOKENS=line),
    ):
        assert message.startswith("bookstore: 192.0.2.1:1: cannot listen: ")


def test_a_password_file_reaches_the_workers(
    run: Callable[..., Any], port: int, shared_url: sa.URL, tmp_path: Path
) -> None:
    """With DATABASE_PASSWORD_FILE the workers read the file, and no process has the password in its environment."""
    role, password = f"bookstore_test_{os.getpid()}_login", "c4nary"
    (tmp_path / "password").write_text(f"{password}\n")
    with psycopg.connect(conninfo(shared_url), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE \"{role}\" SUPERUSER LOGIN PASSWORD '{password}'")
        try:
            url = conninfo(shared_url.set(username=role, password=None))
            file = str(tmp_path / "password")
            with run(serve("default", port), DATABASE_URL=url, DATABASE_PASSWORD_FILE=file) as server:
                for pid in (server.process.pid, *server.workers(1).values()):
                    assert password not in Path(f"/proc/{pid}/environ").read_text()
        finally:
            connection.execute(f'DROP ROLE "{role}"')


def test_the_embedded_database_needs_no_password_file(run: Callable[..., Any], port: int, tmp_path: Path) -> None:
    """A leftover DATABASE_PASSWORD_FILE does not prevent startup, because no password is needed."""
    left_over = {"DATABASE_URL": "", "DATABASE_PASSWORD_FILE": str(tmp_path / "none")}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PostgreSQL's own user needs access
        data = {"BOOKSTORE_DATA_DIR": folder}
        try:
            with run(serve("default", port), **data, **left_over) as server:
                assert len(server.workers(1)) == 1
        finally:
            ours = {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHONPATH, **data}
            subprocess.run([BIN / "bookstore", "db", "stop"], env=ours, check=True, capture_output=True)


def test_metrics_are_switched_off(run: Callable[..., Any], port: int) -> None:
    """--metrics-port 0 also applies to the workers, whatever the environment says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        metrics_port = probe.getsockname()[1]
    with run(serve("default", port, "--metrics-port", "0"), BOOKSTORE_METRICS_PORT=str(metrics_port)) as server:
        assert server.workers(1)
        assert server.get("/books").status_code == 200
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", metrics_port)) != 0
    assert "Traceback" not in server.output


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([0, 0], "stopped; all requests were answered"),
        ([0, 1], "stopped; worker 2 failed"),
        ([-9, 1], "stopped; killed with requests in flight: worker 1"),
    ],
)
def test_shutdown_message(codes: list[int], message: str, caplog: pytest.LogCaptureFixture) -> None:
    """The message reports failed and killed workers; without any, all requests were answered."""
    server = _Server.__new__(_Server)
    server.workers_kill_timeout = 1
    server.wrks = [Mock(idx=index, inner=Mock(exitcode=code)) for index, code in enumerate(codes)]
    for worker in server.wrks:
        worker.is_alive.return_value = False  # type: ignore[attr-defined] # a mock
    with caplog.at_level("INFO", "bookstore"):
        server._stop_workers()
    assert caplog.messages[-1] == message


def test_invalid_tokens_file(shared_url: sa.URL, port: int, tmp_path: Path) -> None:
    """An invalid tokens file prevents startup and the error has its line; so does an invalid switch."""
    (tmp_path / "tokens").write_text("oops")
    data = {"BOOKSTORE_DATA_DIR": str(tmp_path)}
    assert f"bookstore: {tmp_path}/tokens:1: found 1 words" in refusal(serve("default", port), shared_url, **data)
    message = refusal(serve("default", port), shared_url, BOOKSTORE_READ_ONLY="maybe")
    assert message.startswith("bookstore: BOOKSTORE_READ_ONLY: found 'maybe'; allowed are 1, true, yes, on, 0, ")
