"""docs/api.md is true: its lines are run by a shell, with curl, against the service and the catalogue it speaks of."""

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

from bookstore.auth.tokens import make
from bookstore.database.url import conninfo

GUIDE = Path(__file__).parents[2] / "docs" / "api.md"
BASE = "http://127.0.0.1:8000"
END = "--- end of the answer, exit code"
TOKEN, _KEPT = make("guide", ["catalog:write"], date(2026, 1, 1))


class Line(NamedTuple):
    """A command of the guide, the answer that stands below it, and where."""

    number: int
    command: str
    shown: str


def lines_of(text: str) -> list[Line]:
    """What stands in the console blocks of a page: `$ command`, going on after a backslash, then its answer."""
    found: list[Line] = []
    block = goes_on = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            block = line == "```console"
        elif block and line.startswith("$ "):
            found.append(Line(number, line[2:], ""))
        elif block and goes_on:
            found[-1] = found[-1]._replace(command=f"{found[-1].command}\n{line}")
        elif block:
            found[-1] = found[-1]._replace(shown=f"{found[-1].shown}{line}\n")
        goes_on = block and line.endswith("\\")
    return found


def is_shown(shown: str, came: str) -> bool:
    """Whether `shown` says what `came`: headers by name, some of them; the rest whole, but for each `…`."""
    if shown.startswith("HTTP/"):
        shown_head, _, shown = shown.partition("\n\n")
        head, _, came = came.replace("\r", "").partition("\n\n")
        status, *headers = head.splitlines()
        shown_status, *shown_headers = shown_head.splitlines()
        if status != shown_status or not all(any(_fits(one, real) for real in headers) for one in shown_headers):
            return False
    return _fits(shown, came)


def _fits(shown: str, came: str) -> bool:
    pattern = "".join(
        re.escape(part).replace("…", '(?:[^"\\\\]|\\\\.)*' if part.startswith('"') else ".*") for part in _parts(shown)
    )
    return re.fullmatch(pattern, "".join(_parts(came)), re.DOTALL) is not None


def _parts(text: str) -> Iterator[str]:
    """JSON's texts, and the rest without white space: how it is laid out says nothing."""
    for part in re.split(r'("(?:[^"\\]|\\.)*")', text):
        yield part if part.startswith('"') else re.sub(r"\s+", "", part)


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        ('{"a": [1, …], "b": "x…"}', '{"a":[1,2,3],"b":"xyz"}'),
        ("HTTP/1.1 200 OK\nEtag: …\n\n{…}\n", 'HTTP/1.1 200 OK\r\nA: b\r\nEtag: "1"\r\n\r\n{"id":1}'),
        ("", ""),
    ],
)
def test_what_is_left_out_may_be_anything(shown: str, came: str) -> None:
    """White space between JSON's members, `…` and headers that are not shown make no difference."""
    assert is_shown(shown, came)


@pytest.mark.parametrize(
    ("shown", "came"),
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
def test_a_wrong_answer_is_found(shown: str, came: str) -> None:
    """Another status, header, member or text is no match."""
    assert not is_shown(shown, came)


@pytest.fixture
def address(
    own_database: Callable[..., AbstractContextManager[sa.URL]], deployed: Callable[..., AbstractContextManager[str]]
) -> Iterator[str]:
    """A service with the shipped catalogue, which takes TOKEN."""
    with own_database() as url:
        command = [sys.executable, "-m", "bookstore", "catalog", "import"]
        subprocess.run(command, env=os.environ | {"DATABASE_URL": conninfo(url)}, check=True, capture_output=True)
        # Nothing is left to autovacuum, whose transactions would change the tags of lists.
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        with deployed(url, BOOKSTORE_API_TOKENS=_KEPT.line()) as served:
            yield served


def test_every_line_of_the_guide(address: str, tmp_path: Path) -> None:
    """What docs/api.md shows below each of its lines is what a shell prints, all lines run in order."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl; Debian's package is `curl`")
    lines = lines_of(GUIDE.read_text())
    assert sum("curl " in line.command for line in lines) > 30
    script = "".join(f"{line.command}\necho '{END}' $?\n" for line in lines)
    script = script.replace(BASE, address).replace("bks_…", TOKEN)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    ran = subprocess.run(
        ["/bin/sh"], input=script, cwd=tmp_path, env=environment, text=True, capture_output=True, check=True
    )
    answers = re.split(rf"{END} (\d+)\n", ran.stdout)
    wrong = [
        f"docs/api.md:{line.number}: $ {line.command}\n{came}"
        for line, came, code in zip(lines, answers[0::2], answers[1::2], strict=False)
        if code != "0" or not is_shown(line.shown, came)
    ]
    assert len(answers) == 2 * len(lines) + 1, ran.stderr
    assert not wrong, "\n\n".join(wrong)
