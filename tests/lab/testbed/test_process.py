from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import sqlalchemy as sa

from bookstore.database.url import conninfo
from bookstore.lab.record.run_record import Limits
from bookstore.lab.testbed import limits
from bookstore.lab.testbed.deployment import HOST, Deployment, DeploymentError, ExternalDeployment
from bookstore.lab.testbed.external import External
from bookstore.lab.testbed.process import deploy, deploy_external, free_port, wait_until
from bookstore.reaper import Reaper, _members

WITHIN_S = 30


def sessions(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'bookstore/%'")
    (count,) = row.fetchone() or (0,)
    return int(count)


@contextmanager
def foreign_server(port: int, answer: bytes) -> Iterator[None]:
    """A server that shares the port, as a leftover granian would."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((HOST, port))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_life(
    library: sa.URL,
    connection: psycopg.Connection,
    tmp_path: Path,
    reaper: Reaper,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A deployment is ready and answers as its own workers during the block, unaffected by the shell's variables; a
    foreign server on its port is detected; afterwards no process, listener or session is left."""
    for name in ("GRANIAN_WORKERS", "PGOPTIONS", "WEB_CONCURRENCY", "LITESTAR_DEBUG", "MALLOC_ARENA_MAX"):
        monkeypatch.setenv(name, "7")
    with deploy("asyncpg-json", library, tmp_path, reaper, workers=2) as deployment:
        assert deployment.process
        pids = deployment.verify_identity()
        assert len(pids) == 2
        assert pids == [worker.pid for worker in deployment.workers()]
        assert set(pids) < set(_members(deployment.process.pid))
        assert "7" not in deployment.workers()[0].environ().values()
        assert deployment.workers()[0].environ()["BOOKSTORE_DATA_DIR"] == str(
            tmp_path
        )  # not the user's folder or tokens
        assert deployment.get("/health/ready")[0] == 200
        assert deployment.get("/books/99999")[0] == 404
        assert sessions(connection) > 0
        with foreign_server(deployment.port, b'{"pid": 1}'):
            for _ in range(10):  # repeated, because the kernel chooses who answers first
                with pytest.raises(DeploymentError, match="pid 1 answers, which is not a worker"):
                    deployment.verify_identity()
        with (
            foreign_server(deployment.port, b"hello"),
            pytest.raises(DeploymentError, match="another service answers: b'hello'"),
        ):
            deployment.verify_identity()
    assert _members(deployment.process.pid) == []
    assert wait_until(lambda: sessions(connection) == 0, WITHIN_S)
    with pytest.raises(DeploymentError, match="no answer"):
        deployment.get("/health/live")
    with pytest.raises(DeploymentError, match="the service has stopped"):
        deployment.workers()


def test_no_start(library: sa.URL, tmp_path: Path, reaper: Reaper) -> None:
    """A service that ends during startup is reported with the last lines of its log."""
    nowhere = library.set(database="nowhere")
    with (
        pytest.raises(DeploymentError, match=r"(?s)ended during startup with exit code [12]:\n.*nowhere"),
        deploy("asyncpg-json", nowhere, tmp_path, reaper),
    ):
        pytest.fail("it cannot be ready")


def test_killed_parent(library: sa.URL, connection: psycopg.Connection, tmp_path: Path, reaper: Reaper) -> None:
    """Workers whose parent was killed end with the block."""
    with deploy("psycopg-sync-joined", library, tmp_path, reaper) as deployment:
        assert deployment.process
        (worker,) = deployment.verify_identity()
        group = deployment.process.pid
        os.kill(group, signal.SIGKILL)
        deployment.process.wait()
        assert worker in _members(group)
    assert wait_until(lambda: _members(group) == [], WITHIN_S)
    assert wait_until(lambda: sessions(connection) == 0, WITHIN_S)


def test_free_port() -> None:
    """A free port accepts a listener."""
    with socket.socket() as listener:
        listener.bind((HOST, free_port()))
        listener.listen()


def test_wait_until() -> None:
    """It calls the condition until it is true, and gives up at the end."""
    answers = iter([False, False, True])
    assert wait_until(lambda: next(answers), 10)
    assert not wait_until(lambda: False, 0)


def test_dead_port() -> None:
    """If nothing listens, a DeploymentError names the address."""
    port = free_port()
    with pytest.raises(DeploymentError, match=rf"127\.0\.0\.1:{port}/books: no answer"):
        Deployment(None, port).get("/books")


_SERVER = """
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"database": os.environ.get("DATABASE"), "pid": os.getpid()}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_an_external_service_is_started_and_stopped(library: sa.URL, tmp_path: Path, reaper: Reaper) -> None:
    """Its command gets the port and the database, its process is observed, and it ends with the block."""
    (tmp_path / "server.py").write_text(_SERVER)
    service = External(
        name="plain",
        command=[sys.executable, "server.py", "{port}"],
        directory=tmp_path,
        environment={"DATABASE": "{database_url}"},
    )
    with deploy_external(service, library, tmp_path, reaper) as deployment:
        assert deployment.process
        status, body = deployment.get("/")
        assert status == 200
        assert json.loads(body) == {"database": conninfo(library), "pid": deployment.process.pid}
        assert deployment.verify_identity() == [deployment.process.pid]
        running = ExternalDeployment(None, deployment.port)
        assert running.verify_identity() == [deployment.process.pid]
        named = External(name="named", url=deployment.base)
        with deploy_external(named, library, tmp_path, reaper) as same:
            assert same.get("/")[0] == 200
        assert deployment.process.poll() is None
    assert deployment.process.returncode is not None


def test_an_external_service_that_ends_is_told(library: sa.URL, tmp_path: Path, reaper: Reaper) -> None:
    """The error has the service's last output."""
    service = External(name="broken", command=[sys.executable, "-c", "raise SystemExit('no such table')", "{port}"])
    with (
        pytest.raises(DeploymentError, match=r"(?s)ended during startup with exit code [12]:\n.*no such table"),
        deploy_external(service, library, tmp_path, reaper),
    ):
        pytest.fail("it cannot be ready")


def test_the_limiter_holds_the_workers_too(library: sa.URL, tmp_path: Path, reaper: Reaper) -> None:
    """Processes that the service starts are within its limits too."""
    with (
        limits.resource_limiter(Limits(cpus=1), tmp_path / "no-cgroup-here") as (limiter, _),
        deploy("asyncpg-json", library, tmp_path, reaper, limiter=limiter) as deployment,
    ):
        for pid in deployment.verify_identity():
            assert len(psutil.Process(pid).cpu_affinity()) == 1
