"""The run as a table for the terminal, and what its columns mean."""

from __future__ import annotations

from typing import Final

from bookstore.config.scalars import duration_text
from bookstore.lab.analysis.sweep_grid import Grid, best_cell
from bookstore.lab.analysis.verdict import headline
from bookstore.lab.record.run_record import Metric, Run, Verdict
from bookstore.lab.workload.spec import Workload

MARKS: Final[dict[Verdict, str]] = {"no difference shown": "~", "too noisy to say": "?"}

HEAD: Final = (
    "profile", "req/s", "ratio", "(95 %)", "p50", "p99", "max", "err", "CPU", "PSS", "conn", "SQL", "ceil",
)  # fmt: skip
_NOTHING: Final = {"", "-", "0"}


def table(run: Run, width: int) -> str:
    """One row a profile. Within `width` columns where that is 80 or more: a long name stands on a line of its own
    then. A column in which there is nothing but 0 or a dash is left out."""
    rows = [HEAD, *cells(run)]
    kept = [index for index in range(len(HEAD)) if any(row[index] not in _NOTHING for row in rows[1:])]
    rows = [tuple(row[index] for index in kept) for row in rows]
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = "  " if sum(sizes) + 2 * (len(sizes) - 1) <= width else " "
    is_long = sum(sizes) + len(sizes) - 1 > width
    lines = []
    for row in rows:
        figures = gap.join(cell.rjust(size) for cell, size in zip(row[1:], sizes[1:], strict=True)).rstrip()
        lines += [row[0], f"  {figures}"] if is_long else [f"{row[0].ljust(sizes[0])}{gap}{figures}".rstrip()]
    lines.insert(2 if is_long else 1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def cells(run: Run) -> list[tuple[str, ...]]:
    """A row for each contender under `HEAD`, in the order asked for; one without a valid round has dashes."""
    of = {one.profile: one for one in run.summary}
    metric = headline_of(run)
    rows = []
    for contender in run.contenders:
        label = contender.label
        one = of.get(label)
        if one is None:
            rows.append((label, *("-" for _ in HEAD[1:])))
            continue
        compared = one.compared_by(metric)
        rows.append(
            (
                label,
                three(one.throughput_per_s),
                "1.00" if compared is None else three(compared.ratio.estimate) + MARKS.get(compared.verdict, ""),
                "" if compared is None else span(compared.ratio.low, compared.ratio.high, "-"),
                *(three(value) for value in (one.p50_ms, one.p99_ms, one.max_ms)),
                str(one.errors),
                known(one.cpu_ms_per_request),
                "-" if one.pss_bytes is None else f"{one.pss_bytes / 1e6:.0f}",
                "-" if one.connections is None else str(one.connections),
                "-" if one.statements is None else f"{round(one.statements, 1):g}",
                "-" if one.ceiling_share is None else f"{one.ceiling_share * 100:.0f}%",
            )
        )
    return rows


def legend(run: Run) -> str:
    """What was asked, and what the table's columns mean."""
    failed = sum(one.errors for one in run.summary)
    errors = f"{failed:,} requests failed (err)" if failed else "no request failed"
    what = {"throughput_per_s": "throughput", "p95_ms": "p95", "p99_ms": "p99"}[headline_of(run)]
    lines = [
        *asked(run.workload),
        f"{_rounds(len(run.rounds))}, {run.catalogue.books:,} books ({run.catalogue.source}), {errors}",
        *_place(run),
        f"ratio: {what} over that of {run.contenders[0].label}, with the interval that holds",
        "the true one in 95 of 100 runs; ~ no difference shown, ? too noisy to say",
        "p50 p99 max: ms; CPU: the workers' ms a request; PSS: MB of all workers;",
        "conn: database connections; SQL: statements a request; ceil: share of what",
        "pgbench gets from this database with the same SQL and no service in between",
    ]
    return "\n".join(lines)


def asked(workload: Workload) -> list[str]:
    """`GET /books?limit=100, 5 clients for 5s`; of several kinds of requests a line each, with its share."""
    unit = "client" if workload.model == "closed" else "request a second"
    pace = _many(workload.start, unit)
    if workload.stages:
        pace += "".join(f", to {it.target:g} in {duration_text(it.duration)}" for it in workload.stages)
    else:
        pace += f" for {duration_text(workload.duration)}"
    kinds = [
        ", ".join([f"{ask.method} {ask.path}", *(f"{name}: {value}" for name, value in ask.headers.items())])
        for ask in workload.requests
    ]
    if len(kinds) == 1:
        return [f"{kinds[0]}, {pace}"]
    whole = sum(ask.weight for ask in workload.requests)
    shares = [f"{100 * ask.weight / whole:.0f}% {kind}" for ask, kind in zip(workload.requests, kinds, strict=True)]
    return [f"{workload.name}, {pace}:", *shares]


def headline_of(run: Run) -> Metric:
    """The metric that the run's answer is about."""
    return headline(run.workload.model, min((one.requests // one.rounds for one in run.summary), default=0))


def three(number: float) -> str:
    """Three digits are what a measurement here can tell: 1.02, 24.1, 1050. The end of an interval that tells nothing,
    of two rounds far apart, stays short: 3e+08."""
    if number >= 999_999.5:
        return f"{number:.0e}"
    if number >= 99.95:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def known(number: float | None) -> str:
    return "-" if number is None else three(number)


def span(low: float | None, high: float | None, dash: str) -> str:
    """Empty for one round, which tells no interval."""
    return "" if low is None or high is None else f"{three(low)}{dash}{three(high)}"


def _many(number: float, unit: str) -> str:
    """`1 client`, `200 requests a second`."""
    one, *rest = unit.split()
    return " ".join([f"{number:g}", one if number == 1 else f"{one}s", *rest])


def _place(run: Run) -> list[str]:
    """Where the service ran and what share of the machine it had, where that is not all of it."""
    limits = run.protocol.limits
    share = [f"{limits.cpus:g} CPU"] if limits.cpus is not None else []
    share += [f"{limits.memory_bytes / 2**20:.0f} MiB"] if limits.memory_bytes is not None else []
    parts = [f"in containers ({run.machine.engine})"] if run.protocol.deploy == "compose" else []
    parts += [f"held to {', '.join(share)}"] if share and limits.means != "none" else []
    return [", ".join(parts)] if parts else []


def _rounds(number: int) -> str:
    return "1 round" if number == 1 else f"{number} rounds"


def sweep_table(run: Run, grid: Grid) -> str:
    """Requests a second of each cell for the terminal, * at the best; a dash where no round is valid."""
    of_cell = {one.profile: three(one.throughput_per_s) for one in run.summary}
    top = best_cell(run)
    rows = [["req/s", *(f"{value} " for value in grid.values)]]
    for variant in grid.variants:
        figures = [of_cell.get(label, "-") + ("*" if top and label == top.profile else " ") for label in variant.labels]
        rows.append([variant.name, *figures])
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(sizes[0]), *(it.rjust(size) for it, size in zip(row[1:], sizes[1:], strict=True))])
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in [" " * (sizes[0] + 2) + grid.over, *lines])


def sweep_legend(run: Run, grid: Grid) -> str:
    """What was asked, and what the table's marks mean."""
    rounds = "one round" if len(run.rounds) == 1 else f"{len(run.rounds)} rounds"
    return "\n".join(
        [
            *asked(run.workload),
            f"with {grid.over} as in the table; {rounds}, {run.catalogue.books:,} books; * the most",
        ],
    )
