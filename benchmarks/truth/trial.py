"""Is the lab to be believed? It is tried where the truth is known.

    python benchmarks/truth/trial.py aa [COUNT]       a profile against itself: nothing may be found
    python benchmarks/truth/trial.py power [COUNT]    10 % more work, planted: it has to be found

Each trial is `bookstore compare` as anybody calls it, with the default precision; what follows the count is handed on
to it. Stopped, it goes on where it was: the records lie in runs/truth.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bookstore.lab.record.run_record import Run
from bookstore.lab.storage import runs

HERE: Final = Path(__file__).parent
KEPT: Final = Path("runs/truth")
TRIALS: Final = {
    "aa": (["asyncpg-json", "asyncpg-json"], 40),
    "power": ([str(HERE / "steady.yaml"), str(HERE / "slower.yaml")], 20),
}
DIFFERENT: Final = {"faster", "slower", "less", "more"}


def trial(kind: str, number: int, extra: Sequence[str]) -> Run | None:
    """The record of one comparison, made where it is not there yet; None where too few rounds were valid."""
    output = KEPT / kind / f"{number:03d}"
    if not _kept(output):
        command = [sys.executable, "-m", "bookstore", "compare", *TRIALS[kind][0], "--seed", str(number)]
        result = subprocess.run(
            [*command, "--output", str(output), *extra],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if result.returncode not in {0, 3}:
            sys.exit(f"trial {number} ended with {result.returncode}:\n{result.stderr[-2000:]}")
    record = _kept(output)
    return record if record and record.status == "complete" else None


def _kept(output: Path) -> Run | None:
    """The record of a trial that came to its end."""
    records = [runs.read(path) for path in runs.runs(output)]
    return next((record for record in records if record.status != "aborted"), None)


def main(kind: str, count: int, extra: Sequence[str]) -> None:
    verdicts: dict[str, Counter[str]] = {}
    invalid = 0
    for number in range(1, count + 1):
        record = trial(kind, number, extra)
        if record is None:
            invalid += 1
            print(f"{number:3d}  not valid", flush=True)
            continue
        for one in record.summary[1].comparisons:
            verdicts.setdefault(one.metric, Counter())[one.verdict] += 1
        shown = record.summary[1].compared_by("throughput_per_s")
        assert shown
        low, high = shown.ratio.low or 0, shown.ratio.high or 0
        span = f"x {shown.ratio.estimate:.3f} ({low:.3f} to {high:.3f}), {shown.rounds} rounds"
        print(
            f"{number:3d}  {span}: {shown.verdict}",
            flush=True,
        )
    print(f"\n{kind}: {count - invalid} comparisons, {invalid} not valid; a difference was shown in")
    for metric, found in verdicts.items():
        print(f"  {metric:<22} {sum(found[word] for word in DIFFERENT):3d} of {found.total()}   {dict(found)}")


if __name__ == "__main__":
    kind, *rest = sys.argv[1:] or ["help"]
    if kind not in TRIALS:
        sys.exit(__doc__)
    count = int(rest.pop(0)) if rest and rest[0].isdigit() else TRIALS[kind][1]
    main(kind, count, rest)
