"""Deploys a service as local processes: start, wait until it is ready, stop, leave nothing behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from bookstore.database.url import conninfo
from bookstore.lab.testbed import readiness
from bookstore.lab.testbed.deployment import HOST, Deployment, ExternalDeployment, Pooler
from bookstore.lab.testbed.external import External, fill_placeholders
from bookstore.lab.testbed.limits import ResourceLimiter
from bookstore.lab.testbed.readiness import wait_ready
from bookstore.reaper import Reaper, end_process

STOPPED_WITHIN_S: Final = 15
LOG: Final = "service.log"

# Only these are inherited: other variables of the shell must not make two runs differ.
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "PYTHONPATH")


@contextmanager
def deploy(
    spec: str,
    url: sa.URL,
    folder: Path,
    reaper: Reaper,
    workers: int | None = None,
    *,
    limiter: ResourceLimiter | None = None,
    metrics: bool = False,
    pooler: Pooler | None = None,
) -> Iterator[Deployment]:
    """The service under the profile `spec` on the database `url` (through `pooler`, if given); stopped when the block
    ends.

    Its output goes to `folder`/service.log. With `metrics` it serves its metrics on a port of their own. Raises
    DeploymentError with the end of the log if it does not become ready.
    """
    port = free_port()
    database = conninfo(pooler.url if pooler else url)
    environment = _environment() | {"BOOKSTORE_PROFILE": spec, "DATABASE_URL": database, "PYTHONUNBUFFERED": "1"}
    environment["BOOKSTORE_LOG_FORMAT"] = "text"  # its end may be part of an error message
    environment["BOOKSTORE_DATA_DIR"] = str(folder.absolute())  # not the user's tokens
    metrics_url = None
    if metrics:
        environment["BOOKSTORE_METRICS_PORT"] = str(metrics_port := free_port())
        metrics_url = f"http://{HOST}:{metrics_port}/metrics"
    if workers:
        environment["WEB_CONCURRENCY"] = str(workers)
    command = [sys.executable, "-P", "-m", "bookstore", "serve", "--host", HOST, "--port", str(port)]
    with _process_group(command, environment, folder, Path.cwd(), reaper, limiter) as process:
        deployment = Deployment(process, port, metrics_url=metrics_url, pooler=pooler)
        wait_ready(deployment, "/health/ready", lambda: _log_tail(folder / LOG))
        yield deployment


@contextmanager
def deploy_external(
    service: External, url: sa.URL, folder: Path, reaper: Reaper, *, limiter: ResourceLimiter | None = None
) -> Iterator[Deployment]:
    """An external service, ready; stopped when the block ends unless it ran before. Raises DeploymentError."""
    if service.url:
        deployment = readiness.address(service)
        wait_ready(deployment, service.ready, within_s=readiness.RUNNING_WITHIN_S)
        yield deployment
        return
    port, database = free_port(), conninfo(url)
    environment = _environment() | {k: fill_placeholders(v, port, database) for k, v in service.environment.items()}
    command = [fill_placeholders(word, port, database) for word in service.command]
    with _process_group(command, environment, folder, service.directory, reaper, limiter) as process:
        deployment = ExternalDeployment(process, port)
        wait_ready(deployment, service.ready, lambda: _log_tail(folder / LOG))
        yield deployment


@contextmanager
def _process_group(
    command: list[str],
    environment: dict[str, str],
    folder: Path,
    directory: Path,
    reaper: Reaper,
    limiter: ResourceLimiter | None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process group of its own, within `limiter`, that has ended when the block ends."""
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )
    reaper.watch("group", process.pid)
    try:
        if limiter:
            limiter.enter(process.pid)  # before Python has imported anything: its children are limited too
        yield process
    finally:
        end_process(process, STOPPED_WITHIN_S)
        reaper.forget("group", process.pid)


def _environment() -> dict[str, str]:
    return {key: os.environ[key] for key in _INHERITED if key in os.environ}


def free_port() -> int:
    """Return a port of the loopback address on which nothing listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], within_s: float) -> bool:
    """Return whether `condition` became true within `within_s` seconds; it is called every 50 ms."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _log_tail(log_file: Path) -> str:
    return "\n".join(log_file.read_text(errors="replace").splitlines()[-15:])
