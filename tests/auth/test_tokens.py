from __future__ import annotations

import hashlib
import re
from datetime import date

import pytest

from bookstore.auth import tokens
from bookstore.auth.tokens import Token, create, parse
from bookstore.exceptions import ConfigurationError

DAY = date(2026, 1, 31)
HEX = hashlib.sha256(b"one").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
SECRET = "bks_" + "Q" * 43


def test_new_token() -> None:
    """A new token is bks_ and 32 random bytes; only its digest is stored, and no line shows the token."""
    presented, token = create("ci", ["admin", "catalog:write", "admin"], DAY)
    assert re.fullmatch(r"bks_[A-Za-z0-9_-]{43}", presented)
    assert token == Token("ci", ("catalog:write", "admin"), hashlib.sha256(presented.encode()).hexdigest(), DAY)
    assert presented[4:] not in token.line() + repr(token)
    assert create("ci", ["admin"], DAY)[0] != presented


def test_line_round_trip() -> None:
    """The line of a token parses to the same token, with and without a day."""
    for day in (DAY, None):
        token = Token("a-b_1", ("catalog:write", "admin"), HEX, day)
        assert parse([token.line()], "f") == ((token,), [])


def test_scopes() -> None:
    """admin includes every scope; another scope includes only itself."""
    assert Token("a", ("admin",), HEX).allows("catalog:write")
    assert Token("a", ("catalog:write",), HEX).allows("catalog:write")
    assert not Token("a", ("catalog:write",), HEX).allows("admin")
    assert not Token("a", ("catalog:write",), HEX).allows("")


def test_comments_and_spaces() -> None:
    """Blank lines, comments and other systems' line ends are neither tokens nor errors."""
    lines = ["", "# all of them", f"  ci\tadmin  {HEX} 2026-01-31 # the laptop\r", "\r"]
    assert parse(lines, "f") == ((Token("ci", ("admin",), HEX, DAY),), [])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ci", "found 1 words"),
        (f"ci admin {HEX} 2026-01-31 x", "found 5 words"),
        (f"ci admin, {HEX}", "scope: found 'admin,'; allowed are catalog:write and admin"),
        (f"ci admin,admin {HEX}", "scope: found"),
        (f"ci Admin {HEX}", "scope: found"),
        (f"ci * {HEX}", "scope: found"),
        (f"Ci admin {HEX}", "name: found 'Ci'; allowed are 1 to 64 of a-z"),
        (f"../x admin {HEX}", "name: found"),
        (f"\ufeffci admin {HEX}", r"name: found '\ufeffci'"),
        (f"c\x1bi admin {HEX}", r"name: found 'c\x1bi'"),
        (f"{'a' * 65} admin {HEX}", "name: found"),
        (f"ci admin {HEX[:-1]}", "digest: found 63 characters; allowed are 64"),
        (f"ci admin {HEX.upper()}", "digest: found 64 characters"),
        (f"ci admin {HEX} 20260131", "day of creation: found '20260131'; allowed is YYYY-MM-DD"),
        (f"ci admin {HEX} 2026-02-30", "day of creation: found"),
    ],
)
def test_invalid_lines(line: str, expected: str) -> None:
    """An invalid line is reported with its place, what was found and what is allowed; other lines still count."""
    parsed, (error,) = parse(["# first", f"ok admin {OTHER}", line], "f")
    assert error.startswith("f:3: ")
    assert expected in error
    assert [token.name for token in parsed] == ["ok"]


def test_duplicates() -> None:
    """A repeated name or digest is an error, because it would be ambiguous."""
    for line in (f"ci catalog:write {OTHER}", f"other admin {HEX}"):
        parsed, errors = parse([f"ci admin {HEX}", line], "f")
        assert parsed == (Token("ci", ("admin",), HEX),)
        assert errors == ["f:2: found the name or the digest of ci again; allowed is once"]


@pytest.mark.parametrize("line", [SECRET, f"{SECRET} admin {HEX}", f"ci admin {SECRET}", f"ci {SECRET} {HEX}"])
def test_token_in_the_wrong_place(line: str) -> None:
    """No message shows a token that was written instead of its digest."""
    parsed, (error,) = parse([line], "f")
    assert parsed == ()
    assert "QQQ" not in error


@pytest.mark.parametrize("name", ["", "A", "a b", "a" * 65, "../x", "-\n", "bks_abc", SECRET.lower()])
def test_invalid_names(name: str) -> None:
    """A name that the file cannot contain is rejected, without showing a possible token."""
    with pytest.raises(
        ConfigurationError, match=r"^name: found .*; allowed are 1 to 64 of a-z, 0-9, _ and -$"
    ) as caught:
        create(name, ["admin"], DAY)
    assert "qqq" not in str(caught.value)


def test_many_errors() -> None:
    """Of many errors the first few are listed in one line, with the number of the others."""
    line = tokens.describe_errors([f"f:{number}: wrong" for number in range(1, 9)])
    assert line == "f:1: wrong; f:2: wrong; f:3: wrong; f:4: wrong; f:5: wrong; and 3 more"
