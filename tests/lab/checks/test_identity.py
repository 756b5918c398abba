"""Identity checks: PostgreSQL's data shows whether a deployment is what its profile says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import psycopg
import pytest

from bookstore.catalog import datasets
from bookstore.lab.checks import identity, statement_log
from bookstore.lab.checks.identity import IdentityError
from bookstore.lab.checks.statement_log import Statement
from bookstore.lab.record.run_record import Catalogue
from bookstore.lab.testbed.database import DATABASE, BenchmarkDatabase, benchmark_database
from bookstore.lab.testbed.deployment import Pooler
from bookstore.lab.testbed.pgbouncer import PgBouncer, pgbouncer
from bookstore.lab.testbed.process import deploy
from bookstore.profile import loader
from bookstore.reaper import Reaper

Pooled = Callable[..., AbstractContextManager[PgBouncer]]
SPECS = [
    "asyncpg-json@isolation_level=READ COMMITTED", "asyncpg-json@prepared_statements=off", "asyncpg-rows",
    "asyncpg-json@isolation_level=READ COMMITTED,prepared_statements=off",
    "asyncpg-lazy", "asyncpg-joined@loading=subquery", "psycopg-selectin", "psycopg-sync-joined@workers=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def lab(reaper: Reaper) -> Iterator[BenchmarkDatabase]:
    def fill(connection: psycopg.Connection) -> Catalogue:
        datasets.generate(connection, books=60, seed=1)
        return Catalogue("generated, seed 1", 60)

    with benchmark_database(reaper, fill, writes=False) as database:
        database.restore()
        yield database


@pytest.mark.parametrize("spec", SPECS)
def test_every_driver_and_strategy_is_recognised(
    lab: BenchmarkDatabase, reaper: Reaper, tmp_path: Path, spec: str
) -> None:
    """Every driver and loading strategy is recognised from PostgreSQL's data."""
    profile = loader.load(spec)
    with deploy(spec, lab.url, tmp_path, reaper) as deployment:
        identity.verify(profile, deployment, lab.connection, DATABASE)
        captured = statement_log.capture(lab.connection, deployment, identity.PATH, identity.HEADERS)
        identity.verify_driver(profile, captured)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("asyncpg-pgbouncer", ["BEGIN ISOLATION LEVEL READ COMMITTED", "SELECT", "WITH", "ROLLBACK"]),
        ("psycopg-pgbouncer@workers=2,loading=selectin", ["SELECT", "SELECT", "SELECT", "SELECT"]),
        ("psycopg-sync-pgbouncer", ["SELECT", "WITH"]),
    ],
)
def test_recognised_behind_pgbouncer(
    lab: BenchmarkDatabase, reaper: Reaper, tmp_path: Path, pooled: Pooled, spec: str, expected: list[str]
) -> None:
    """Recognised behind PgBouncer too, which only adds statements that set the name of a session's next client."""
    profile = loader.load(spec)
    with pgbouncer(lab.server.url(), reaper) as bouncer:
        pooler = Pooler(bouncer.pid, bouncer.url(DATABASE))
        with deploy(spec, lab.url, tmp_path, reaper, pooler=pooler) as deployment:
            identity.verify(profile, deployment, lab.connection, DATABASE)
            with pytest.raises(IdentityError, match=r"pg_stat_activity shows .* expected are some of other"):
                identity.verify(msgspec.structs.replace(profile, name="other"), deployment, lab.connection, DATABASE)
            captured = statement_log.capture(lab.connection, deployment, identity.PATH, identity.HEADERS)
    identity.verify_driver(profile, captured)
    statements = [sql for _, sql in captured if not sql.startswith("SET application_name")]
    assert [sql[: len(start)] for sql, start in zip(statements, expected, strict=True)] == expected


def test_what_goes_past_pgbouncer_is_refused(
    lab: BenchmarkDatabase, reaper: Reaper, tmp_path: Path, pooled: Pooled
) -> None:
    """A service that bypasses PgBouncer is not a service behind PgBouncer."""
    with (
        pgbouncer(lab.server.url(), reaper) as bouncer,
        deploy("psycopg-joined", lab.url, tmp_path, reaper) as deployment,
    ):
        deployment.pooler = Pooler(bouncer.pid, bouncer.url(DATABASE))
        with pytest.raises(IdentityError, match="PgBouncer shows sessions of none; expected are psycopg-joined"):
            identity.verify(loader.load("psycopg-joined"), deployment, lab.connection, DATABASE)


def test_what_is_not_the_profile_is_refused(lab: BenchmarkDatabase, reaper: Reaper, tmp_path: Path) -> None:
    """A different loading strategy, driver or name is detected."""
    with deploy("asyncpg-json", lab.url, tmp_path, reaper) as deployment:
        real = loader.load("asyncpg-json")
        with pytest.raises(IdentityError, match=r"loading: json; the profile says loading: joined"):
            identity.verify(msgspec.structs.replace(real, loading="joined"), deployment, lab.connection, DATABASE)
        with pytest.raises(IdentityError, match=r"shows sessions of asyncpg-json in process \d+; expected are other"):
            identity.verify(msgspec.structs.replace(real, name="other"), deployment, lab.connection, DATABASE)
        captured = statement_log.capture(lab.connection, deployment, identity.PATH, identity.HEADERS)
        with pytest.raises(IdentityError, match="log shows asyncpg; the profile says psycopg"):
            identity.verify_driver(msgspec.structs.replace(real, driver="psycopg"), captured)


@pytest.mark.parametrize(
    ("how", "driver"),
    [
        (["execute __asyncpg_stmt_6__"], "asyncpg"),
        (["execute <unnamed>"], "asyncpg"),
        (["statement"], "psycopg"),
        (["execute <unnamed>", "execute _pg3_4"], "psycopg"),
        (["statement", "execute <unnamed>"], "psycopg"),
    ],
)
def test_drivers_are_told_by_their_protocol(how: list[str], driver: str) -> None:
    """Names of prepared statements decide first, then the protocol, whatever precedes the statement."""
    begin = Statement("statement", "BEGIN ISOLATION LEVEL READ COMMITTED")
    assert identity.detect_driver([begin, *(Statement(prefix, "SELECT 1") for prefix in how)]) == driver
    assert identity.detect_driver([Statement(prefix, "SELECT 1") for prefix in how]) == driver


@pytest.mark.parametrize(
    ("queries", "per_request", "loading"),
    [(["SELECT 1"], 1, None), (["SELECT id FROM book", "SELECT 2"], 2, None), (["SELECT 1"], 41, "lazy")],
)
def test_unknown_forms_are_no_strategy(queries: list[str], per_request: float, loading: str | None) -> None:
    """Statements of an unknown form match no strategy."""
    assert identity.detect_loading(queries, per_request) == loading
