"""The ceiling: what pgbench, with no service in between, gets from the database with a profile's own SQL."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import sqlalchemy as sa

from bookstore.database.embedded import binaries
from bookstore.lab.exceptions import InvalidMeasurement

CEILING_S: Final = 1
SPARE_S: Final = 60
MOST_CLIENTS: Final = 64
"""Each takes a connection, of which the lab's database has 100; far fewer keep it fully at work."""


class Script(NamedTuple):
    """The statements of one request, which is asked `weight` times as often as one of weight 1."""

    statements: Sequence[str]
    weight: int = 1


class CeilingError(InvalidMeasurement):
    """pgbench failed."""


def measure_ceiling_per_s(url: sa.URL, scripts: Sequence[Script], concurrency: int, folder: Path) -> float:
    """Requests a second that `concurrency` clients, at most MOST_CLIENTS, get done, prepared once a connection,
    mixed by their weights, for CEILING_S seconds. A workload's `{id}` is one and the same book here. Raises
    CeilingError."""
    files = []
    for number, script in enumerate(scripts):
        file = folder / f"request-{number}.sql"
        file.write_text("".join(f"{statement};\n" for statement in script.statements), encoding="utf-8")
        files.append(f"--file={file}@{script.weight}")
    clients = min(concurrency, MOST_CLIENTS)
    command = [
        str(binaries() / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--client={clients}",
        f"--jobs={min(clients, os.cpu_count() or 1)}", f"--time={CEILING_S}", *files,
        f"--host={url.host or url.query['host']}", f"--port={url.port or url.query['port']}",
        f"--username={url.username}", str(url.database),
    ]  # fmt: skip
    environment = os.environ | ({"PGPASSWORD": str(url.password)} if url.password else {})
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=CEILING_S + SPARE_S
        )
    except subprocess.TimeoutExpired:
        raise CeilingError(f"pgbench did not end {SPARE_S} s after its time") from None
    found = re.search(r"^tps = ([0-9.]+)", result.stdout, re.MULTILINE)
    if result.returncode or not found:
        raise CeilingError(f"pgbench: {(result.stderr or result.stdout).strip()[-500:]}")
    return float(found[1])
