"""A run for other programs: Markdown for pull requests, CSV for spreadsheets, JSON, and ab's own report.

What a profile or a service is called is text from outside: it stands as text in each format, and is neither markup,
a link nor a formula.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from bookstore.lab.analysis.statistics import percentile
from bookstore.lab.analysis.summary import Read, latencies_ms, measurements_of
from bookstore.lab.analysis.verdict import METRICS
from bookstore.lab.record.run_record import Run
from bookstore.lab.report.conclusions import sentences
from bookstore.lab.report.table import HEAD, asked, cells

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
    """The answer, the table, and what else follows, in GitHub's Markdown."""
    labels = [it.label for it in run.contenders]
    first, *rest = (_prose(sentence, labels) for sentence in sentences(run))
    rows = [[code(row[0]), *map(_escaped, row[1:])] for row in cells(run)]
    lines = [
        f"**{first}**",
        "",
        _line(_escaped(name) for name in HEAD),
        _line(["---", *("---:" for _ in HEAD[1:])]),
        *map(_line, rows),
        "",
        *(f"\n{sentence}\n" if sentence.endswith(":") else f"- {sentence}" for sentence in rest),
        "",
        *(_prose(line, []) + "  " for line in asked(run.workload)),
        _prose(f"{len(run.rounds)} rounds, {run.catalogue.books:,} books ({run.catalogue.source})", []),
    ]
    return "\n".join(lines) + "\n"


def code(text: str) -> str:
    """`text` as a code span, in which nothing is markup; a | is escaped for the table around it."""
    plain = " ".join(text.split()).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    space = " " if "`" in plain else ""
    return f"{fence}{space}{plain}{space}{fence}"


def csv_text(run: Run) -> str:
    """A row for each contender that has a valid round: its figures, and the ratio, interval and verdict of each
    metric."""
    compared = [f"{metric}_{part}" for metric in METRICS for part in ("ratio", "low", "high", "verdict")]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*_SUMMARY, *compared])
    for one in run.summary:
        row: list[object] = [getattr(one, name) for name in _SUMMARY]
        for metric in METRICS:
            it = one.compared_by(metric)
            row += [None] * 4 if it is None else [it.ratio.estimate, it.ratio.low, it.ratio.high, it.verdict]
        writer.writerow([_inert(value) for value in row])
    return text.getvalue()


def ab(run: Run, samples: Read) -> str:
    """A block for each contender in the layout of ApacheBench 2.3, to be held against others of its kind. Like ab's,
    its requests a second count the failed ones too. In the open model there is no concurrency to tell."""
    blocks = [_ab(run, one.profile, samples) for one in run.summary]
    return "\n\n".join(blocks)


def _ab(run: Run, label: str, samples: Read) -> str:
    valid = [one for one in measurements_of(run.rounds, label) if one.is_valid]
    seconds = sum(one.seconds for one in valid)
    requests, errors = sum(one.requests for one in valid), sum(one.errors for one in valid)
    refused = sum(count for one in valid for status, count in one.statuses.items() if status[0] not in "02")
    load = run.workload
    latencies = latencies_ms(run.rounds, label, samples, load.model)
    rows = [
        ("Profile:", label),
        *(("Document Path:", ask.path) for ask in load.requests),
        ("Concurrency Level:", str(load.concurrency) if load.model == "closed" else "-"),
        ("Time taken for tests:", f"{seconds:.3f} seconds"),
        ("Complete requests:", str(requests)),
        ("Failed requests:", str(errors)),
        *([("Non-2xx responses:", str(refused))] if refused else []),
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


def _line(row: Iterable[str]) -> str:
    return f"| {' | '.join(row)} |"


def _inert(value: object) -> object:
    """A spreadsheet takes what begins so for a formula; after an apostrophe it is text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _prose(text: str, labels: Sequence[str]) -> str:
    """A sentence: the labels in it, and what GitHub would link, become code, all else is escaped."""
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
