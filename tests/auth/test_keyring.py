from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from bookstore.auth import keyring, token_file
from bookstore.auth.keyring import Keyring
from bookstore.auth.tokens import create
from bookstore.config.settings import Settings
from bookstore.exceptions import ConfigurationError

DAY = date(2026, 1, 31)
A, TOKEN_A = create("a", ["catalog:write"], DAY)
B, TOKEN_B = create("b", ["admin"], DAY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the tokens a and b."""
    path = tmp_path / "tokens"
    token_file.add(path, TOKEN_A)
    token_file.add(path, TOKEN_B)
    return path


@pytest.fixture
def known(path: Path) -> Keyring:
    return keyring.read(Settings(data_dir=path.parent))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "bookstore"):
        yield caplog


def test_find(known: Keyring) -> None:
    """Each token is found, and nothing else is."""
    assert known.find(A) == TOKEN_A
    assert known.find(B) == TOKEN_B
    for other in ("", "bks_", A[:-1], A + "x", A.lower(), TOKEN_A.digest, "\xff", "\u20ac", "a" * 10_000):
        assert known.find(other) is None


def test_every_token_is_compared(known: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup compares all tokens, wherever the match is, so its duration reveals nothing."""
    compared: list[str] = []

    def compare(left: str, right: str) -> bool:
        compared.append(left)
        return left == right

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for presented in (A, B, "none"):
        compared.clear()
        known.find(presented)
        assert compared == [TOKEN_A.digest, TOKEN_B.digest]


def test_no_tokens(tmp_path: Path) -> None:
    """Without tokens nothing is found; the default file may be created later."""
    assert Keyring().find(A) is None
    known = keyring.read(Settings(data_dir=tmp_path))
    assert known.find(A) is None
    token_file.add(tmp_path / "tokens", TOKEN_A)
    assert known.find(A) == TOKEN_A


def test_changes_are_detected(path: Path, known: Keyring, log: pytest.LogCaptureFixture) -> None:
    """Adding and revoking tokens needs no restart, and each change logs one line with names only."""
    token_file.revoke(path, "a")
    assert known.find(A) is None
    assert known.find(B) == TOKEN_B
    token_file.add(path, TOKEN_A)
    assert known.find(A) == TOKEN_A
    assert [record.getMessage() for record in log.records] == [
        f"{path}: accepted tokens: b",
        f"{path}: accepted tokens: b, a",
    ]


def test_change_in_place(path: Path, known: Keyring) -> None:
    """A change of the same length within one tick of the file system's clock is detected."""
    other = "f" * 64
    for _ in range(50):
        for digest, expected in ((other, None), (TOKEN_A.digest, TOKEN_A)):
            text = TOKEN_A.line().replace(TOKEN_A.digest, digest) + "\n"
            with path.open("r+") as file:
                file.write(text)
            assert known.find(A) == expected


def test_unchanged_file_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has not changed for a second is not read again."""
    known = keyring.read(Settings(data_dir=path.parent))
    later = path.stat().st_ctime_ns + 60 * 10**9
    monkeypatch.setattr("bookstore.auth.keyring.time.time_ns", lambda: later)
    assert known.find(A)
    monkeypatch.setattr(token_file, "read", lambda _: pytest.fail("it was read again"))
    assert known.find(A)


def test_invalid_line(path: Path, known: Keyring, log: pytest.LogCaptureFixture) -> None:
    """An invalid line at run time keeps the tokens that are still in the file, drops the others, admits no new one and
    logs one ERROR, until the file is fixed."""
    new, token_new = create("new", ["admin"], DAY)
    path.write_text(f"{TOKEN_B.line()}\noops\n{token_new.line()}\n")
    for _ in range(3):
        assert known.find(A) is None
        assert known.find(B) == TOKEN_B
        assert known.find(new) is None
    (record,) = log.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        f"{path}:2: found 1 words; allowed is NAME SCOPE[,SCOPE] SHA256HEX [YYYY-MM-DD]; "
        "no new token is accepted until the file is fixed; accepted tokens: b"
    )
    path.write_text(f"{TOKEN_B.line()}\n{token_new.line()}\n")
    assert known.find(new) == token_new


def test_other_scopes_in_an_invalid_file(path: Path, known: Keyring) -> None:
    """A line with other scopes counts as new, so it waits until the file is fixed."""
    path.write_text(TOKEN_A.line().replace("catalog:write", "admin") + "\noops\n")
    assert known.find(A) is None


def test_lost_file(path: Path, known: Keyring, log: pytest.LogCaptureFixture) -> None:
    """Without the file no token is accepted and one ERROR is logged; tokens are accepted again when it is back."""
    text = path.read_bytes()
    path.unlink()
    for _ in range(3):
        assert known.find(A) is None
    (record,) = log.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        f"{path}: cannot be read: No such file or directory; "
        "no new token is accepted until the file is fixed; accepted tokens: none"
    )
    path.write_bytes(text)
    assert known.find(A) == TOKEN_A


def test_unreadable_file(path: Path, known: Keyring, log: pytest.LogCaptureFixture) -> None:
    """With an unreadable file no token is accepted, because it may have been changed to revoke one."""
    path.unlink()
    path.mkdir()
    assert known.find(A) is None
    assert [record.levelno for record in log.records] == [logging.ERROR]


def test_inline() -> None:
    """Token lines can be in the environment, separated by ; or line ends."""
    lines = f"# ours;{TOKEN_A.line()} ;\n{TOKEN_B.line()}"
    known = keyring.read(Settings(data_dir=Path("/nowhere"), api_tokens=lines))
    assert known.tokens() == (TOKEN_A, TOKEN_B)
    with pytest.raises(ConfigurationError, match=r"^BOOKSTORE_API_TOKENS:5: found 1 words; allowed is "):
        keyring.read(Settings(data_dir=Path("/nowhere"), api_tokens=lines + ";oops"))


def test_two_sources(path: Path) -> None:
    """Tokens in the environment and in a file named there are rejected as ambiguous."""
    with pytest.raises(ConfigurationError, match="BOOKSTORE_API_TOKENS and BOOKSTORE_API_TOKENS_FILE are both set"):
        keyring.read(Settings(data_dir=path.parent, api_tokens=TOKEN_A.line(), api_tokens_file=path))


def test_startup_needs_a_valid_file(path: Path, tmp_path: Path) -> None:
    """At startup an invalid file, or a named one that is missing, is rejected with its path."""
    with pytest.raises(ConfigurationError, match=r"^/.*/none: cannot be read: No such file"):
        keyring.read(Settings(data_dir=tmp_path, api_tokens_file=tmp_path / "none"))
    with path.open("a") as file:
        file.write("oops\n")
    with pytest.raises(ConfigurationError, match=rf"^{path}:3: found 1 words"):
        keyring.read(Settings(data_dir=tmp_path))


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1), (0o620, 1)])
def test_file_open_to_others(path: Path, log: pytest.LogCaptureFixture, mode: int, warnings: int) -> None:
    """A file that others can read or write causes a warning."""
    path.chmod(mode)
    keyring.read(Settings(data_dir=path.parent))
    assert [record.getMessage() for record in log.records] == [
        f"{path}: other users have access (mode {mode:04o}): chmod 600 it"
    ] * warnings


@pytest.mark.skipif(os.geteuid() != 0, reason="a file can be given to another user by root only")
@pytest.mark.parametrize(("mode", "warnings"), [(0o440, 0), (0o444, 1), (0o462, 1)])
def test_file_of_another_user(path: Path, log: pytest.LogCaptureFixture, mode: int, warnings: int) -> None:
    """A file of another user that is readable through our group, as Kubernetes mounts secrets, causes a warning only if
    everybody can read or write it."""
    path.chmod(mode)
    os.chown(path, 10001, os.getegid())
    keyring.read(Settings(data_dir=path.parent))
    assert len([record for record in log.records if "other users have access" in record.getMessage()]) == warnings


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_folder(path: Path, known: Keyring) -> None:
    """A folder that can no longer be entered means that no token is accepted; nothing fails."""
    path.parent.chmod(0)
    try:
        assert known.find(A) is None
    finally:
        path.parent.chmod(0o700)
    assert known.find(A) == TOKEN_A
