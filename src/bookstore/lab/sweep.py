"""A sweep: a profile under every combination of some keys and loads, as one run whose contenders are the cells."""

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
"""What of the workload can be swept."""
MOST_CELLS: Final = 400


def cells(spec: str, over: Sequence[str]) -> list[Cell]:
    """Every combination of `over`, each of which is `key=value,value,…` of a profile's key or of LOADS. Raises
    ConfigurationError."""
    axes: dict[str, list[str]] = {}
    for text in over:
        key, equals, values = text.partition("=")
        found = [value.strip() for value in values.split(",")]
        if not equals or key not in (*KEYS, *LOADS) or "" in found:
            known = validation.suggestion(key, [*KEYS, *LOADS])
            raise ConfigurationError(
                f"--over: found '{excerpt(text)}'; allowed is key=value,value,… with {known} as the key"
            )
        if key in axes or len(set(found)) < len(found):
            raise ConfigurationError(f"--over {key}: found a key or value twice; allowed is each once")
        axes[key] = found
    if not axes:
        raise ConfigurationError("--over: found nothing; allowed is key=value,value,…, such as concurrency=1,5,25")
    grid = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if len(grid) > MOST_CELLS:
        raise ConfigurationError(
            f"--over: found {len(grid)} combinations; allowed are {MOST_CELLS}: each takes seconds a round"
        )
    return [(_spec_with_overrides(spec, values), _parse_loads(values)) for values in grid]


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


def find_unfinished(it: Plan, catalogue: Sequence[str] = ()) -> tuple[str, Path | None]:
    """(the plan's mark, the folder of the same sweep that was stopped before its end, if there is one). Two sweeps
    are the same when all that was asked for is the same, the `catalogue` too, but for the seed."""
    contenders = [(contender.label, contender.spec, contender.keys, contender.load) for contender in it.contenders]
    asked = msgspec.json.encode((contenders, it.workload, it.protocol, catalogue))
    mark = hashlib.sha256(asked).hexdigest()[:10]
    left = sorted(it.output.glob(f".*_sweep-{mark}-*{RESUMABLE}"))
    return mark, left[-1] if left else None


def sweep_id(started_at: datetime, mark: str, seed: int) -> str:
    """A new sweep's id. The seed is part of it: what is measured later gets the same keys as what was before."""
    return f"{started_at:%Y%m%dT%H%M%S}_sweep-{mark}-{seed}"


def parse_seed(run_id: str) -> int:
    """The seed in a sweep's id."""
    return int(run_id.rpartition("-")[2])


def run_id_of_folder(folder: Path) -> str:
    """The run's id that an unfinished folder is named by."""
    return folder.name.removeprefix(".").removesuffix(RESUMABLE)
