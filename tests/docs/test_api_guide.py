"""Runs the commands of docs/api.md in a shell against a real service and compares the answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
import sqlalchemy as sa

from bookstore.auth.tokens import create
from bookstore.database.url import conninfo

GUIDE = Path(__file__).parents[2] / "docs" / "api.md"
BASE = "http://127.0.0.1:8000"
END = "--- end of the answer, exit code"
TOKEN, _ENTRY = create("guide", ["catalog:write"], date(2026, 1, 1))


class Line(NamedTuple):
    """A command of the guide, its line number, and the answer shown below it."""

    number: int
    command: str
    shown: str


def parse_lines(text: str) -> list[Line]:
    """Parse a page's console blocks: `$ command`, continued after a backslash, then its answer."""
    lines: list[Line] = []
    block = goes_on = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            block = line == "```console"
        elif block and line.startswith("$ "):
            lines.append(Line(number, line[2:], ""))
        elif block and goes_on:
            lines[-1] = lines[-1]._replace(command=f"{lines[-1].command}\n{line}")
        elif block:
            lines[-1] = lines[-1]._replace(shown=f"{lines[-1].shown}{line}\n")
        goes_on = block and line.endswith("\\")
    return lines


def matches(shown: str, actual: str) -> bool:
    """Return whether the `shown` answer matches the `actual` one. It may omit headers, and `…` stands for any text."""
    if shown.startswith("HTTP/"):
        shown_head, _, shown = shown.partition("\n\n")
        head, _, actual = actual.replace("\r", "").partition("\n\n")
        status, *headers = head.splitlines()
        shown_status, *shown_headers = shown_head.splitlines()
        if status != shown_status or not all(
            any(_fits(shown_header, header) for header in headers) for shown_header in shown_headers
        ):
            return False
    return _fits(shown, actual)


def _fits(shown: str, actual: str) -> bool:
    pattern = "".join(
        re.escape(part).replace("…", '(?:[^"\\\\]|\\\\.)*' if part.startswith('"') else ".*") for part in _parts(shown)
    )
    return re.fullmatch(pattern, "".join(_parts(actual)), re.DOTALL) is not None


def _parts(text: str) -> Iterator[str]:
    """Yield JSON's strings unchanged and the rest without white space, because layout does not matter."""
    for part in re.split(r'("(?:[^"\\]|\\.)*")', text):
        yield part if part.startswith('"') else re.sub(r"\s+", "", part)


@pytest.mark.parametrize(
    ("shown", "actual"),
    [
        ('{"a": [1, …], "b": "x…"}', '{"a":[1,2,3],"b":"xyz"}'),
        ("HTTP/1.1 200 OK\nEtag: …\n\n{…}\n", 'HTTP/1.1 200 OK\r\nA: b\r\nEtag: "1"\r\n\r\n{"id":1}'),
        ("", ""),
    ],
)
def test_matching_answers(shown: str, actual: str) -> None:
    """White space in JSON, omitted headers and text replaced by `…` make no difference."""
    assert matches(shown, actual)


@pytest.mark.parametrize(
    ("shown", "actual"),
    [
        ('{"a": "x y"}', '{"a":"xy"}'),
        ('{"a": "x…"}', '{"a":"x","b":"y"}'),
        ('{"a": 1}', '{"a":1,"b":2}'),
        ("", '{"a":1}'),
        ("HTTP/1.1 200 OK\n\n{…}", "HTTP/1.1 201 Created\r\n\r\n{}"),
        ('HTTP/1.1 200 OK\netag: "2"\n\n{…}', 'HTTP/1.1 200 OK\r\netag: "1"\r\n\r\n{}'),
        ("HTTP/1.1 200 OK\n\n", "HTTP/1.1 200 OK\r\n\r\n{}"),
    ],
)
def test_different_answers(shown: str, actual: str) -> None:
    """Another status, header, member or string is no match."""
    assert not matches(shown, actual)


@pytest.fixture
def address(
    own_database: Callable[..., AbstractContextManager[sa.URL]], deployed: Callable[..., AbstractContextManager[str]]
) -> Iterator[str]:
    """A service with the shipped catalogue that accepts TOKEN."""
    with own_database() as url:
        command = [sys.executable, "-m", "bookstore", "catalog", "import"]
        subprocess.run(command, env=os.environ | {"DATABASE_URL": conninfo(url)}, check=True, capture_output=True)
        # Leave nothing to autovacuum, because its transactions would change the ETags of lists.
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        with deployed(url, BOOKSTORE_API_TOKENS=_ENTRY.line()) as served:
            yield served


def test_every_line_of_the_guide(address: str, tmp_path: Path) -> None:
    """A shell that runs all commands of docs/api.md in order prints the answers that it shows."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    lines = parse_lines(GUIDE.read_text())
    assert sum("curl " in line.command for line in lines) > 30
    script = "".join(f"{line.command}\necho '{END}' $?\n" for line in lines)
    script = script.replace(BASE, address).replace("bks_…", TOKEN)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    shell = subprocess.run(
        ["/bin/sh"], input=script, cwd=tmp_path, env=environment, text=True, capture_output=True, check=True
    )
    answers = re.split(rf"{END} (\d+)\n", shell.stdout)
    mismatches = [
        f"docs/api.md:{line.number}: $ {line.command}\n{actual}"
        for line, actual, code in zip(lines, answers[0::2], answers[1::2], strict=False)
        if code != "0" or not matches(line.shown, actual)
    ]
    assert len(answers) == 2 * len(lines) + 1, shell.stderr
    assert not mismatches, "\n\n".join(mismatches)
