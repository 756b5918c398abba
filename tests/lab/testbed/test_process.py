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
def foreign(port: int, answer: bytes) -> Iterator[None]:
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
    """A deployment is ready and answers as its own workers while the block lasts, by nothing that is set in
    the shell; a foreign server on its port is found out; afterwards no process, listener or database session
    is left."""
    for name in ("GRANIAN_WORKERS", "PGOPTIONS", "WEB_CONCURRENCY", "LITESTAR_DEBUG", "MALLOC_ARENA_MAX"):
        monkeypatch.setenv(name, "7")
    with deploy("asyncpg-json", library, tmp_path, reaper, workers=2) as it:
        assert it.process
        pids = it.verify_identity()
        assert len(pids) == 2
        assert pids == [worker.pid for worker in it.workers()]
        assert set(pids) < set(_members(it.process.pid))
        assert "7" not in it.workers()[0].environ().values()
        assert it.workers()[0].environ()["BOOKSTORE_DATA_DIR"] == str(tmp_path)  # not the user's, nor their tokens
        assert it.get("/health/ready")[0] == 200
        assert it.get("/books/99999")[0] == 404
        assert sessions(connection) > 0
        with foreign(it.port, b'{"pid": 1}'):
            for _ in range(10):  # not by luck: who answers first is the kernel's choice
                with pytest.raises(DeploymentError, match="pid 1 answers, which is not ours"):
                    it.verify_identity()
        with foreign(it.port, b"hello"), pytest.raises(DeploymentError, match="not our service: b'hello'"):
            it.verify_identity()
    assert _members(it.process.pid) == []
    assert wait_until(lambda: sessions(connection) == 0, WITHIN_S)
    with pytest.raises(DeploymentError, match="no answer"):
        it.get("/health/live")
    with pytest.raises(DeploymentError, match="ended while it was needed"):
        it.workers()


def test_no_start(library: sa.URL, tmp_path: Path, reaper: Reaper) -> None:
    """A service that ends at its start is told with the last lines of its log."""
    nowhere = library.set(database="nowhere")
    with (
        pytest.raises(DeploymentError, match=r"(?s)ended at its start:\n.*nowhere"),
        deploy("asyncpg-json", nowhere, tmp_path, reaper),
    ):
        pytest.fail("it cannot be ready")


def test_killed_parent(library: sa.URL, connection: psycopg.Connection, tmp_path: Path, reaper: Reaper) -> None:
    """Workers whose parent was killed end with the block."""
    with deploy("psycopg-sync-joined", library, tmp_path, reaper) as it:
        assert it.process
        (worker,) = it.verify_identity()
        group = it.process.pid
        os.kill(group, signal.SIGKILL)
        it.process.wait()
        assert worker in _members(group)
    assert wait_until(lambda: _members(group) == [], WITHIN_S)
    assert wait_until(lambda: sessions(connection) == 0, WITHIN_S)


def test_free_port() -> None:
    """A free port can be listened on."""
    with socket.socket() as listener:
        listener.bind((HOST, free_port()))
        listener.listen()


def test_wait_until() -> None:
    """It asks until the answer is yes, and gives up at its end."""
    answers = iter([False, False, True])
    assert wait_until(lambda: next(answers), 10)
    assert not wait_until(lambda: False, 0)


def test_dead_port() -> None:
    """Where nobody listens, there is a DeploymentError that names the address."""
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
    """Its command gets the port and the database, its process is watched, and it is gone with the block."""
    (tmp_path / "server.py").write_text(_SERVER)
    service = External(
        name="plain",
        command=[sys.executable, "server.py", "{port}"],
        directory=tmp_path,
        environment={"DATABASE": "{database_url}"},
    )
    with deploy_external(service, library, tmp_path, reaper) as it:
        assert it.process
        status, body = it.get("/")
        assert status == 200
        assert json.loads(body) == {"database": conninfo(library), "pid": it.process.pid}
        assert it.verify_identity() == [it.process.pid]
        running = ExternalDeployment(None, it.port)
        assert running.verify_identity() == [it.process.pid]
        named = External(name="named", url=it.base)
        with deploy_external(named, library, tmp_path, reaper) as same:
            assert same.get("/")[0] == 200
        assert it.process.poll() is None
    assert it.process.returncode is not None


def test_an_external_service_that_ends_is_told(library: sa.URL, tmp_path: Path, reaper: Reaper) -> None:
    """What it said last is in the error."""
    service = External(name="broken", command=[sys.executable, "-c", "raise SystemExit('no such table')", "{port}"])
    with (
        pytest.raises(DeploymentError, match=r"(?s)ended at its start:\n.*no such table"),
        deploy_external(service, library, tmp_path, reaper),
    ):
        pytest.fail("it cannot be ready")


def test_the_fence_holds_the_workers_too(library: sa.URL, tmp_path: Path, reaper: Reaper) -> None:
    """What the service starts is within the limits that it was started in."""
    with (
        limits.resource_limiter(Limits(cpus=1), tmp_path / "no-cgroup-here") as (limiter, _),
        deploy("asyncpg-json", library, tmp_path, reaper, limiter=limiter) as it,
    ):
        for pid in it.verify_identity():
            assert len(psutil.Process(pid).cpu_affinity()) == 1
