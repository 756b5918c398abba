"""A deployed service: its processes and its HTTP answers."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
import psutil
import sqlalchemy as sa

from bookstore.http.compression import decode
from bookstore.lab.exceptions import InvalidMeasurement

HOST: Final = "127.0.0.1"


class DeploymentError(InvalidMeasurement):
    """The service did not start, did not answer as itself, or did not stop."""


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

    def get(self, path: str, headers: Mapping[str, str] | None = None, timeout_s: float = 10) -> tuple[int, bytes]:
        """Send a GET over a new connection; return status and decoded body. Raises DeploymentError if there is no
        answer."""
        base = urlsplit(self.base)
        connection = http.client.HTTPConnection(base.hostname or HOST, self.port, timeout=timeout_s)
        try:
            connection.request("GET", base.path + path, headers={"X-Request-ID": "lab", **(headers or {})})
            response = connection.getresponse()
            return response.status, decode(response.read(), response.getheader("Content-Encoding"))
        except (OSError, http.client.HTTPException) as error:
            raise DeploymentError(f"GET {self.base}{path}: no answer: {error!r}") from None
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
