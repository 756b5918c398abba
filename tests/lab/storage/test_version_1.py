"""A real record of schema version 1, read as version 2."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bookstore.exceptions import ConfigurationError
from bookstore.lab.record.run_record import Run
from bookstore.lab.storage.version_1 import FILE, convert

STORED = Path(__file__).parent / "data" / "version_1"


@pytest.fixture
def record() -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads((STORED / "run.json").read_bytes())
    return decoded


def test_every_figure_is_kept(record: dict[str, Any]) -> None:
    """Figures of the old record are unchanged; figures it lacks are null, not 0."""
    run = convert(record, STORED)
    assert (run.schema_version, run.id, run.seed, run.status) == (2, record["id"], record["seed"], "complete")
    assert (run.protocol.min_rounds, run.protocol.max_rounds) == (2, 2)
    assert [(request.method, request.path) for request in run.workload.requests] == [("GET", "/books?limit=100")]
    assert [contender.label for contender in run.contenders] == ["asyncpg-json", "asyncpg-joined"]
    assert run.contenders[0].keys["loading"] == "json"
    for old_round, new_round in zip(record["rounds"], run.rounds, strict=True):
        for old, new in zip(old_round["measurements"], new_round.measurements, strict=True):
            for key in ("profile", "requests", "errors", "throughput_per_s", "p50_ms", "p99_ms", "max_ms", "workers"):
                assert getattr(new, key) == old[key]
            assert new.is_valid
            assert new.p50_ms <= new.p95_ms <= new.p99_ms <= new.p999_ms <= new.max_ms
            assert new.statuses == {"200": old["requests"]}
            assert (new.cpu_ms_per_request, new.split, new.rows_per_request) == (None, None, None)


def test_summary_is_recomputed(record: dict[str, Any]) -> None:
    """Summary and step are recomputed from the samples and equal those of the old record."""
    run = convert(record, STORED)
    for old, new in zip(record["summary"], run.summary, strict=True):
        for key in ("profile", "throughput_per_s", "errors", "pss_bytes", "connections", "statements"):
            assert getattr(new, key) == old[key]
        assert (new.p50_ms, new.p99_ms, new.max_ms) == pytest.approx((old["p50_ms"], old["p99_ms"], old["max_ms"]))
        assert new.ceiling_share == pytest.approx(old["ceiling_share"])
    (step,) = run.steps
    assert (step.key, step.before, step.after) == ("loading", "json", "joined")
    assert step.throughput_ratio.estimate == pytest.approx(record["steps"][0]["throughput_ratio"]["estimate"])
    compared = run.summary[1].compared_by("throughput_per_s")
    assert compared is not None
    assert compared.verdict == "slower"


def test_the_readings_become_series(record: dict[str, Any]) -> None:
    """Each figure has its moment, counted from the end of the warm-up; a gap stays a gap."""
    readings = record["rounds"][0]["measurements"][0]["readings"]
    readings[2]["pss_bytes"] = None
    readings[3]["cpu_s"] = None
    telemetry = convert(record, STORED).rounds[0].measurements[0].telemetry
    series = {(line.of, line.name): line.values for line in telemetry.series}
    assert telemetry.at_s[0] == pytest.approx(readings[0]["at_s"] - 0.5)
    assert {len(values) for values in series.values()} == {len(readings)}
    assert series["workers", "pss_bytes"][2] is None
    assert series["workers", "pss_bytes"][1] == readings[1]["pss_bytes"]
    cpu = series["workers", "cpu_ratio"]
    assert [cpu[index] is None for index in range(6)] == [True, False, False, True, True, False]
    assert series["postgres", "sessions_other"][0] == 5


def test_it_can_be_stored_as_version_2(record: dict[str, Any]) -> None:
    """A converted record survives a round trip through JSON."""
    run = convert(record, STORED)
    assert msgspec.json.decode(msgspec.json.encode(run), type=Run) == run


def test_unreadable_samples_are_rejected(record: dict[str, Any], tmp_path: Path) -> None:
    """A missing, broken or truncated samples file is rejected by name."""
    with pytest.raises(ConfigurationError, match=r"samples\.csv\.gz: cannot be read"):
        convert(record, tmp_path)
    (tmp_path / FILE).write_bytes((STORED / FILE).read_bytes()[:5000])
    with pytest.raises(ConfigurationError, match=r"samples\.csv\.gz: cannot be read"):
        convert(record, tmp_path)
    shutil.copy(STORED / FILE, tmp_path / FILE)
    lines = gzip.decompress((STORED / FILE).read_bytes()).splitlines(keepends=True)
    (tmp_path / FILE).write_bytes(gzip.compress(b"".join(lines[:500])))
    with pytest.raises(ConfigurationError, match=r"asyncpg-json, round 1: found \d+ samples; 771 were measured"):
        convert(record, tmp_path)


def test_an_incomplete_record_is_rejected(record: dict[str, Any]) -> None:
    """The error for an incomplete record names the missing part."""
    del record["machine"]
    with pytest.raises(msgspec.ValidationError, match="machine"):
        convert(record, STORED)
