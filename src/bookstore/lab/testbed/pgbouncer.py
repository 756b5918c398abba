"""A private PgBouncer in transaction mode before a PostgreSQL server on this machine, using the system's program.

It listens on a Unix socket in a folder that only its user may enter, as the embedded server does. A comparison with a
direct connection therefore differs only in having two sockets of the same kind instead of one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
import sqlalchemy as sa

from bookstore.database import pooler
from bookstore.database.budget import PoolerCapacity
from bookstore.database.embedded import SUPERUSER, run_as_owner
from bookstore.exceptions import ConfigurationError
from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.testbed.process import wait_until
from bookstore.reaper import Reaper, end_process

READY_WITHIN_S: Final = 10
STOPPED_WITHIN_S: Final = 5
PORT: Final = "6432"
"""Part of the socket's name; no TCP port is opened."""

CAPACITY: Final = PoolerCapacity(max_client_conn=1000, clients=0, pool_size=20)
# As in deploy/pgbouncer/pgbouncer.ini except for logins: access to the folder is access to the database.
SETTINGS: Final[Mapping[str, str]] = {
    "pool_mode": "transaction",
    "auth_type": "trust",
    "max_client_conn": str(CAPACITY.max_client_conn),
    "default_pool_size": str(CAPACITY.pool_size),
    "log_connections": "0",
    "log_disconnections": "0",
}
CONNECT_QUERY: Final = "SET statement_timeout = '5s'; SET idle_in_transaction_session_timeout = '10s'"
"""Session settings that PgBouncer applies on PostgreSQL; clients would set them at startup, which PgBouncer rejects."""


class PgBouncerError(InvalidMeasurement):
    """PgBouncer did not start."""


class PgBouncer:
    """A PgBouncer whose settings, log and socket are in `folder`."""

    def __init__(self, folder: Path, program: str, reaper: Reaper) -> None:
        self.folder = folder
        self._program = program
        self._reaper = reaper
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def url(self, database: str) -> sa.URL:
        """Return the URL for clients, without a driver."""
        query = {"host": str(self.folder), "port": PORT}
        return sa.URL.create("postgresql", SUPERUSER, database=database, query=query)

    def start(self) -> None:
        """Start PgBouncer and wait until it accepts a client. Raises PgBouncerError."""
        self.launch()
        if not wait_until(self._is_ready, READY_WITHIN_S):
            raise PgBouncerError(f"PgBouncer accepted no client within {READY_WITHIN_S} s: {self._log_tail()}")

    def launch(self) -> None:
        """Start the process without waiting."""
        self._process = subprocess.Popen(
            [self._program, "--quiet", self.folder / "pgbouncer.ini"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            start_new_session=True,
            **run_as_owner(),  # PgBouncer refuses to run as root, as PostgreSQL does
        )
        self._reaper.watch("group", self.pid)

    def stop(self) -> None:
        """Stop PgBouncer and close every connection through it."""
        if self._process:
            end_process(self._process, STOPPED_WITHIN_S)
            self._reaper.forget("group", self.pid)
            self._process = None

    def _is_ready(self) -> bool:
        if self._process and self._process.poll() is not None:
            raise PgBouncerError(f"PgBouncer ended during startup: {self._log_tail()}")
        try:
            pooler.console(self.url(pooler.CONSOLE)).close()
        except psycopg.OperationalError:
            return False
        return True

    def _log_tail(self) -> str:
        log = self.folder / "pgbouncer.log"
        return log.read_text(errors="replace")[-1000:].strip() if log.exists() else "there is no log"


@contextmanager
def pgbouncer(
    server: sa.URL, reaper: Reaper, settings: Mapping[str, str] = {}, *, connect_query: str = CONNECT_QUERY
) -> Iterator[PgBouncer]:
    """A PgBouncer before `server`, which listens on a Unix socket of this machine.

    It is gone when the block ends, however this process ends. Raises ConfigurationError if PgBouncer is not installed.
    """
    program = executable()
    folder = Path(tempfile.mkdtemp(prefix="bookstore-pgbouncer-"))
    reaper.watch("folder", folder)
    bouncer = PgBouncer(folder, program, reaper)
    try:
        _write_config(folder, server, {**SETTINGS, **settings}, connect_query)
        bouncer.start()
        yield bouncer
    finally:
        bouncer.stop()
        shutil.rmtree(folder, ignore_errors=True)
        reaper.forget("folder", folder)


def executable() -> str:
    """Return the path of PgBouncer's program. Raises ConfigurationError if there is none."""
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"  # Debian's place for it
    if program := shutil.which("pgbouncer", path=path):
        return program
    raise ConfigurationError(
        "pgbouncer: not installed, but required by a profile with behind_pooler: on; on Debian: apt install pgbouncer"
    )


def _write_config(folder: Path, server: sa.URL, settings: Mapping[str, str], connect_query: str) -> None:
    """Write pgbouncer.ini and userlist.txt, owned like the folder by the user who runs PgBouncer."""
    quoted = connect_query.replace("'", "''")
    lines = [
        "[databases]",
        f"* = host={server.query['host']} port={server.query['port']} connect_query='{quoted}'",
        "[pgbouncer]",
        "listen_addr =",
        f"listen_port = {PORT}",
        f"unix_socket_dir = {folder}",
        "unix_socket_mode = 0700",
        f"auth_file = {folder}/userlist.txt",
        f"admin_users = {SUPERUSER}",
        f"logfile = {folder}/pgbouncer.log",
        *(f"{key} = {value}" for key, value in settings.items()),
    ]
    (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
    (folder / "userlist.txt").write_text(f'"{SUPERUSER}" ""\n')
    if owner := run_as_owner():
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner["user"], owner["group"])
