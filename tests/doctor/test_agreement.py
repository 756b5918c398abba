"""Doctor and `serve` agree: everything that prevents startup is a problem, and nothing else is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import get_args

import httpx
import pytest
import sqlalchemy as sa

from bookstore.database.url import conninfo
from bookstore.profile.engine_profile import Driver

from .conftest import PATIENCE_S, Doctor, parse

EVERYWHERE = "0.0.0.0"  # noqa: S104 - the address under test
TOKEN = f"ci catalog:write {'0' * 64}"

REFUSED: dict[str, tuple[list[str], dict[str, str], str]] = {
    "unknown profile": (["-p", "asyncpg-jsno"], {}, "'asyncpg-jsno', which is not a profile"),
    "unknown key": (["-p", "default@pool_szie=20"], {}, "pool_szie: found an unknown key"),
    "two violations": (["-p", "default@workers=0,gc=off"], {}, "workers: found 0"),
    "no folder of profiles": ([], {"BOOKSTORE_PROFILES_DIR": "/none"}, "BOOKSTORE_PROFILES_DIR: found '/none'"),
    "no such exporter": ([], {"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: found 'zipkin'"),
    "no pooler": (["-p", "psycopg-pgbouncer"], {}, "behind_pooler is on, and PostgreSQL itself answers at"),
    "no pooler, embedded": (
        ["-p", "psycopg-pgbouncer"],
        {"DATABASE_URL": ""},
        "behind_pooler is on, and DATABASE_URL is not set",
    ),
    "wrong port": ([], {"BOOKSTORE_PORT": "http"}, "BOOKSTORE_PORT: found 'http'"),
    "wrong port, and an argument": (["--port", "{port}"], {"BOOKSTORE_PORT": "http"}, "BOOKSTORE_PORT: found 'http'"),
    "another database": ([], {"DATABASE_URL": "mysql://me@host/books"}, "DATABASE_URL: found the scheme 'mysql'"),
    "unreachable database": ([], {"DATABASE_URL": "postgresql://me@127.0.0.1:1/books"}, "cannot be reached"),
    "no such database": ([], {"DATABASE_URL": "{nowhere}"}, 'database "nowhere" does not exist'),
    "no password file": ([], {"DATABASE_PASSWORD_FILE": "/none"}, "DATABASE_PASSWORD_FILE: /none cannot be read"),
    "over budget": (["-p", "default@pool_size=200"], {}, "over the connection budget: needs 400"),
    "over budget by workers": ([], {"WEB_CONCURRENCY": "50"}, "over the connection budget: needs 255"),
    "beyond the loopback": (["--host", EVERYWHERE], {}, "no token is configured for writing"),
    "a wrong token": ([], {"BOOKSTORE_API_TOKENS": "ci catalog:write abc"}, "BOOKSTORE_API_TOKENS:1"),
    "no tokens file": ([], {"BOOKSTORE_API_TOKENS_FILE": "/none"}, "/none: cannot be read"),
    "tokens twice": (
        [],
        {"BOOKSTORE_API_TOKENS": TOKEN, "BOOKSTORE_API_TOKENS_FILE": "/none"},
        "BOOKSTORE_API_TOKENS and BOOKSTORE_API_TOKENS_FILE are both set",
    ),
    "port taken": (["--port", "{taken}"], {}, "cannot listen: Address already in use"),
    "metrics port taken": (["--metrics-port", "{taken}"], {}, "cannot listen: Address already in use"),
    "same port twice": (["--metrics-port", "{port}"], {}, "the service and its metrics cannot share a port"),
    "foreign address": (["--host", "192.0.2.1", "--read-only"], {}, "192.0.2.1:{port}: cannot listen"),
}

STARTED: dict[str, tuple[list[str], dict[str, str], str]] = {
    **{f"default, {driver}": (["-p", f"default@driver={driver}"], {}, "") for driver in get_args(Driver)},
    "over budget, allowed": (["-p", "default@pool_size=60", "--over-budget"], {}, "over the connection budget"),
    "beyond the loopback, read-only": (["--host", EVERYWHERE, "--read-only"], {}, ""),
    "beyond the loopback, tokens": (["--host", EVERYWHERE], {"BOOKSTORE_API_TOKENS": TOKEN}, ""),
    "world-readable tokens": (
        [],
        {"BOOKSTORE_API_TOKENS_FILE": "{home}/open"},
        "other users have access (mode 0644)",
    ),
    "old schema": ([], {"DATABASE_URL": "{blank}"}, "the database's schema is at None, this version needs"),
}


@pytest.fixture
def places(
    server_url: sa.URL, url: sa.URL, blank_url: sa.URL, free_port: int, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """The values of the placeholders in the cases."""
    (tmp_path / "open").write_text(TOKEN + "\n")
    (tmp_path / "open").chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield {
            "port": str(free_port),
            "taken": str(taken.getsockname()[1]),
            "nowhere": conninfo(server_url.set(database="nowhere")),
            "url": conninfo(url),
            "blank": conninfo(blank_url),
            "home": str(tmp_path),
        }


def fill_in(
    case: tuple[list[str], dict[str, str], str], places: dict[str, str]
) -> tuple[list[str], dict[str, str], str]:
    """Return the arguments, variables and cause of a case with their placeholders filled in."""

    def filled(text: str) -> str:
        for name, value in places.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    arguments, variables, cause = case
    given = {"DATABASE_URL": "{url}", "BOOKSTORE_PORT": "{port}", "BOOKSTORE_PROFILE": "default", **variables}
    return [filled(text) for text in arguments], {name: filled(text) for name, text in given.items()}, filled(cause)


@contextmanager
def serving(arguments: list[str], environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "bookstore", "serve", *arguments],
            env=environ,
            cwd=log.parent,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refused_startup_is_a_problem(
    case: tuple[list[str], dict[str, str], str],
    places: dict[str, str],
    run_doctor: Doctor,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """If serve refuses to start, doctor exits with code 2 too, and both report the same cause."""
    arguments, variables, cause = fill_in(case, places)
    doctor_run = run_doctor(*arguments, "--json", **variables)
    with serving(arguments, environment | variables, tmp_path / "log") as process:
        assert process.wait(PATIENCE_S) == 2
    assert cause in one_line((tmp_path / "log").read_text())
    assert doctor_run.returncode == 2, doctor_run.stdout + doctor_run.stderr
    problems = [finding for finding in parse(doctor_run)["findings"] if finding["level"] == "problem"]
    assert any(cause in finding["found"] for finding in problems), problems
    assert not parse(doctor_run)["starts"]


@pytest.mark.parametrize("case", STARTED.values(), ids=STARTED)
def test_successful_startup_is_no_problem(
    case: tuple[list[str], dict[str, str], str],
    places: dict[str, str],
    run_doctor: Doctor,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """If serve starts, doctor exits with code 0. It warns of what is wrong, and of nothing else except the tests'
    superuser."""
    arguments, variables, cause = fill_in(case, places)
    doctor_run = run_doctor(*arguments, "--json", **variables)
    assert doctor_run.returncode == 0, doctor_run.stdout + doctor_run.stderr
    with serving(arguments, environment | variables, tmp_path / "log") as process:
        end = time.monotonic() + PATIENCE_S
        while not is_alive(places["port"]):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.05)
    findings = parse(doctor_run)["findings"]
    warnings = [finding for finding in findings if finding["level"] == "warning" and finding["check"] != "role"]
    assert len(warnings) == bool(cause), warnings
    assert all(cause in finding["found"] for finding in warnings)


def is_alive(port: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
    return False
