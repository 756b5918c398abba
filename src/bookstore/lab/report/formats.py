"""A run for other programs: Markdown for pull requests, CSV for spreadsheets, JSON, and ApacheBench's report.

Names of profiles and services are untrusted text: no format may read them as markup, a link or a formula.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from bookstore.lab.analysis import sweep_grid
from bookstore.lab.analysis.statistics import percentile
from bookstore.lab.analysis.summary import Read, latencies_ms, measurements_of
from bookstore.lab.analysis.verdict import METRICS
from bookstore.lab.record.run_record import Run
from bookstore.lab.report import conclusions
from bookstore.lab.report.table import HEAD, UNITS, cells, describe_rounds, describe_workload

AB_SHARES: Final = (50, 66, 75, 80, 90, 95, 98, 99)

_SPECIAL: Final = re.compile(r"([\\`*_\[\]#|~$])")
_LINK: Final = r"(?i:\S*(?:@|://|www\.)\S*)"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

_SUMMARY: Final = (
    "profile", "rounds", "invalid_rounds", "throughput_per_s", "p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms",
    "requests", "errors", "cpu_ms_per_request", "pss_bytes", "connections", "statements", "ceiling_share",
)  # fmt: skip


def json(run: Run) -> str:
    """The whole record."""
    return msgspec.json.format(msgspec.json.encode(run), indent=2).decode()


def markdown(run: Run) -> str:
    """The answer, the table, single keys, ratios, notes and the workload in GitHub's Markdown."""
    labels = [contender.label for contender in run.contenders]
    head = [f"{name}, {UNITS[name]}" if name in UNITS else name for name in HEAD]
    rows = [[code(row[0]), *map(_escaped, row[1:])] for row in cells(run)]
    lines = [f"**{_prose(conclusions.answer(run), labels)}**", "", *_table([[_escaped(name) for name in head], *rows])]
    for table in filter(None, (conclusions.steps(run), conclusions.ratios(run))):
        lines += ["", *_table([[_prose(cell.strip(), labels) for cell in row] for row in table])]
    grid = sweep_grid.grid_of(run)
    items = [*(conclusions.knees(run, grid) if grid else []), *conclusions.notes(run), *conclusions.excluded(run)]
    lines += ["", *(f"- {_prose(item, labels)}" for item in items)]
    lines += ["", *(_prose(line, []) + "  " for line in describe_workload(run.workload))]
    return "\n".join([*lines, _prose(describe_rounds(run), [])]) + "\n"


def code(text: str) -> str:
    """`text` as a code span, in which nothing is markup; a | is escaped for an enclosing table."""
    plain = " ".join(text.split()).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    space = " " if "`" in plain else ""
    return f"{fence}{space}{plain}{space}{fence}"


def csv_text(run: Run) -> str:
    """One row for each contender with a valid round: its figures, and each metric's ratio, interval and verdict."""
    compared = [f"{metric}_{part}" for metric in METRICS for part in ("ratio", "low", "high", "verdict")]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*_SUMMARY, *compared])
    for summary in run.summary:
        row: list[object] = [getattr(summary, name) for name in _SUMMARY]
        for metric in METRICS:
            comparison = summary.compared_by(metric)
            ratio = comparison.ratio if comparison else None
            row += [ratio.estimate, ratio.low, ratio.high, comparison.verdict] if comparison and ratio else [None] * 4
        writer.writerow([_inert(value) for value in row])
    return text.getvalue()


def ab(run: Run, samples: Read) -> str:
    """A block for each contender in the layout of ApacheBench 2.3. As in ab, requests per second include failed
    ones. The open model has no concurrency level."""
    blocks = [_ab(run, one.profile, samples) for one in run.summary]
    return "\n\n".join(blocks)


def _ab(run: Run, label: str, samples: Read) -> str:
    valid = [one for one in measurements_of(run.rounds, label) if one.is_valid]
    seconds = sum(one.seconds for one in valid)
    requests, errors = sum(one.requests for one in valid), sum(one.errors for one in valid)
    not_2xx = sum(count for one in valid for status, count in one.statuses.items() if status[0] not in "02")
    load = run.workload
    latencies = latencies_ms(run.rounds, label, samples, load.model)
    rows = [
        ("Profile:", label),
        *(("Document Path:", request.path) for request in load.requests),
        ("Concurrency Level:", str(load.concurrency) if load.model == "closed" else "-"),
        ("Time taken for tests:", f"{seconds:.3f} seconds"),
        ("Complete requests:", str(requests)),
        ("Failed requests:", str(errors)),
        *([("Non-2xx responses:", str(not_2xx))] if not_2xx else []),
        ("Requests per second:", f"{requests / seconds:.2f} [#/sec] (mean)"),
    ]
    if load.model == "closed":
        rows.append(("Time per request:", f"{load.concurrency * seconds * 1000 / requests:.3f} [ms] (mean)"))
    rows.append(("Time per request:", f"{seconds * 1000 / requests:.3f} [ms] (mean, across all concurrent requests)"))
    shares = [f"{share:3d}%  {percentile(latencies, share / 100):5.0f}" for share in AB_SHARES]
    return "\n".join(
        [
            *(f"{name:<24}{value}" for name, value in rows),
            "",
            "Percentage of the requests served within a certain time (ms)",
            *(f" {line}" for line in shares),
            f" 100%  {float(latencies[-1]):5.0f} (longest request)",
        ]
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table: the first column to the left, figures to the right."""
    head, *others = rows
    return [f"| {' | '.join(row)} |" for row in (head, ["---", *("---:" for _ in head[1:])], *others)]


def _inert(value: object) -> object:
    """A text that a spreadsheet would read as a formula, with an apostrophe in front that makes it text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _prose(text: str, labels: Sequence[str]) -> str:
    """A sentence in Markdown: labels and anything that GitHub would link become code, the rest is escaped."""
    known = sorted(filter(None, labels), key=len, reverse=True)
    pattern = "|".join([*(rf"(?<!\w){re.escape(label)}(?!\w)" for label in known), _LINK])
    parts, end = [], 0
    for match in re.finditer(pattern, text):
        parts += [_escaped(text[end : match.start()]), code(match[0])]
        end = match.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    escaped = _SPECIAL.sub(r"\\\1", " ".join(text.split()) if "\n" in text else text)
    return escaped.replace("&", "&amp;").replace("<", "&lt;")
