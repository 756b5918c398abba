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
    return {one.found: one.level for one in files.tokens(Settings(data_dir=tmp_path))}


@pytest.mark.parametrize(("mode", "is_closed"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False)])
def test_the_tokens_file_is_its_owner_s(tmp_path: Path, mode: int, is_closed: bool) -> None:
    """A tokens file that others may read is a warning."""
    found = levels(tmp_path, LINE, mode)
    assert ("warning" in found.values()) is not is_closed
    assert found[f"{tmp_path}/tokens: ci"] == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_stranger_s_tokens_file(tmp_path: Path) -> None:
    """A tokens file of another user is a warning: he may add tokens."""
    levels(tmp_path, LINE, 0o600)
    os.chown(tmp_path / "tokens", 12345, 12345)
    [warning] = [one for one in files.tokens(Settings(data_dir=tmp_path)) if one.level == "warning"]
    assert "belongs to another user (id 12345)" in warning.found


def test_tokens_grow_old(tmp_path: Path) -> None:
    """A token that is older than a year is noted; no token at all, too."""
    assert list(levels(tmp_path, f"{LINE} 2020-01-01", 0o600).values()) == ["ok", "note"]
    assert levels(tmp_path, "", 0o600) == {f"{tmp_path}/tokens: none, so nobody may write": "note"}


def test_the_password_file(tmp_path: Path) -> None:
    """A secret that others may change is a warning, one that all may read is a note."""
    path = tmp_path / "password"
    path.write_text("secret")
    for mode, level in {0o600: "ok", 0o440: "ok", 0o444: "note", 0o622: "warning"}.items():
        path.chmod(mode)
        [found] = files.password(Settings(data_dir=tmp_path, database_password_file=path))
        assert found.level == level


def test_the_data_folder(tmp_path: Path) -> None:
    """A folder that others may change is a warning; one that is not there yet is right."""
    assert [one.level for one in files.data_folder(Settings(data_dir=tmp_path / "a/b"))] == ["ok"]
    tmp_path.chmod(0o777)
    assert [one.level for one in files.data_folder(Settings(data_dir=tmp_path))] == ["warning"]
    tmp_path.chmod(0o755)
    assert [one.level for one in files.data_folder(Settings(data_dir=tmp_path))] == ["ok"]
