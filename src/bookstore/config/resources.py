"""Paths of the shipped folders and of the profiles, shipped or an operator's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bookstore.exceptions import ConfigurationError

PROFILES_DIR: Final = "BOOKSTORE_PROFILES_DIR"


def shipped(folder: str) -> Path:
    """Return the path of `profiles`, `workloads`, `migrations` or `docs` (problems.md only).

    In an installed wheel they are in `shipped/` beside the code, in a checkout at the top."""
    package = Path(__file__).parents[1]
    installed = package / "shipped"
    return (installed if installed.is_dir() else package.parents[1]) / folder


def profiles(environ: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Return the files of all named profiles, by name and sorted; BOOKSTORE_PROFILES_DIR overrides shipped profiles.

    Raises ConfigurationError if BOOKSTORE_PROFILES_DIR is not a readable folder, because the service could otherwise
    start with another profile."""
    folders = [shipped("profiles")]
    if own := environ.get(PROFILES_DIR, "").strip():
        if not os.access(own, os.R_OK | os.X_OK) or not Path(own).is_dir():
            raise ConfigurationError(f"{PROFILES_DIR}: found '{own}'; allowed is a readable folder, or nothing")
        folders.append(Path(own).absolute())
    files = {path.stem: path for folder in folders for path in folder.glob("*.yaml")}
    return dict(sorted(files.items()))
