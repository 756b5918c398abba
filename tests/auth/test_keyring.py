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
from bookstore.auth.tokens import make
from bookstore.config.settings import Settings
from bookstore.exceptions import ConfigurationError

DAY = date(2026, 1, 31)
A, TOKEN_A = make("a", ["catalog:write"], DAY)
B, TOKEN_B = make("b", ["admin"], DAY)


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
    """Each token is found by itself, and nothing else is found."""
    assert known.find(A) == TOKEN_A
    assert known.find(B) == TOKEN_B
    for other in ("", "bks_", A[:-1], A + "x", A.lower(), TOKEN_A.digest, "\xff", "\u20ac", "a" * 10_000):
        assert known.find(other) is None


def test_every_token_is_compared(known: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up compares with all tokens, wherever the right one stands, in time that tells nothing."""
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for presented in (A, B, "none"):
        compared.clear()
        known.find(presented)
        assert compared == [TOKEN_A.digest, TOKEN_B.digest]


def test_no_tokens(tmp_path: Path) -> None:
    """Without any token nothing is found; the default file may come later."""
    assert Keyring().find(A) is None
    known = keyring.read(Settings(data_dir=tmp_path))
    assert known.find(A) is None
    token_file.add(tmp_path / "tokens", TOKEN_A)
    assert known.find(A) == TOKEN_A


def test_changes_are_seen(path: Path, known: Keyring, log: pytest.LogCaptureFixture) -> None:
    """Tokens come and go without a restart, and each change is one line in the log, with names only."""
    token_file.revoke(path, "a")
    assert known.find(A) is None
    assert known.find(B) == TOKEN_B
    token_file.add(path, TOKEN_A)
    assert known.find(A) == TOKEN_A
    assert [one.getMessage() for one in log.records] == [
        f"{path}: tokens are now: b",
        f"{path}: tokens are now: b, a",
    ]


def test_change_in_place(path: Path, known: Keyring) -> None:
    """A change by the same number of bytes within one tick of the file's clock is seen too."""
    other = "f" * 64
    for _ in range(50):
        for digest, found in ((other, None), (TOKEN_A.digest, TOKEN_A)):
            text = TOKEN_A.line().replace(TOKEN_A.digest, digest) + "\n"
            with path.open("r+") as file:
                file.write(text)
            assert known.find(A) == found


def test_unchanged_file_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a file has not changed for a second, looking at it is enough."""
    known = keyring.read(Settings(data_dir=path.parent))
    later = path.stat().st_ctime_ns + 60 * 10**9
    monkeypatch.setattr("bookstore.auth.keyring.time.time_ns", lambda: later)
    assert known.find(A)
    monkeypatch.setattr(token_file, "read", lambda _: pytest.fail("it was read again"))
    assert known.find(A)


def test_wrong_line(path: Path, known: Keyring, log: pytest.LogCaptureFixture) -> None:
    """A mistake in the file while the service runs takes no token whose line still stands, keeps none whose
    line is gone, brings no new one, and is one ERROR; mended, the file counts again."""
    new, token_new = make("new", ["admin"], DAY)
    path.write_text(f"{TOKEN_B.line()}\noops\n{token_new.line()}\n")
    for _ in range(3):
        assert known.find(A) is None
        assert known.find(B) == TOKEN_B
        assert known.find(new) is None
    (record,) = log.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        f"{path}:2: found 1 words; allowed is NAME SCOPE[,SCOPE] SHA256HEX [YYYY-MM-DD]; "
        "until it is mended no new token is accepted; accepted are now: b"
    )
    path.write_text(f"{TOKEN_B.line()}\n{token_new.line()}\n")
    assert known.find(new) == token_new


def test_more_rights_in_a_wrong_file(path: Path, known: Keyring) -> None:
    """A line with other rights than before is a new one: it waits until the file is right."""
    path.write_text(TOKEN_A.line().replace("catalog:write", "admin") + "\noops\n")
    assert known.find(A) is None


def test_lost_file(path: Path, known: Keyring, log: pytest.LogCaptureFixture) -> None:
    """Without the file no token is accepted, which is one ERROR; when it is back, they are."""
    text = path.read_bytes()
    path.unlink()
    for _ in range(3):
        assert known.find(A) is None
    (record,) = log.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        f"{path}: cannot be read: No such file or directory; "
        "until it is mended no new token is accepted; accepted are now: none"
    )
    path.write_bytes(text)
    assert known.find(A) == TOKEN_A


def test_unreadable_file(path: Path, known: Keyring, log: pytest.LogCaptureFixture) -> None:
    """A file that cannot be read lets nobody in: it may have been changed to revoke somebody."""
    path.unlink()
    path.mkdir()
    assert known.find(A) is None
    assert [one.levelno for one in log.records] == [logging.ERROR]


def test_inline() -> None:
    """The lines may stand in the environment, with ; or line ends between them."""
    lines = f"# ours;{TOKEN_A.line()} ;\n{TOKEN_B.line()}"
    known = keyring.read(Settings(data_dir=Path("/nowhere"), api_tokens=lines))
    assert known.accepted() == (TOKEN_A, TOKEN_B)
    with pytest.raises(ConfigurationError, match=r"^BOOKSTORE_API_TOKENS:5: found 1 words; allowed is "):
        keyring.read(Settings(data_dir=Path("/nowhere"), api_tokens=lines + ";oops"))


def test_two_sources(path: Path) -> None:
    """Tokens in the environment and in a file that it names are refused: which would count?"""
    with pytest.raises(ConfigurationError, match="BOOKSTORE_API_TOKENS and BOOKSTORE_API_TOKENS_FILE are both set"):
        keyring.read(Settings(data_dir=path.parent, api_tokens=TOKEN_A.line(), api_tokens_file=path))


def test_start_needs_a_right_file(path: Path, tmp_path: Path) -> None:
    """At the start a file with a mistake, or a named one that is not there, is refused with its path."""
    with pytest.raises(ConfigurationError, match=r"^/.*/none: cannot be read: No such file"):
        keyring.read(Settings(data_dir=tmp_path, api_tokens_file=tmp_path / "none"))
    with path.open("a") as file:
        file.write("oops\n")
    with pytest.raises(ConfigurationError, match=rf"^{path}:3: found 1 words"):
        keyring.read(Settings(data_dir=tmp_path))


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1), (0o620, 1)])
def test_file_of_all(path: Path, log: pytest.LogCaptureFixture, mode: int, warnings: int) -> None:
    """A file that others may read or write is warned of."""
    path.chmod(mode)
    keyring.read(Settings(data_dir=path.parent))
    assert [one.getMessage() for one in log.records] == [
        f"{path}: is not for its owner alone (mode {mode:04o}): chmod 600 it"
    ] * warnings


@pytest.mark.skipif(os.geteuid() != 0, reason="a file can be given to another user by root only")
@pytest.mark.parametrize(("mode", "warnings"), [(0o440, 0), (0o444, 1), (0o462, 1)])
def test_file_of_another(path: Path, log: pytest.LogCaptureFixture, mode: int, warnings: int) -> None:
    """Of a file that is another user's, and ours by its group, as Kubernetes mounts secrets, nothing is said; but for
    one that all may read or write."""
    path.chmod(mode)
    os.chown(path, 10001, os.getegid())
    keyring.read(Settings(data_dir=path.parent))
    assert len([one for one in log.records if "not for its owner alone" in one.getMessage()]) == warnings


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_folder(path: Path, known: Keyring) -> None:
    """A folder that may not be entered any more lets nobody in, and nothing fails."""
    path.parent.chmod(0)
    try:
        assert known.find(A) is None
    finally:
        path.parent.chmod(0o700)
    assert known.find(A) == TOKEN_A
