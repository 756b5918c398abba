from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from bookstore.auth import token_file
from bookstore.auth.tokens import Token, create
from bookstore.exceptions import ConfigurationError

HEX = "0" * 64


def token(name: str) -> Token:
    return create(name, ["catalog:write"], date(2026, 1, 31))[1]


def test_creates_the_file(tmp_path: Path) -> None:
    """The first token creates the file and its folder, accessible only to the owner, and nothing else."""
    path = tmp_path / "data/tokens"
    ci = token("ci")
    token_file.add(path, ci)
    assert path.read_text() == ci.line() + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert token_file.read(path) == ((ci,), [])


def test_preserves_the_rest(tmp_path: Path) -> None:
    """The rest of the file stays the same byte for byte when a token is added and revoked; so do mode and link."""
    before = f"# ours \u00e4\r\n\n  old\tadmin  {HEX}   # laptop".encode()
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(before)
    real.chmod(0o640)
    link.symlink_to(real)
    ci = token("ci")
    token_file.add(link, ci)
    assert real.read_bytes() == before + b"\n" + ci.line().encode() + b"\n"
    token_file.revoke(link, "ci")
    assert real.read_bytes() == before + b"\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owner_stays(tmp_path: Path) -> None:
    """A file that root changes still belongs to the service's user, who has to read it."""
    path = tmp_path / "tokens"
    path.touch(0o600)
    os.chown(path, 12345, 23456)
    token_file.add(path, token("ci"))
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_name_is_taken(tmp_path: Path) -> None:
    """A name that is in use is rejected, and the file stays the same."""
    path = tmp_path / "tokens"
    token_file.add(path, token("ci"))
    before = path.read_bytes()
    with pytest.raises(
        ConfigurationError, match=r"tokens: already has a token ci; choose another name, or revoke it first"
    ):
        token_file.add(path, token("ci"))
    assert path.read_bytes() == before


def test_invalid_file(tmp_path: Path) -> None:
    """No token can be added to a file with an error, but tokens can be revoked."""
    path = tmp_path / "tokens"
    path.write_text(f"ci admin {HEX}\nci catalog:write\ncii nonsense\n")
    with pytest.raises(ConfigurationError, match=r"tokens:2: found 2 words; .*tokens:3: "):
        token_file.add(path, token("new"))
    token_file.revoke(path, "ci")
    assert path.read_text() == "cii nonsense\n"


def test_nothing_to_revoke(tmp_path: Path) -> None:
    """Revoking an unknown name is rejected and creates no file."""
    with pytest.raises(ConfigurationError, match="found no token ci"):
        token_file.revoke(tmp_path / "tokens", "ci")
    assert list(tmp_path.iterdir()) == []


def test_not_a_regular_file(tmp_path: Path) -> None:
    """A folder, a pipe, a device, a huge or a binary file is rejected in one line, without blocking."""
    pipe, large, binary = tmp_path / "pipe", tmp_path / "large", tmp_path / "binary"
    os.mkfifo(pipe)
    large.write_bytes(b"#" * (2**20 + 1))
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path, pipe, Path("/dev/null"), large, binary):
        tokens, (error,) = token_file.read(path)
        assert tokens == ()
        assert error.startswith(f"{path}: ")
        with pytest.raises(ConfigurationError, match=f"^{path}: "):
            token_file.add(path, token("ci"))


def test_not_writable(tmp_path: Path) -> None:
    """If the file cannot be written, the message has the path and the reason, and the file stays the same."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="cannot be written: "):
        token_file.add(tmp_path / "file/tokens", token("ci"))


ADD = """
import sys
from datetime import date
from pathlib import Path
from bookstore.auth import token_file, tokens

for number in range(10):
    token_file.add(Path(sys.argv[1]), tokens.create(f"{sys.argv[2]}-{number}", ["admin"], date(2026, 1, 31))[1])
"""


def test_concurrent_adds(tmp_path: Path) -> None:
    """Processes that add tokens at the same time lose none."""
    path = tmp_path / "tokens"
    env = {**os.environ, "PYTHONPATH": str(Path(token_file.__file__).parents[2])}
    adding = [subprocess.Popen([sys.executable, "-c", ADD, path, str(number)], env=env) for number in range(4)]
    assert [process.wait(60) for process in adding] == [0] * 4
    tokens, errors = token_file.read(path)
    assert errors == []
    assert {item.name for item in tokens} == {f"{a}-{b}" for a in range(4) for b in range(10)}
