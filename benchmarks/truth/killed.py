"""Cleanup after a comparison is stopped or killed at a random moment, by default 20 times.

    python benchmarks/truth/killed.py [COUNT]

The signals are SIGINT, SIGTERM and SIGKILL; the moments are uniformly distributed over the duration of a whole
comparison. After each one, no process and no temporary file may be left, every stored run must be complete, and the
next comparison must start. A comparison that fails by itself also counts as bad; the end of its output is printed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import psutil

from bookstore.lab.storage import runs
from bookstore.lab.testbed.process import wait_until

GONE_WITHIN_S: Final = 15
COMPARE: Final = [
    sys.executable, "-m", "bookstore", "compare", "asyncpg-json", "asyncpg-rows", "--books", "200", "--rounds", "2",
    "--duration", "500ms", "--warm-up", "200ms", "--allow-busy", "--no-inspect",
]  # fmt: skip
SIGNALS: Final = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
"""Drawn at random: half are SIGKILL, the others the two signals that the command handles."""
ENDS: Final = {0, 3, -signal.SIGKILL, 128 + signal.SIGINT, 128 + signal.SIGTERM}
"""Accepted exit codes: complete, invalid, killed, stopped by SIGINT or SIGTERM."""


def start(workplace: Path, output: Path) -> subprocess.Popen[bytes]:
    with (output.parent / "output.log").open("wb") as log:
        return subprocess.Popen(
            [*COMPARE, "--output", str(output)],
            env=os.environ | {"TMPDIR": str(workplace)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait_for_exit(process: subprocess.Popen[bytes], output: Path) -> int:
    """Return the exit code; print the end of the output if the comparison failed by itself."""
    code = process.wait()
    if code not in ENDS:
        print((output.parent / "output.log").read_text(errors="replace")[-3000:], flush=True)
    return code


def leftovers(workplace: Path) -> list[str]:
    """Return the files and processes that are left; the lock file may stay."""
    files = [path.name for path in workplace.iterdir() if path.suffix != ".lock"]
    commands = (" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    return files + [command for command in commands if str(workplace) in command]


def main(count: int) -> int:
    dice = random.Random(1)  # noqa: S311 - not used for secrets
    failures = 0
    with tempfile.TemporaryDirectory(prefix="killed-") as folder:
        workplace, output = Path(folder) / "temporary", Path(folder) / "runs"
        workplace.mkdir()
        for path in (Path(folder), workplace):
            path.chmod(0o755)  # PostgreSQL's system user must be able to enter
        began_s = time.monotonic()
        code = wait_for_exit(start(workplace, output), output)
        takes_s = time.monotonic() - began_s
        print(f"complete comparison: exit code {code}, {takes_s:.1f} s", flush=True)
        for number in range(1, count + 1):
            sent, after_s = dice.choice(SIGNALS), dice.uniform(0, takes_s)
            process = start(workplace, output)
            try:
                process.wait(after_s)
            except subprocess.TimeoutExpired:
                process.send_signal(sent)
            code = wait_for_exit(process, output)
            is_clean = wait_until(lambda: not leftovers(workplace), GONE_WITHIN_S)
            statuses = [
                runs.read(path).status for path in runs.list_runs(output)
            ]  # raises if a stored run is incomplete
            failures += not is_clean or code not in ENDS
            outcome = "nothing left" if is_clean else f"left: {leftovers(workplace)}"
            print(
                f"{number:3d}  {sent.name} after {after_s:4.1f} s: code {code}, {len(statuses)} runs, {outcome}",
                flush=True,
            )
        last = wait_for_exit(start(workplace, output), output)
        partial = [path.name for path in output.glob(".*.partial")]
    print(f"\n{count - failures} of {count} ended as expected and left nothing behind")
    print(f"final comparison: exit code {last}; partial runs left: {partial}")
    return 1 if failures or last or partial else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
