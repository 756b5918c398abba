"""What does a comparison leave that is stopped or killed at any moment? Twenty are: SIGINT, SIGTERM, kill -9.

    python benchmarks/truth/killed.py [COUNT]

The moments are drawn evenly over a whole comparison's time. After each: nothing that it started runs, none of its
files is left, whatever is stored is a whole run, and the next comparison begins. One that fails by itself is bad, too:
the end of what it said is printed.
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
"""Drawn from: half of the moments are of kill -9, the others of the two that are caught."""
ENDS: Final = {0, 3, -signal.SIGKILL, 128 + signal.SIGINT, 128 + signal.SIGTERM}
"""How a comparison may end here: done, invalid, killed, stopped."""


def started(workplace: Path, output: Path) -> subprocess.Popen[bytes]:
    with (output.parent / "said").open("wb") as said:
        return subprocess.Popen(
            [*COMPARE, "--output", str(output)],
            env=os.environ | {"TMPDIR": str(workplace)},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def ended(process: subprocess.Popen[bytes], output: Path) -> int:
    """Its exit code; prints the end of what it said where it failed by itself."""
    code = process.wait()
    if code not in ENDS:
        print((output.parent / "said").read_text(errors="replace")[-3000:], flush=True)
    return code


def left(workplace: Path) -> list[str]:
    """Files and processes; the lock file may stay."""
    found = [path.name for path in workplace.iterdir() if path.suffix != ".lock"]
    commands = (" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    return found + [command for command in commands if str(workplace) in command]


def main(count: int) -> int:
    dice = random.Random(1)  # noqa: S311 - moments, no secret
    bad = 0
    with tempfile.TemporaryDirectory(prefix="killed-") as folder:
        workplace, output = Path(folder) / "temporary", Path(folder) / "runs"
        workplace.mkdir()
        for path in (Path(folder), workplace):
            path.chmod(0o755)  # PostgreSQL's own user has to pass
        began_s = time.monotonic()
        whole = ended(started(workplace, output), output)
        takes_s = time.monotonic() - began_s
        print(f"a whole comparison: exit code {whole}, {takes_s:.1f} s", flush=True)
        for number in range(1, count + 1):
            how, after_s = dice.choice(SIGNALS), dice.uniform(0, takes_s)
            process = started(workplace, output)
            try:
                process.wait(after_s)
            except subprocess.TimeoutExpired:
                process.send_signal(how)
            code = ended(process, output)
            is_clean = wait_until(lambda: not left(workplace), GONE_WITHIN_S)
            kept = [runs.read(path).status for path in runs.runs(output)]  # raises for what is none
            bad += not is_clean or code not in ENDS
            told = "nothing left" if is_clean else f"left: {left(workplace)}"
            print(f"{number:3d}  {how.name} after {after_s:4.1f} s: code {code}, {len(kept)} runs, {told}", flush=True)
        last = ended(started(workplace, output), output)
        partial = [path.name for path in output.glob(".*.partial")]
    print(f"\n{count - bad} of {count} ended well and left nothing; one after them: code {last}, partial {partial}")
    return 1 if bad or last or partial else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
