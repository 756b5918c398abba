"""Export formats of a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from markdown_it import MarkdownIt

from bookstore.lab.record.run_record import Problem, Run
from bookstore.lab.record.samples import Samples
from bookstore.lab.report import formats

MakeRecord = Callable[..., Run]

NASTY = [
    "a|b",
    "<img src=x onerror=alert(1)>",
    "`code` and ``more``",
    "[text](http://example.org)",
    "https://example.org/x?y=1",
    "www.example.org",
    "@somebody",
    "**bold** _it_ ~~no~~ $x$",
    "![](x.png)",
    "two\nlines\n# head",
    "&lt;b&gt;",
    "asyncpg-json #2",
]


@pytest.fixture
def run(make_record: MakeRecord) -> Run:
    run: Run = make_record({"lazy": [100.0, 102.0, 101.0], "json@pool_size=20": [1000.0, 1015.0, 1011.0]})
    return run


def tokens(text: str) -> list[tuple[str, str]]:
    """The type and text of every token of the Markdown."""
    found: list[tuple[str, str]] = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        found += [(token.type, token.content), *((child.type, child.content) for child in token.children or [])]
    return found


def test_markdown(run: Run) -> None:
    """The answer in bold, tables with units, and the notes as a list."""
    text = formats.markdown(run)
    assert text.startswith("**`json@pool_size=20` serves 9.99x (")
    found = tokens(text)
    assert sum(kind == "tr_open" for kind, _ in found) == 3 + 2 + 2
    assert ("inline", "p50, ms") in found
    cells = [content for kind, content in found if kind == "code_inline"]
    assert {"lazy", "json@pool_size=20"} <= set(cells)
    assert ("text", "GET /books?limit=100, 5 clients for 3s") in found
    assert [kind for kind, _ in found].count("bullet_list_open") == 1
    assert "\n| driver  `lazy` -> `json@pool_size=20` | 9.99x | " in text
    assert "\n| `json@pool_size=20` | 9.99x | 0.10x | " in text


@pytest.mark.parametrize("label", NASTY)
def test_markdown_reads_names_as_text(make_record: MakeRecord, label: str) -> None:
    """Names of contenders and texts of problems cause no link, image, HTML, heading or extra cell, and the name stays
    readable."""
    speeds = {"base": [100.0, 101.0, 100.0], label: [200.0, 202.0, 203.0]}
    text = formats.markdown(make_record(speeds, problems={("base", 3): Problem("errors", f"text {label}")}))
    found = tokens(text)
    kinds = {kind for kind, _ in found}
    assert not kinds & {"link_open", "image", "html_inline", "html_block", "heading_open", "em_open", "s_open"}
    columns = [13, 3, 7]  # the table of two rows, the single key, the ratios
    assert sum(kind == "th_open" for kind, _ in found) == sum(columns)
    assert sum(kind == "td_open" for kind, _ in found) == sum(columns) + columns[0]
    assert ("code_inline", " ".join(label.split())) in [(kind, content.strip()) for kind, content in found]
    assert not any(it in content for kind, content in found if kind == "text" for it in ("://", "@", "www."))


def test_csv(run: Run) -> None:
    """One row per contender with all figures of its summary and comparisons; missing ones are empty."""
    first, second = csv.DictReader(io.StringIO(formats.csv_text(run)))
    assert (first["profile"], second["profile"]) == ("lazy", "json@pool_size=20")
    assert float(second["throughput_per_s"]) == run.summary[1].throughput_per_s
    compared = run.summary[1].compared_by("p99_ms")
    assert compared is not None
    assert float(second["p99_ms_ratio"]) == compared.ratio.estimate
    assert second["p99_ms_verdict"] == "faster"
    assert (first["p99_ms_ratio"], first["p99_ms_verdict"]) == ("", "")


@pytest.mark.parametrize("label", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1", 'a"b,c', "=cmd|' /C calc'!A0"])
def test_csv_has_no_formula(make_record: MakeRecord, label: str) -> None:
    """No cell starts like a formula; the name follows an apostrophe."""
    rows = list(
        csv.reader(io.StringIO(formats.csv_text(make_record({"b": [1.0, 1.0], label: [2.0, 2.0]})), newline=""))
    )
    assert len(rows) == 3
    assert {len(row) for row in rows} == {len(rows[0])}
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)
    assert rows[2][0].removeprefix("'") == label


def test_json_is_the_whole_record(run: Run) -> None:
    """The JSON decodes to the same record."""
    assert msgspec.json.decode(formats.json(run), type=Run) == run


def test_ab(make_record: MakeRecord) -> None:
    """The lines of ab's report, from the samples of the valid rounds; the last share is the longest request."""
    wrong = Problem("errors", "all failed")
    run = make_record({"a": [20.0, 20.0, 9.0]}, problems={("a", 3): wrong})

    def samples(label: str, number: int) -> Samples:
        assert number != 3
        latency = np.arange(1, 101, dtype=np.float32) + 100 * (number - 1)
        return Samples(np.zeros(100), latency, latency, np.full(100, 200, np.int16), np.zeros(100, np.uint8))

    assert formats.ab(run, samples).splitlines() == [
        "Profile:                a",
        "Document Path:          /books?limit=100",
        "Concurrency Level:      5",
        "Time taken for tests:   10.000 seconds",
        "Complete requests:      200",
        "Failed requests:        0",
        "Requests per second:    20.00 [#/sec] (mean)",
        "Time per request:       250.000 [ms] (mean)",
        "Time per request:       50.000 [ms] (mean, across all concurrent requests)",
        "",
        "Percentage of the requests served within a certain time (ms)",
        "  50%    100",
        "  66%    132",
        "  75%    150",
        "  80%    160",
        "  90%    180",
        "  95%    190",
        "  98%    196",
        "  99%    198",
        " 100%    200 (longest request)",
    ]
