"""TLS to a real server: `sslrootcert` and `sslmode` mean the same on every driver."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import get_args

import pytest
import sqlalchemy as sa

from bookstore.config.settings import Settings
from bookstore.database import sqlstate
from bookstore.database import url as database_url
from bookstore.database.unit_of_work import make_database
from bookstore.doctor import files
from bookstore.exceptions import ConfigurationError
from bookstore.lab.testbed.pgbouncer import PgBouncer
from bookstore.profile.engine_profile import Driver, EngineProfile

pytestmark = pytest.mark.anyio

PATIENCE_S = 20.0
Pooled = Callable[..., AbstractContextManager[PgBouncer]]
UNREACHABLE = ("db_unavailable", "The database cannot be reached.")


def certify(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the paths of a self-signed certificate for `name` and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-out", certificate, "-keyout", key],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Path:
    """A root certificate that did not sign the server's."""
    return certify(folder, "stranger")[0]


@pytest.fixture(scope="module")
def root(folder: Path) -> Path:
    """The server's certificate, which is its own root."""
    return certify(folder, "localhost")[0]


@pytest.fixture(scope="module")
def port(pooled: Pooled, root: Path) -> Iterator[int]:
    """The TCP port of a server that accepts TLS only, with a certificate for `localhost`. It is a PgBouncer, because
    the embedded PostgreSQL is built without TLS."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
    with pooled() as bouncer:
        for source, name in ((root, "server.crt"), (root.with_suffix(".key"), "server.key")):
            target = bouncer.folder / name
            target.write_bytes(source.read_bytes())
            target.chmod(0o644)
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(free),
            "client_tls_sslmode": "require",
            "client_tls_cert_file": str(bouncer.folder / "server.crt"),
            "client_tls_key_file": str(bouncer.folder / "server.key"),
        }
        file = bouncer.folder / "pgbouncer.ini"
        lines = [line for line in file.read_text().splitlines() if line.partition(" = ")[0] not in settings]
        file.write_text("\n".join([*lines, *(f"{key} = {value}" for key, value in settings.items()), ""]))
        bouncer.stop()
        bouncer.launch()
        deadline = time.monotonic() + PATIENCE_S
        while not accepts(free):
            assert time.monotonic() < deadline, (bouncer.folder / "pgbouncer.log").read_text()
            time.sleep(0.05)
        yield free


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture(params=get_args(Driver))
def driver(request: pytest.FixtureRequest) -> Driver:
    driver: Driver = request.param
    return driver


async def connects(driver: Driver, text: str) -> bool:
    """Whether the service connects to DATABASE_URL=`text`, on which the server insists on TLS."""
    profile = EngineProfile(
        name="tls", driver=driver, behind_pooler=True, prepared_statements=False, isolation_level="READ COMMITTED"
    )
    database = make_database(profile, database_url.parse(text))
    try:
        one: int = await database.run(lambda session: session.scalar(sa.text("SELECT 1")))
        return one == 1
    finally:
        await database.stop()


@pytest.mark.parametrize("mode", ["", "&sslmode=verify-full"])
async def test_system_roots(port: int, root: Path, driver: Driver, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sslrootcert=system` trusts the machine's root certificates and checks the server's host name."""
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    assert await connects(driver, f"postgresql://postgres@localhost:{port}/postgres?sslrootcert=system{mode}")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each driver has its own
        await connects(driver, f"postgresql://postgres@127.0.0.1:{port}/postgres?sslrootcert=system{mode}")
    assert sqlstate.server_problem(caught.value) == UNREACHABLE


async def test_stranger_to_the_system(
    port: int, stranger: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose certificate the machine does not trust is refused."""
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each driver has its own
        await connects(driver, f"postgresql://postgres@localhost:{port}/postgres?sslrootcert=system")
    assert sqlstate.server_problem(caught.value) == UNREACHABLE


async def test_required_with_a_root(port: int, root: Path, stranger: Path, driver: Driver) -> None:
    """`sslmode=require` with a root certificate checks the issuer but not the host name; without one, nothing."""
    text = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=require"
    assert await connects(driver, text)
    assert await connects(driver, f"{text}&sslrootcert={root}")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each driver has its own
        await connects(driver, f"{text}&sslrootcert={stranger}")
    assert sqlstate.server_problem(caught.value) == UNREACHABLE


def test_machine_without_roots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without any root certificates `system` is refused before anything connects, and says what to do."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    settings = Settings(data_dir=tmp_path, database_url="postgresql://me@host/books?sslrootcert=system")
    with pytest.raises(ConfigurationError, match=r"^DATABASE_URL: found sslrootcert=system, but no root certificates"):
        database_url.resolve(settings)


def test_doctor_leaves_the_system_alone(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Doctor does not report single certificates of the machine's bundle, some of which always expire soon."""
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    monkeypatch.setattr(files, "EXPIRY_WARNING_DAYS", 5000)
    assert list(files.certificate(database_url.parse("postgresql://me@host/books?sslrootcert=system"))) == []
    monkeypatch.delenv("SSL_CERT_FILE")
    named = database_url.parse(f"postgresql://me@host/books?sslmode=verify-full&sslrootcert={root}")
    assert len(list(files.certificate(named))) == 1
