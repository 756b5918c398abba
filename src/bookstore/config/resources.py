"""Shipped folders: in `shipped/` beside the code in a wheel, at the top of a checkout; and an operator's profiles."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bookstore.exceptions import ConfigurationError

PROFILES_DIR: Final = "BOOKSTORE_PROFILES_DIR"


def shipped(folder: str) -> Path:
    """`profiles`, `workloads`, `migrations` or `docs` (its problems.md alone) as a path that exists."""
    package = Path(__file__).parents[1]
    installed = package / "shipped"
    return (installed if installed.is_dir() else package.parents[1]) / folder


def profiles(environ: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """The file of each profile that has a name, sorted: the shipped ones, and over them those in the folder that
    BOOKSTORE_PROFILES_DIR names. Raises ConfigurationError where that is none, rather than serve under another
    profile."""
    folders = [shipped("profiles")]
    if own := environ.get(PROFILES_DIR, "").strip():
        if not os.access(own, os.R_OK | os.X_OK) or not Path(own).is_dir():
            raise ConfigurationError(f"{PROFILES_DIR}: found '{own}'; allowed is a folder that can be read, or nothing")
        folders.append(Path(own).absolute())
    found = {path.stem: path for folder in folders for path in folder.glob("*.yaml")}
    return dict(sorted(found.items()))
