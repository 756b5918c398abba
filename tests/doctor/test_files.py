from __future__ import annotations

import os
from pathlib import Path

import pytest

from bookstore.config.settings import Settings
from bookstore.doctor import files

LINE = f"ci catalog:write {'0' * 64}"


def levels(tmp_path: Path, text: str, mode: int) -> dict[str, str]:
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(mode)
    return {finding.found: finding.level for finding in files.tokens(Settings(data_dir=tmp_path))}


@pytest.mark.parametrize(("mode", "is_closed"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False)])
def test_mode_of_the_tokens_file(tmp_path: Path, mode: int, is_closed: bool) -> None:
    """A tokens file that other users can read is a warning."""
    found = levels(tmp_path, LINE, mode)
    assert ("warning" in found.values()) is not is_closed
    assert found[f"{tmp_path}/tokens: ci"] == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a file")
def test_owner_of_the_tokens_file(tmp_path: Path) -> None:
    """A tokens file that belongs to another user is a warning, because that user can add tokens."""
    levels(tmp_path, LINE, 0o600)
    os.chown(tmp_path / "tokens", 12345, 12345)
    [warning] = [found for found in files.tokens(Settings(data_dir=tmp_path)) if found.level == "warning"]
    assert "belongs to another user (id 12345)" in warning.found


def test_old_tokens(tmp_path: Path) -> None:
    """A token older than a year is a note, and so is having no token at all."""
    assert list(levels(tmp_path, f"{LINE} 2020-01-01", 0o600).values()) == ["ok", "note"]
    assert levels(tmp_path, "", 0o600) == {f"{tmp_path}/tokens: no tokens, so nobody can write": "note"}


def test_the_password_file(tmp_path: Path) -> None:
    """A password file that others can change is a warning, one that everybody can read is a note."""
    path = tmp_path / "password"
    path.write_text("secret")
    for mode, level in {0o600: "ok", 0o440: "ok", 0o444: "note", 0o622: "warning"}.items():
        path.chmod(mode)
        [found] = files.password(Settings(data_dir=tmp_path, database_password_file=path))
        assert found.level == level


def test_the_data_folder(tmp_path: Path) -> None:
    """A folder that others can change is a warning; one that does not exist yet is fine."""
    assert [finding.level for finding in files.data_folder(Settings(data_dir=tmp_path / "a/b"))] == ["ok"]
    tmp_path.chmod(0o777)
    assert [finding.level for finding in files.data_folder(Settings(data_dir=tmp_path))] == ["warning"]
    tmp_path.chmod(0o755)
    assert [finding.level for finding in files.data_folder(Settings(data_dir=tmp_path))] == ["ok"]
