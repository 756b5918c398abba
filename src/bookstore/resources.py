"""Where the shipped folders lie: beside the code in a wheel, at the top of a checkout."""

from __future__ import annotations

from pathlib import Path


def shipped(folder: str) -> Path:
    """`profiles`, `workloads`, `migrations` or `docs` (its problems.md alone) as a path that exists."""
    package = Path(__file__).parent
    installed = package / folder
    return installed if installed.is_dir() else package.parents[1] / folder
