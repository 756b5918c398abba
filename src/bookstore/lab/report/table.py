"""A run as a table for the terminal, with a legend."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Final

from bookstore.config.scalars import duration_text
from bookstore.lab.analysis.sweep_grid import Grid, best_cell
from bookstore.lab.analysis.verdict import headline
from bookstore.lab.record.run_record import Metric, Run, Verdict
from bookstore.lab.workload.spec import Workload

WIDTH: Final = 80

MARKS: Final[dict[Verdict, str]] = {"no difference shown": "~", "too noisy to say": "?"}

NAMES: Final[dict[Metric, str]] = {
    "throughput_per_s": "throughput",
    "p50_ms": "p50",
    "p95_ms": "p95",
    "p99_ms": "p99",
    "cpu_ms_per_request": "CPU",
    "pss_bytes": "PSS",
}

HEAD: Final = (
    "profile", "req/s", "ratio", "(95 %)", "p50", "p99", "max", "err", "CPU", "PSS", "conn", "SQL", "ceil",
)  # fmt: skip

UNITS: Final = {"p50": "ms", "p99": "ms", "max": "ms", "CPU": "ms/request", "PSS": "MB", "SQL": "per request"}

_MEANINGS: Final = {
    "p50": ("p50 p99 max", "latency, ms"),
    "err": ("err", "failed requests"),
    "CPU": ("CPU", "CPU time of the workers per request, ms"),
    "PSS": ("PSS", "memory of all workers, MB"),
    "conn": ("conn", "database connections"),
    "SQL": ("SQL", "SQL statements per request"),
    "ceil": ("ceil", "share of the throughput that pgbench achieves with the same SQL"),
}
_EMPTY: Final = {"", "-", "0"}


def table(run: Run, width: int) -> str:
    """One row per contender, within `width` columns if that is 80 or more. A column that has only 0 or dashes is
    left out."""
    lines = align(_rows(run), width)
    is_split = not lines[0].startswith(f"{HEAD[0]} ")
    lines.insert(2 if is_split else 1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def align(rows: Sequence[Sequence[str]], width: int = WIDTH) -> list[str]:
    """Lines of aligned columns: the first to the left, figures to the right. If they do not fit into `width`, each
    first cell gets a line of its own."""
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = "  " if sum(sizes) + 2 * (len(sizes) - 1) <= width else " "
    is_split = sum(sizes) + len(sizes) - 1 > width
    lines = []
    for name, *cells in rows:
        figures = gap.join(cell.rjust(size) for cell, size in zip(cells, sizes[1:], strict=True)).rstrip()
        lines += (
            [*wrap(name, other="    ").splitlines(), f"  {figures}"]
            if is_split
            else [f"{name.ljust(sizes[0])}{gap}{figures}".rstrip()]
        )
    return lines


def wrap(text: str, first: str = "", other: str = "") -> str:
    """`text` in lines of at most 80 columns, which begin with `first` and `other`. A figure stays with its unit."""
    joined = re.sub(r"(?<=\d) (?=(?:%|ms|MB)(?!\w))", "\xa0", text)
    filled = textwrap.fill(joined, WIDTH, initial_indent=first, subsequent_indent=other, break_on_hyphens=False)
    return filled.replace("\xa0", " ")


def cells(run: Run) -> list[tuple[str, ...]]:
    """One row per contender under `HEAD`, in the order of the run; a contender without a valid round has dashes."""
    summaries = {one.profile: one for one in run.summary}
    metric = headline_metric(run)
    rows = []
    for contender in run.contenders:
        label = contender.label
        summary = summaries.get(label)
        if summary is None:
            rows.append((label, *("-" for _ in HEAD[1:])))
            continue
        compared = summary.compared_by(metric)
        rows.append(
            (
                label,
                three_digits(summary.throughput_per_s),
                "1.00" if compared is None else three_digits(compared.ratio.estimate) + MARKS.get(compared.verdict, ""),
                "" if compared is None else format_range(compared.ratio.low, compared.ratio.high, "-"),
                *(three_digits(value) for value in (summary.p50_ms, summary.p99_ms, summary.max_ms)),
                str(summary.errors),
                "-" if summary.cpu_ms_per_request is None else three_digits(summary.cpu_ms_per_request),
                "-" if summary.pss_bytes is None else f"{summary.pss_bytes / 1e6:.0f}",
                "-" if summary.connections is None else str(summary.connections),
                "-" if summary.statements is None else f"{round(summary.statements, 1):g}",
                "-" if summary.ceiling_share is None else f"{summary.ceiling_share * 100:.0f}%",
            )
        )
    return rows


def legend(run: Run) -> str:
    """The workload, the rounds and the meaning of each column that the table has, as labelled lines."""
    metric, baseline = NAMES[headline_metric(run)], run.contenders[0].label
    shown = _rows(run)[0]
    interval = ", with its 95 % interval" if "(95 %)" in shown else ""
    verdicts = {comparison.verdict for summary in run.summary for comparison in summary.comparisons}
    return _labelled(
        [
            *_described(run),
            *_placement(run),
            ("errors", describe_errors(run)),
            *([("ratio", f"{metric} relative to {baseline}{interval}")] if "ratio" in shown else []),
            *((mark, verdict) for verdict, mark in MARKS.items() if verdict in verdicts),
            *(meaning for name, meaning in _MEANINGS.items() if name in shown),
        ]
    )


def describe_errors(run: Run) -> str:
    """`none`, or how many requests failed, with those of invalid rounds named apart: no figure contains them."""
    excluded = sum(it.errors for each in run.rounds for it in each.measurements if not it.is_valid)
    parts = [(sum(summary.errors for summary in run.summary), ""), (excluded, " in invalid rounds")]
    failed = [
        f"{number:,} {'request' if number == 1 else 'requests'} failed{where}" for number, where in parts if number
    ]
    if not run.summary and not failed:
        return "unknown: no round is valid"
    return ", ".join(failed) or "none"


def describe_workload(workload: Workload) -> list[str]:
    """`GET /books?limit=100, 5 clients for 3s`; a mix has a line for each kind of request, with its share."""
    unit = "client" if workload.model == "closed" else "request per second"
    pace = _count(workload.start, unit)
    if workload.stages:
        pace += "".join(f", to {stage.target:g} in {duration_text(stage.duration)}" for stage in workload.stages)
    else:
        pace += f" for {duration_text(workload.duration)}"
    kinds = [
        ", ".join([f"{kind.method} {kind.path}", *(f"{name}: {value}" for name, value in kind.headers.items())])
        for kind in workload.requests
    ]
    if len(kinds) == 1:
        return [f"{kinds[0]}, {pace}"]
    total = sum(kind.weight for kind in workload.requests)
    shares = [f"{100 * spec.weight / total:.0f} % {kind}" for spec, kind in zip(workload.requests, kinds, strict=True)]
    return [f"{workload.name}, {pace}:", *shares]


def describe_rounds(run: Run) -> str:
    return f"{_count(len(run.rounds), 'round')}, {run.catalogue.books:,} books ({run.catalogue.source})"


def headline_metric(run: Run) -> Metric:
    """The metric that the run's answer is about."""
    return headline(run.workload.model, min((one.requests // one.rounds for one in run.summary), default=0))


def three_digits(number: float) -> str:
    """`number` with the three digits that a measurement here supports: 1.02, 24.1, 1050. A huge one, such as the end
    of the interval of two rounds far apart, stays short: 3e+08."""
    if number >= 999_999.5:
        return f"{number:.0e}"
    if number >= 99.95:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def format_range(low: float | None, high: float | None, dash: str) -> str:
    """The interval with `dash` between its ends; empty if it has none, because there was a single round."""
    return "" if low is None or high is None else f"{three_digits(low)}{dash}{three_digits(high)}"


def sweep_table(run: Run, grid: Grid) -> str:
    """The requests per second of each cell, with * at the highest; a dash where no round is valid."""
    of_cell = {one.profile: three_digits(one.throughput_per_s) for one in run.summary}
    top = best_cell(run)
    rows = [["req/s", *(f"{value} " for value in grid.values)]]
    for variant in grid.variants:
        figures = [of_cell.get(label, "-") + ("*" if top and label == top.profile else " ") for label in variant.labels]
        rows.append([variant.name, *figures])
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(sizes[0]), *(cell.rjust(size) for cell, size in zip(row[1:], sizes[1:], strict=True))])
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in [" " * (sizes[0] + 2) + grid.over, *lines])


