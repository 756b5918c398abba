"""A deployed service: whose processes answer, and what they answer."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
import psutil
import sqlalchemy as sa

from bookstore.http.compression import decoded
from bookstore.lab.exceptions import InvalidMeasurement

HOST: Final = "127.0.0.1"


class DeploymentError(InvalidMeasurement):
    """The service did not start, did not answer as itself, or did not stop."""


class Pooler(NamedTuple):
    """The PgBouncer between a deployment and the database: its process, and where its clients connect."""

    pid: int
    url: sa.URL


class Deployment:
    """A running service. `process` is None where it ran before us and is not ours to end; `metrics_url` is where
    it tells about itself, if it does; `pooler` stands between it and the database, if one does."""

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
        """Whether what we started is gone."""
        return self.process is not None and self.process.poll() is not None

    def own_pid(self, pid: int) -> int:
        """What a worker calls itself: another number than ours where it has a namespace of its own."""
        return pid

    def workers(self) -> list[psutil.Process]:
        """The processes that answer, by pid. Raises DeploymentError where the service is gone."""
        assert self.process
        try:
            return sorted(psutil.Process(self.process.pid).children(), key=lambda worker: worker.pid)
        except psutil.NoSuchProcess:
            raise DeploymentError("the service ended while it was needed") from None

    def get(self, path: str, headers: Mapping[str, str] | None = None, timeout_s: float = 10) -> tuple[int, bytes]:
        """(status, decoded body) of a GET over a new connection. Raises DeploymentError where no answer comes."""
        where = urlsplit(self.base)
        connection = http.client.HTTPConnection(where.hostname or HOST, self.port, timeout=timeout_s)
        try:
            connection.request("GET", where.path + path, headers={"X-Request-ID": "lab", **(headers or {})})
            response = connection.getresponse()
            return response.status, decoded(response.read(), response.getheader("Content-Encoding"))
        except (OSError, http.client.HTTPException) as error:
            raise DeploymentError(f"GET {self.base}{path}: no answer: {error!r}") from None
        finally:
            connection.close()

    def verify_identity(self) -> list[int]:
        """The workers' pids, once each of them has answered for itself and nobody else has.

        The kernel spreads connections over all sockets bound to the port, a leftover server's too: a
        foreign answer would come up here. Raises DeploymentError.
        """
        own = {self.own_pid(worker.pid): worker.pid for worker in self.workers()}
        expected = own.keys()
        seen: set[int] = set()
        listeners = len(expected) + 1
        for asked in range(1, 50 * listeners + 1):
            seen.add(_parse_pid(self.get("/health/live")[1]))
            if seen - expected:
                raise DeploymentError(f"port {self.port}: pid {min(seen - expected)} answers, which is not ours")
            if seen == expected and asked >= 20 * listeners:  # one more listener stays hidden once in 10^9 times
                return sorted(own.values())
        raise DeploymentError(f"workers {sorted(expected - seen)} never answered on port {self.port}")


class ExternalDeployment(Deployment):
    """A service that is not ours: whatever it started answers for it."""

    def workers(self) -> list[psutil.Process]:
        root = self.process.pid if self.process else _listening_pid(self.port)
        if root is None:
            return []  # another user's: it can be loaded, not looked at
        try:
            process = psutil.Process(root)
            return sorted([process, *process.children(recursive=True)], key=lambda one: one.pid)
        except psutil.NoSuchProcess:
            raise DeploymentError("the service ended while it was needed") from None

    def verify_identity(self) -> list[int]:
        """Its processes' pids. Raises DeploymentError where it is gone."""
        if self.has_ended():
            raise DeploymentError("the service ended while it was needed")
        return [worker.pid for worker in self.workers()]


def _listening_pid(port: int) -> int | None:
    """The process that listens on the port, where it is one that we may look at."""
    try:
        listeners = [it for it in psutil.net_connections("tcp") if it.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return None
    return next((it.pid for it in listeners if it.laddr and it.laddr.port == port and it.pid), None)


def _parse_pid(body: bytes) -> int:
    try:
        answer: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        return int(answer["pid"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        raise DeploymentError(f"what answers is not our service: {body[:80]!r}") from None
