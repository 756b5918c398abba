"""Deploy the service under a profile: start, wait for ready, prove who answers, stop, leave nothing."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
import sqlalchemy as sa

from bookstore.compression import decoded
from bookstore.database_url import conninfo
from bookstore.guardian import Guardian, end_process
from bookstore.lab.invalid import Invalid

READY_WITHIN_S: Final = 30
STOPPED_WITHIN_S: Final = 15
HOST: Final = "127.0.0.1"

# A server is started with these alone: what else is set in a shell must not tell two runs apart.
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "PYTHONPATH")


class DeploymentError(Invalid):
    """The service did not start, did not answer as itself, or did not stop."""


class Deployment:
    """A running service."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self.base = f"http://{HOST}:{port}"

    def workers(self) -> list[psutil.Process]:
        """The worker processes, by pid. Raises DeploymentError where the service is gone."""
        try:
            return sorted(psutil.Process(self.process.pid).children(), key=lambda worker: worker.pid)
        except psutil.NoSuchProcess:
            raise DeploymentError("the service ended while it was needed") from None

    def get(self, path: str, headers: Mapping[str, str] | None = None, timeout_s: float = 10) -> tuple[int, bytes]:
        """(status, decoded body) of a GET over a new connection. Raises DeploymentError where no answer comes."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout_s)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, decoded(response.read(), response.getheader("Content-Encoding"))
        except (OSError, http.client.HTTPException) as error:
            raise DeploymentError(f"GET {self.base}{path}: no answer: {error!r}") from None
        finally:
            connection.close()

    def prove_identity(self) -> list[int]:
        """The workers' pids, once each of them has answered for itself and nobody else has.

        The kernel spreads connections over all sockets bound to the port, a leftover server's too: a
        foreign answer would come up here. Raises DeploymentError.
        """
        expected = {worker.pid for worker in self.workers()}
        seen: set[int] = set()
        listeners = len(expected) + 1
        for asked in range(1, 50 * listeners + 1):
            seen.add(_pid(self.get("/health/live")[1]))
            if seen - expected:
                raise DeploymentError(f"port {self.port}: pid {min(seen - expected)} answers, which is not ours")
            if seen == expected and asked >= 20 * listeners:  # one more listener stays hidden once in 10^9 times
                return sorted(expected)
        raise DeploymentError(f"workers {sorted(expected - seen)} never answered on port {self.port}")


@contextmanager
def deploy(
    spec: str, url: sa.URL, folder: Path, guardian: Guardian, workers: int | None = None
) -> Iterator[Deployment]:
    """The service under the profile `spec` on the database `url`, ready; stopped when the block ends.

    Its output goes to `folder`/service.log. Raises DeploymentError with the end of that log.
    """
    port = free_port()
    environment = {key: os.environ[key] for key in _INHERITED if key in os.environ}
    environment |= {"BOOKSTORE_PROFILE": spec, "DATABASE_URL": conninfo(url), "PYTHONUNBUFFERED": "1"}
    environment["BOOKSTORE_DATA_DIR"] = str(folder.absolute())  # the tokens in the user's are not the lab's
    if workers:
        environment["WEB_CONCURRENCY"] = str(workers)
    log_file = folder / "service.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bookstore", "serve", "--host", HOST, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    guardian.watch("group", process.pid)
    try:
        deployment = Deployment(process, port)
        _wait_ready(deployment, log_file)
        yield deployment
    finally:
        end_process(process, STOPPED_WITHIN_S)
        guardian.forget("group", process.pid)


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], within_s: float) -> bool:
    """Whether `condition` came true within `within_s` seconds; asked every 50 ms."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _wait_ready(deployment: Deployment, log_file: Path) -> None:
    def answered() -> bool:
        if deployment.process.poll() is not None:
            raise DeploymentError(f"the service ended at its start:\n{_tail(log_file)}")
        try:
            return deployment.get("/health/ready")[0] == http.client.OK
        except DeploymentError:
            return False

    if not wait_until(answered, READY_WITHIN_S):
        raise DeploymentError(f"not ready within {READY_WITHIN_S} s:\n{_tail(log_file)}")


def _pid(body: bytes) -> int:
    try:
        answer: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        return int(answer["pid"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        raise DeploymentError(f"what answers is not our service: {body[:80]!r}") from None


def _tail(log_file: Path) -> str:
    return "\n".join(log_file.read_text(errors="replace").splitlines()[-15:])