def sweep_legend(run: Run, grid: Grid) -> str:
    """The workload, the rounds and the meaning of the table's marks, as labelled lines."""
    replaces = " in place of the workload's" if grid.over in {"concurrency", "rate"} else ""
    lines = [*_described(run), ("columns", grid.over + replaces)]
    lines += [("*", "highest throughput")] if best_cell(run) else []
    if grid.over == "concurrency" and run.summary:
        lines.append(("knee", "from here, a client gets less than half the throughput of a single one"))
    return _labelled(lines)


def _rows(run: Run) -> list[tuple[str, ...]]:
    """The table's header and rows, without empty columns."""
    rows = [HEAD, *cells(run)]
    kept = [index for index in range(len(HEAD)) if any(row[index] not in _EMPTY for row in rows[1:])]
    return [tuple(row[index] for index in kept) for row in rows]


def _labelled(pairs: Sequence[tuple[str, str]]) -> str:
    size = max(len(label) for label, _ in pairs)
    return "\n".join(wrap(text, f"{label.ljust(size)}  ", " " * (size + 2)) for label, text in pairs)


def _described(run: Run) -> list[tuple[str, str]]:
    first, *others = describe_workload(run.workload)
    return [("workload", first), *(("", line) for line in others), ("run", describe_rounds(run))]


def _placement(run: Run) -> list[tuple[str, str]]:
    """Where the service ran and its share of the machine, unless it is a process without limits."""
    limits = run.protocol.limits
    share = [f"{limits.cpus:g} CPU"] if limits.cpus is not None else []
    share += [f"{limits.memory_bytes / 2**20:.0f} MiB"] if limits.memory_bytes is not None else []
    parts = [f"in containers ({run.machine.engine})"] if run.protocol.deploy == "compose" else []
    parts += [f"limited to {', '.join(share)}"] if share and limits.means != "none" else []
    return [("service", ", ".join(parts))] if parts else []


def _count(number: float, unit: str) -> str:
    """`1 client`, `200 requests per second`."""
    one, *rest = unit.split()
    return " ".join([f"{number:g}", one if number == 1 else f"{one}s", *rest])
