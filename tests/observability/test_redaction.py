from __future__ import annotations

from datetime import date

import pytest

from bookstore.auth import tokens
from bookstore.observability.redaction import escape_controls, has_secret, mask

PRESENTED, _ = tokens.create("me", ["admin"], date(2026, 1, 1))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param(
            f"sent {PRESENTED} twice", "sent bks_*** twice", id="token"
        ),  # random, so it must not be in the id
        ("invalid input for query argument $1: 'c4nry' (an integer)", "invalid input for query argument $1: ***"),
        ("duplicate key\nDETAIL:  Key (isbn13)=(978) already exists.", "duplicate key\nDETAIL: ***"),
        ("postgresql://me:c4n%40ry@db:5432/x failed", "postgresql://me:***@db:5432/x failed"),
        ("postgresql+asyncpg://:c4n/ry@db", "postgresql+asyncpg://:***@db"),
        ("host=db password=c4nry user=me", "host=db password=*** user=me"),
        ("postgresql:///x?host=db&password=c4nry&user=me", "postgresql:///x?host=db&password=***&user=me"),
        ("PGPASSWORD='c4nry'", "PGPASSWORD='***'"),
        ("password='c4 nry' x", "password='***' x"),
        ('{"password": "c4,nry"}', '{"password": "***"}'),
        ("(b'authorization', b'Basic YTpi')", "(b'authorization', b'Basic ***')"),
        ("Authorization: Token c4nry", "Authorization: ***"),
        ('{"password": "c4nry"}', '{"password": "***"}'),
        ("Authorization: Bearer c4nry", "Authorization: Bearer ***"),
        ("{'authorization': 'Basic YTpi'}", "{'authorization': 'Basic ***'}"),
        ("header bearer abcdefgh.ijk", "header bearer ***"),
        ("AUTHORIZATION=c4nry", "AUTHORIZATION=***"),
    ],
)
def test_mask(text: str, kept: str) -> None:
    """Text in the form of a secret is masked, and the rest stays."""
    assert mask(text) == kept
    assert has_secret(text)


@pytest.mark.parametrize(
    "text", ["GET /books", "http://127.0.0.1:8000/books", "postgresql://me@db/x", "a forgotten password", "x" * 100_000]
)
def test_not_masked(text: str) -> None:
    """Text without a secret stays unchanged."""
    assert mask(text) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Ἰλιάς, 紅樓夢", "Ἰλιάς, 紅樓夢"),
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\u2028b\u202ec\x85\x7f\x00", r"a\u2028b\u202ec\x85\x7f\x00"),
        ("\udce9", r"\udce9"),
    ],
)
def test_escape_controls(text: str, line: str) -> None:
    """Line ends, control characters and bidirectional controls are escaped."""
    assert escape_controls(text) == line
    assert len(line.splitlines()) == 1
