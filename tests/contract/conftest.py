"""Fixtures: a process of `bookstore serve` on a database with a few books."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, LiteralString

import httpx
import pytest
import sqlalchemy as sa

from bookstore.auth.tokens import create
from bookstore.database.url import conninfo
from bookstore.lab.testbed.deployment import HOST
from bookstore.lab.testbed.process import free_port, wait_until
from bookstore.reaper import end_process

READY_WITHIN_S: Final = 30
STOPPED_WITHIN_S: Final = 15

TOKEN, ACCEPTED = create("contract", ["catalog:write", "admin"], date(2026, 1, 1))

CATALOGUE: Final[tuple[LiteralString, ...]] = (
    "INSERT INTO author (name) VALUES ('Jane Austen'), ('Ben'), ('Jane Austen')",
    "INSERT INTO genre (name, slug) VALUES ('Drama', 'drama'), ('Poetry', 'poetry'), ('Satire', 'satire')",
    "INSERT INTO book (title, isbn13, publication_year, language) VALUES ('Emma', '9780439023481', 1815, 'en')",
    "INSERT INTO book (title, publication_year) SELECT 'Book ' || n, 1900 + n FROM generate_series(2, 25) n",
    "INSERT INTO book_author VALUES (1, 0, 2), (1, 1, 1), (2, 0, 1)",
    "INSERT INTO book_genre VALUES (1, 1), (2, 1), (2, 2)",
    "INSERT INTO book_document SELECT id, search_document(title, '') FROM book",
    "INSERT INTO search_word SELECT DISTINCT unnest(tsvector_to_array(document)) FROM book_document",
)
"""Books 1 to 25, authors and genres 1 to 3; no book refers to author 3 or genre 3."""


@dataclass(frozen=True)
class Service:
    """A running service and its log file."""

    port: int
    log: Path

    @property
    def base(self) -> str:
        return f"http://{HOST}:{self.port}"


Start = Callable[[str], AbstractContextManager[Service]]


@pytest.fixture
def start(own_database: Callable[..., AbstractContextManager[sa.URL]], tmp_path: Path) -> Start:
    """Serves CATALOGUE on a fresh database each time: `with start(profile) as service`."""

    @contextmanager
    def started(profile: str) -> Iterator[Service]:
        with own_database(*CATALOGUE) as url, _process(profile, url, tmp_path / "service.log") as service:
            yield service

    return started


@contextmanager
def _process(profile: str, url: sa.URL, log: Path) -> Iterator[Service]:
    service = Service(free_port(), log)
    environment = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
    environment |= {
        "HOME": str(log.parent),
        "DATABASE_URL": conninfo(url),
        "BOOKSTORE_PROFILE": profile,
        "BOOKSTORE_API_TOKENS": ACCEPTED.line(),
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "bookstore", "serve", "--host", HOST, "--port", str(service.port)],
            env=environment,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        is_ready = wait_until(lambda: process.poll() is not None or _is_ready(service.port), READY_WITHIN_S)
        assert is_ready, log.read_text()
        assert process.poll() is None, log.read_text()
        yield service
    finally:
        end_process(process, STOPPED_WITHIN_S)


def _is_ready(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://{HOST}:{port}/health/ready", timeout=10).is_success
    return False
