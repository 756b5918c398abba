from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from bookstore.lab.checks.consistency import InconsistentAnswersError, collect_answers, compare
from bookstore.lab.testbed.deployment import Deployment
from bookstore.lab.testbed.process import deploy
from bookstore.lab.workload.spec import RequestSpec, Workload
from bookstore.reaper import Reaper

BOOKS = 60


def test_real_answers(library: sa.URL, connection: psycopg.Connection, tmp_path: Path, reaper: Reaper) -> None:
    """Two strategies answer alike; a changed title is found, with its path and both answers."""
    workload = Workload(name="it", requests=[RequestSpec(name="it", path="/books/{id}")])
    with deploy("psycopg-sync-lazy", library, tmp_path, reaper) as deployment:
        slow = collect_answers(deployment, workload, range(1, BOOKS + 1))
    with deploy("asyncpg-json", library, tmp_path, reaper) as deployment:
        fast = collect_answers(deployment, workload, range(1, BOOKS + 1))
        compare("fast", fast, "slow", slow)
        assert {f"/books/{BOOKS}", "/books/1", f"/books/{BOOKS + 1}", "/books?limit=37"} <= fast.keys()
        assert sum("cursor" in path for path in fast) == 1  # 60 books are two pages of 37
        assert fast[f"/books/{BOOKS}"]["status"] == 200
        assert fast[f"/books/{BOOKS + 1}"]["status"] == 404
        (title,) = connection.execute("SELECT title FROM book WHERE id = 1").fetchone() or ("",)
        connection.execute("UPDATE book SET title = 'forged' WHERE id = 1")
        try:
            forged = collect_answers(deployment, workload, range(1, BOOKS + 1))
        finally:
            connection.execute("UPDATE book SET title = %s WHERE id = 1", [title])
    with pytest.raises(
        InconsistentAnswersError, match=r"(?s)forged and slow answer GET /books/1 differently:.*forged: .*slow: "
    ) as error:
        compare("forged", forged, "slow", slow)
    assert '"title":"forged"' in str(error.value)


def test_headers(library: sa.URL, tmp_path: Path, reaper: Reaper) -> None:
    """Profiles must also agree on requests with the workload's headers. Encoded bodies are compared decoded, so
    compression makes no difference."""
    workload = Workload(
        name="it", requests=[RequestSpec(name="it", path="/books?limit=60", headers={"accept-encoding": "br"})]
    )
    answers = []
    for spec in ("asyncpg-json@compression=on", "asyncpg-json@compression=off"):
        with deploy(spec, library, tmp_path, reaper) as deployment:
            answers.append(collect_answers(deployment, workload, range(1, BOOKS + 1)))
    compare("on", answers[0], "off", answers[1])
    with_headers = answers[0]["/books?limit=60 with headers 0"]
    assert with_headers == answers[0]["/books?limit=60"]
    assert len(with_headers["body"]["items"]) == BOOKS


class Unchanged(Deployment):
    """A service that answers every conditional request with 304."""

    def __init__(self) -> None:
        """Nothing is started."""

    def get(self, path: str, headers: Any = None, timeout_s: float = 10) -> tuple[int, bytes]:  # noqa: ARG002 - the real signature
        return (304, b"") if headers else (200, b"{}")


def test_not_modified() -> None:
    """A 304 has no body to compare; its status is compared."""
    workload = Workload(name="it", requests=[RequestSpec(name="it", path="/books/1", headers={"If-None-Match": "*"})])
    assert collect_answers(Unchanged(), workload, [1])["/books/1 with headers 0"] == {"status": 304, "body": None}


class Page(Deployment):
    """A service that answers with HTML."""

    def __init__(self) -> None:
        """Nothing is started."""

    def get(self, path: str, headers: Any = None, timeout_s: float = 10) -> tuple[int, bytes]:  # noqa: ARG002 - the real signature
        return 200, b"<html>"


def test_no_json() -> None:
    """Answers that are not JSON cannot be compared."""
    with pytest.raises(InconsistentAnswersError, match=r"GET /books/1: status 200, not JSON: b'<html>'"):
        collect_answers(Page(), Workload(name="it", requests=[RequestSpec(name="it", path="/books/1")]), [1])


@pytest.mark.parametrize(
    ("answer", "other_answer"),
    [
        ({"status": 200, "body": []}, {"status": 500, "body": []}),
        ({"status": 200, "body": [1, 2]}, {"status": 200, "body": [2, 1]}),
        ({"status": 200, "body": {"a": 1}}, {"status": 200, "body": {"a": 1, "b": None}}),
        ({"status": 200, "body": "x" * 9000}, None),
    ],
)
def test_compare(answer: dict[str, object], other_answer: dict[str, object] | None) -> None:
    """A different status, order or key, or a missing answer, is a difference; the message stays short."""
    other = {"/same": {"status": 200, "body": 1}} | ({"/books": other_answer} if other_answer else {})
    with pytest.raises(InconsistentAnswersError, match="one and two answer GET /books differently") as error:
        compare("one", {"/same": {"status": 200, "body": 1}, "/books": answer}, "two", other)
    assert len(str(error.value)) < 600
    compare("one", other, "two", dict(other))
