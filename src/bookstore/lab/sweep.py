"""Sweeps: one profile under every combination of some keys and loads, as one run with a contender for each
combination."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from bookstore.config import validation
from bookstore.config.text import excerpt
from bookstore.exceptions import ConfigurationError
from bookstore.lab.plan import Cell, Plan
from bookstore.lab.storage.partial_run import RESUMABLE
from bookstore.profile.engine_profile import KEYS

LOADS: Final = ("concurrency", "rate")
"""The workload values that a sweep can vary."""
MOST_CELLS: Final = 400


def cells(spec: str, over: Sequence[str]) -> list[Cell]:
    """Return every combination of `over`, whose items are `key=value,value,…` with a profile key or one of LOADS.

    Raises ConfigurationError for unknown or repeated keys, repeated or missing values, and more than MOST_CELLS cells.
    """
    axes: dict[str, list[str]] = {}
    for text in over:
        key, equals, listing = text.partition("=")
        values = [value.strip() for value in listing.split(",")]
        if not equals or key not in (*KEYS, *LOADS) or "" in values:
            known = validation.suggestion(key, [*KEYS, *LOADS])
            raise ConfigurationError(
                f"--over: found '{excerpt(text)}'; allowed is key=value,value,… with {known} as the key"
            )
        if key in axes or len(set(values)) < len(values):
            raise ConfigurationError(f"--over {key}: found a key or value twice; allowed is each once")
        axes[key] = values
    if not axes:
        raise ConfigurationError("--over: found nothing; allowed is key=value,value,…, such as concurrency=1,5,25")
    grid = [dict(zip(axes, combination, strict=True)) for combination in itertools.product(*axes.values())]
    if len(grid) > MOST_CELLS:
        raise ConfigurationError(
            f"--over: found {len(grid)} combinations; allowed are at most {MOST_CELLS}: each takes seconds per round"
        )
    return [(_spec_with_overrides(spec, combination), _parse_loads(combination)) for combination in grid]


def _spec_with_overrides(spec: str, values: dict[str, str]) -> str:
    keys = ",".join(f"{key}={value}" for key, value in values.items() if key not in LOADS)
    if not keys:
        return spec
    return f"{spec},{keys}" if "@" in spec.rpartition("/")[2] else f"{spec}@{keys}"


def _parse_loads(values: dict[str, str]) -> dict[str, float]:
    try:
        return {key: float(value) for key, value in values.items() if key in LOADS}
    except ValueError as error:
        raise ConfigurationError(f"--over: {error}; allowed are numbers for {' and '.join(LOADS)}") from None


def find_unfinished(plan: Plan, catalogue: Sequence[str] = ()) -> tuple[str, Path | None]:
    """Return the plan's fingerprint, and the folder of an interrupted run of the same sweep (or None).

    Two sweeps are the same if everything but the seed is the same, `catalogue` included.
    """
    contenders = [(contender.label, contender.spec, contender.keys, contender.load) for contender in plan.contenders]
    settings = msgspec.json.encode((contenders, plan.workload, plan.protocol, catalogue))
    fingerprint = hashlib.sha256(settings).hexdigest()[:10]
    folders = sorted(plan.output.glob(f".*_sweep-{fingerprint}-*{RESUMABLE}"))
    return fingerprint, folders[-1] if folders else None


def sweep_id(started_at: datetime, fingerprint: str, seed: int) -> str:
    """Return the id of a new sweep. It contains the seed, so that a resumed sweep uses the same keys."""
    return f"{started_at:%Y%m%dT%H%M%S}_sweep-{fingerprint}-{seed}"


def parse_seed(run_id: str) -> int:
    """Return the seed in a sweep's id."""
    return int(run_id.rpartition("-")[2])


def run_id_of_folder(folder: Path) -> str:
    """Return the run id in the name of an unfinished run's folder."""
    return folder.name.removeprefix(".").removesuffix(RESUMABLE)
