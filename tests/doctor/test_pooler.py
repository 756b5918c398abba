"""A real PgBouncer between doctor and the database."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bookstore.postgres import run_as_owner

from .conftest import PATIENCE_S, Examined

pytestmark = pytest.mark.skipif(not shutil.which("pgbouncer"), reason="needs pgbouncer")


@pytest.fixture
def pooled(url: sa.URL) -> Iterator[sa.URL]:
    """The database through a PgBouncer in transaction mode, which takes what the drivers ask for at the start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PgBouncer does not run as root, and reads its file
        file = Path(folder) / "pgbouncer.ini"
        where = f"host={url.query['host']} port={url.query['port']}" if "host" in url.query else f"host={url.host}"
        file.write_text(
            f"[databases]\n{url.database} = {where} user={url.username}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = transaction\n"
            "unix_socket_dir =\nignore_startup_parameters = extra_float_digits, options, statement_timeout, "
            "idle_in_transaction_session_timeout\n"
        )
        process = subprocess.Popen(
            ["pgbouncer", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **run_as_owner()
        )
        try:
            end = time.monotonic() + PATIENCE_S
            while not _listens(port):
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.02)
            yield url.set(host="127.0.0.1", port=port, query={})
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_pooler_is_seen(examined: Examined, pooled: sa.URL, url: sa.URL) -> None:
    """A pooler is told from PostgreSQL; prepared statements behind it are a warning."""
    assert examined(url, "pooler") == []
    [found] = examined(pooled, "pooler", BOOKSTORE_PROFILE="default@prepared_statements=on")
    assert found.level == "warning"
    assert "and the profile prepares statements" in found.found
    [found] = examined(pooled, "pooler", BOOKSTORE_PROFILE="default@prepared_statements=off")
    assert found.level == "note"
