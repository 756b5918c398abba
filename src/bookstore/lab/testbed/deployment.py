"""A deployed service: its processes and its HTTP answers."""

from __future__ import annotations

import http.client
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
import psutil
import sqlalchemy as sa

from bookstore.config.text import excerpt
from bookstore.http.compression import decode
from bookstore.lab.exceptions import InvalidMeasurement, NoAnswer

HOST: Final = "127.0.0.1"
ANSWER_WITHIN_S: Final = 10.0
"""For one whole answer to a single request, however slowly its parts arrive."""
MAX_BODY_BYTES: Final = 64 * 2**20
"""Largest body that the lab reads itself; a list of 100 books has 40 kB."""


class DeploymentError(InvalidMeasurement):
    """The service did not start, did not answer as itself, or did not stop."""

    code = "server_died"
    """The problem of the measurement that fails for this reason, as in run_record.Problem."""


class UnansweredError(DeploymentError, NoAnswer):
    """A single request got no complete answer in time."""

    code = "no_answer"


class Answer(NamedTuple):
    """The answer to one GET, with its body decoded. `location` is empty unless it is a redirect."""

    status: int
    body: bytes
    location: str


class Pooler(NamedTuple):
    """The PgBouncer between a deployment and the database: its pid, and the URL for its clients."""

    pid: int
    url: sa.URL


class Deployment:
    """A running service. `process` is None if the lab did not start it; `metrics_url` is its metrics endpoint and
    `pooler` the PgBouncer before its database, if any."""

    def __init__(
        self,
        process: subprocess.Popen[bytes] | None,
        port: int,
        base: str = "",
        metrics_url: str | None = None,
        pooler: Pooler | None = None,
    ) -> None:
        self.process = process
        self.pooler = pooler
        self.port = port
        self.base = base or f"http://{HOST}:{port}"
        self.metrics_url = metrics_url

    def has_ended(self) -> bool:
        """Return whether the process that the lab started has ended."""
        return self.process is not None and self.process.poll() is not None

    def own_pid(self, pid: int) -> int:
        """Return the pid by which the worker knows itself; it differs in a pid namespace."""
        return pid

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes by pid. Raises DeploymentError if the service has stopped."""
        assert self.process
        try:
            return sorted(psutil.Process(self.process.pid).children(), key=lambda worker: worker.pid)
        except psutil.NoSuchProcess:
            raise DeploymentError("the service has stopped") from None

    def get(
        self, path: str, headers: Mapping[str, str] | None = None, timeout_s: float = ANSWER_WITHIN_S
    ) -> tuple[int, bytes]:
        """Send a GET over a new connection; return status and decoded body. Raises DeploymentError if there is no
        answer, and UnansweredError if it is not complete within `timeout_s`."""
        answer = self.exchange(path, headers, timeout_s)
        return answer.status, answer.body

    def exchange(
        self, path: str, headers: Mapping[str, str] | None = None, timeout_s: float = ANSWER_WITHIN_S
    ) -> Answer:
        """Send a GET as `get` does; return the whole answer."""
        base = urlsplit(self.base)
        connection = http.client.HTTPConnection(base.hostname or HOST, self.port, timeout=timeout_s)
        expired = threading.Event()
        failed = f"GET {self.base}{path}:"
        try:
            connection.connect()
            with _deadline(connection.sock, timeout_s, expired):
                connection.request("GET", base.path + path or "/", headers={"X-Request-ID": "lab", **(headers or {})})
                response = connection.getresponse()
                body = _read_body(response)
            if expired.is_set():  # without Content-Length, a connection that was shut down ends the body
                raise TimeoutError
            coding = response.getheader("Content-Encoding")
            return Answer(response.status, decode(body, coding), response.getheader("Location", ""))
        except (OSError, http.client.HTTPException) as error:
            if expired.is_set() or isinstance(error, TimeoutError):
                raise UnansweredError(f"{failed} no complete answer within {timeout_s:g} s") from None
            raise DeploymentError(f"{failed} no answer: {_describe_failure(error)}") from None
        finally:
            connection.close()

    def verify_identity(self) -> list[int]:
        """Return the workers' pids once each worker, and no other process, has answered on the port.

        The kernel spreads connections over all sockets bound to the port, including a leftover server's, so a foreign
        process would show up. Raises DeploymentError.
        """
        pids = {self.own_pid(worker.pid): worker.pid for worker in self.workers()}
        expected = pids.keys()
        answered: set[int] = set()
        listeners = len(expected) + 1
        for attempt in range(1, 50 * listeners + 1):
            answered.add(_parse_pid(self.get("/health/live")[1]))
            if answered - expected:
                raise DeploymentError(
                    f"port {self.port}: pid {min(answered - expected)} answers, which is not a worker of this service"
                )
            if answered == expected and attempt >= 20 * listeners:  # another listener goes unnoticed once in 10^9 times
                return sorted(pids.values())
        raise DeploymentError(f"workers {sorted(expected - answered)} never answered on port {self.port}")


class ExternalDeployment(Deployment):
    """An external service: every process below its own counts as a worker."""

    def workers(self) -> list[psutil.Process]:
        pid = self.process.pid if self.process else _listening_pid(self.port)
        if pid is None:
            return []  # another user's: it can be loaded but not observed
        try:
            process = psutil.Process(pid)
            return sorted([process, *process.children(recursive=True)], key=lambda worker: worker.pid)
        except psutil.NoSuchProcess:
            raise DeploymentError("the service has stopped") from None

    def verify_identity(self) -> list[int]:
        """Return its processes' pids. Raises DeploymentError if it has stopped."""
        if self.has_ended():
            raise DeploymentError("the service has stopped")
        return [worker.pid for worker in self.workers()]


@contextmanager
def _deadline(connection: socket.socket, timeout_s: float, expired: threading.Event) -> Iterator[None]:
    """Shut the connection down after `timeout_s`: a socket's own timeout starts again with each byte."""

    def expire() -> None:
        expired.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout_s, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _read_body(response: http.client.HTTPResponse) -> bytes:
    """Return the body. Raises HTTPException if it is cut short or larger than MAX_BODY_BYTES."""
    body = bytearray()
    while part := response.read(2**16):
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise http.client.HTTPException(f"a body of more than {MAX_BODY_BYTES // 2**20} MiB")
    if response.length:
        raise http.client.IncompleteRead(bytes(body), response.length)
    return bytes(body)


def _describe_failure(error: OSError | http.client.HTTPException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there (connection refused)"
    if isinstance(error, (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
        return "the service closed the connection"
    if isinstance(error, http.client.IncompleteRead):
        return f"the service closed the connection after {len(error.partial)} bytes of the body"
    if isinstance(error, http.client.BadStatusLine):
        return f"not HTTP: {excerpt(str(error))}"
    return excerpt(str(error)) or repr(error)


def _listening_pid(port: int) -> int | None:
    """Return the pid that listens on the port, if this user may see it."""
    try:
        sockets = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    listeners = [socket for socket in sockets if socket.status == psutil.CONN_LISTEN]
    return next((socket.pid for socket in listeners if socket.laddr and socket.laddr.port == port and socket.pid), None)


def _parse_pid(body: bytes) -> int:
    try:
        answer: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        return int(answer["pid"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        raise DeploymentError(f"another service answers: {body[:80]!r}") from None
