"""The ceiling: what pgbench, with no service in between, gets from the database with a profile's own SQL."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bookstore.postgres import SUPERUSER, Cluster, binaries

CEILING_S = 2.0


class CeilingError(Exception):
    """pgbench failed."""


def ceiling_per_s(cluster: Cluster, database: str, statements: Sequence[str], concurrency: int, folder: Path) -> float:
    """Times a second that `concurrency` clients get all `statements` of a request done, prepared once a
    connection, for CEILING_S seconds. Raises CeilingError."""
    script = folder / "request.sql"
    script.write_text("".join(f"{statement};\n" for statement in statements), encoding="utf-8")
    result = subprocess.run(
        [
            binaries() / "pgbench", "--no-vacuum", "--protocol=prepared", f"--client={concurrency}",
            f"--jobs={min(concurrency, os.cpu_count() or 1)}", f"--time={CEILING_S:g}", f"--file={script}",
            f"--host={cluster.socket}", f"--username={SUPERUSER}", database,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=CEILING_S + 60,
    )  # fmt: skip
    found = re.search(r"^tps = ([0-9.]+)", result.stdout, re.MULTILINE)
    if result.returncode or not found:
        raise CeilingError(f"pgbench: {(result.stderr or result.stdout).strip()[-500:]}")
    return float(found[1])
