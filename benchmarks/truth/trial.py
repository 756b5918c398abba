"""Test of the lab on comparisons with a known result.

    python benchmarks/truth/trial.py aa [COUNT]       compare a profile with itself: expect no difference
    python benchmarks/truth/trial.py power [COUNT]    compare with 10 % more work: expect a difference

Each trial runs `bookstore compare` with the default precision; arguments after COUNT are passed on to it. After an
interruption, the next call resumes from the records in runs/truth.
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
STORED: Final = Path("runs/truth")
TRIALS: Final = {
    "aa": (["asyncpg-json", "asyncpg-json"], 40),
    "power": ([str(HERE / "steady.yaml"), str(HERE / "slower.yaml")], 20),
}
DIFFERENT: Final = {"faster", "slower", "less", "more"}


def trial(kind: str, number: int, extra: Sequence[str]) -> Run | None:
    """Return the record of one comparison, run it first if needed; None if too few rounds were valid."""
    output = STORED / kind / f"{number:03d}"
    if not _stored_record(output):
        command = [sys.executable, "-m", "bookstore", "compare", *TRIALS[kind][0], "--seed", str(number)]
        result = subprocess.run(
            [*command, "--output", str(output), *extra],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if result.returncode not in {0, 3}:
            sys.exit(f"trial {number} exited with code {result.returncode}:\n{result.stderr[-2000:]}")
    record = _stored_record(output)
    return record if record and record.status == "complete" else None


def _stored_record(output: Path) -> Run | None:
    """Return the record of a trial that was not aborted, if there is one."""
    records = [runs.read(path) for path in runs.list_runs(output)]
    return next((record for record in records if record.status != "aborted"), None)


def main(kind: str, count: int, extra: Sequence[str]) -> None:
    verdicts: dict[str, Counter[str]] = {}
    invalid = 0
    for number in range(1, count + 1):
        record = trial(kind, number, extra)
        if record is None:
            invalid += 1
            print(f"{number:3d}  invalid", flush=True)
            continue
        for each in record.summary[1].comparisons:
            verdicts.setdefault(each.metric, Counter())[each.verdict] += 1
        comparison = record.summary[1].compared_by("throughput_per_s")
        assert comparison
        low, high = comparison.ratio.low or 0, comparison.ratio.high or 0
        span = f"x {comparison.ratio.estimate:.3f} ({low:.3f} to {high:.3f}), {comparison.rounds} rounds"
        print(
            f"{number:3d}  {span}: {comparison.verdict}",
            flush=True,
        )
    print(f"\n{kind}: {count - invalid} comparisons, {invalid} invalid; comparisons with a difference:")
    for metric, counts in verdicts.items():
        print(f"  {metric:<22} {sum(counts[word] for word in DIFFERENT):3d} of {counts.total()}   {dict(counts)}")


if __name__ == "__main__":
    kind, *rest = sys.argv[1:] or ["help"]
    if kind not in TRIALS:
        sys.exit(__doc__)
    count = int(rest.pop(0)) if rest and rest[0].isdigit() else TRIALS[kind][1]
    main(kind, count, rest)
