"""The ceiling: the throughput that pgbench achieves on the database with a profile's own SQL, without a service
between."""

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
MAX_CLIENTS: Final = 64
"""Each takes one of the lab database's 100 connections; far fewer are enough to saturate it."""


class Script(NamedTuple):
    """One request's statements, executed `weight` times as often as a script of weight 1."""

    statements: Sequence[str]
    weight: int = 1


class CeilingError(InvalidMeasurement):
    """pgbench failed."""


def measure_ceiling_per_s(url: sa.URL, scripts: Sequence[Script], concurrency: int, folder: Path) -> float:
    """Return the requests per second that `concurrency` clients (at most MAX_CLIENTS) complete in CEILING_S seconds.

    Statements are prepared once per connection, and scripts are mixed by weight. A workload's `{id}` is always the same
    book here. Raises CeilingError.
    """
    files = []
    for number, script in enumerate(scripts):
        file = folder / f"request-{number}.sql"
        file.write_text("".join(f"{statement};\n" for statement in script.statements), encoding="utf-8")
        files.append(f"--file={file}@{script.weight}")
    clients = min(concurrency, MAX_CLIENTS)
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
        raise CeilingError(f"pgbench did not end within {SPARE_S} s after its planned time") from None
    match = re.search(r"^tps = ([0-9.]+)", result.stdout, re.MULTILINE)
    if result.returncode or not match:
        raise CeilingError(f"pgbench: {(result.stderr or result.stdout).strip()[-500:]}")
    return float(match[1])
