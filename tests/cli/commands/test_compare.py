from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from click.testing import CliRunner

from bookstore.cli.commands.compare import compare
from bookstore.cli.commands.runs import runs
from bookstore.cli.progress import progress
from bookstore.exceptions import ConfigurationError
from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.record.run_record import Run
from bookstore.lab.storage import runs as results
from bookstore.lab.testbed.process import wait_until
from bookstore.reaper import is_alive

WITHIN_S = 45
SMALL = ("--books", "200", "--rounds", "2", "--duration", "500ms", "--warm-up", "200ms", "--seed", "1", "--allow-busy")


@pytest.fixture(scope="module")
def workplace() -> Iterator[Path]:
    """Where the commands make temporary files: what is left can be seen there."""
    with tempfile.TemporaryDirectory(prefix="workplace-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def start(workplace: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "FORCE_COLOR"}}
    return subprocess.Popen(
        [sys.executable, "-m", "bookstore", *arguments],
        env=environment | {"TMPDIR": str(workplace)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=110)
    return process.returncode, stdout, stderr


def left_of(workplace: Path) -> list[str]:
    """Files and processes that a comparison left; its lock file may stay."""
    found = [path.name for path in workplace.iterdir() if path.suffix != ".lock"]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if str(workplace) in command:
                found.append(command)
    return found


@pytest.fixture(scope="module")
def record(workplace: Path, output: Path) -> Run:
    """A small comparison's record, as `--json` prints it."""
    profiles = ("psycopg-sync-joined", "asyncpg-json")
    code, stdout, stderr = finish(start(workplace, "compare", *profiles, *SMALL, "-o", str(output), "--json"))
    assert code == 0, stderr
    assert f"record: {output}" in stderr
    assert left_of(workplace) == []
    return msgspec.json.decode(stdout, type=Run)


def test_compare(record: Run, output: Path) -> None:
    """A comparison's record holds what was asked, each profile once a round, statements, ratios, the
    interval; and it is stored as it was printed."""
    labels = ["psycopg-sync-joined", "asyncpg-json"]
    assert [one.label for one in record.contenders] == [one.profile for one in record.summary] == labels
    assert (record.seed, record.catalogue.books, record.workload.duration) == (1, 200, 0.5)
    assert [sorted(one.profile for one in each.measurements) for each in record.rounds] == [sorted(labels)] * 2
    assert [one.statements for one in record.summary] == [1, 1]
    assert record.status == "complete"
    first, second = record.summary
    assert first.comparisons == []
    ratio = second.compared_by("throughput_per_s")
    assert ratio
    assert ratio.rounds == 2
    assert ratio.ratio.low is not None
    assert ratio.ratio.high is not None
    assert ratio.ratio.low <= ratio.ratio.estimate <= ratio.ratio.high
    for one in record.summary:
        assert one.throughput_per_s > 0
        assert 0 < one.p50_ms <= one.p99_ms <= one.max_ms
        assert one.errors == 0
        assert one.ceiling_share
        assert one.pss_bytes
        assert one.connections
    for each in record.rounds:
        for measured in each.measurements:
            assert measured.throughput_per_s == pytest.approx((measured.requests - measured.errors) / 0.5)
            assert {series.name for series in measured.telemetry.series} > {"pss_bytes", "sessions_idle", "sent_per_s"}
            assert measured.warm_up_s > 0
    assert results.read(output / record.id) == record
    assert (output / record.id / "samples.parquet").stat().st_size > 0


def test_runs(record: Run, output: Path, workplace: Path) -> None:
    """The run is listed and shown by each of its names; a pipe gets at most 80 columns and no colour."""
    listed = CliRunner().invoke(runs, ["list", "-o", str(output)])
    assert len(listed.stdout.splitlines()) == 1
    assert str(output / record.id) in listed.stdout
    code, shown, _ = finish(start(workplace, "runs", "show", "latest", "-o", str(output)))
    assert code == 0
    assert "asyncpg-json serves" in shown
    assert "\x1b" not in shown
    table = shown.split("\n\n", 1)[0]
    assert max(map(len, table.splitlines())) <= 80
    for name in (record.id, str(output / record.id), str(output / record.id / "run.json")):
        told = CliRunner().invoke(runs, ["show", name, "-o", str(output), "--json"])
        assert msgspec.json.decode(told.stdout, type=Run) == record
    told = CliRunner().invoke(runs, ["list", "-o", str(output), "--json"])
    assert [one["id"] for one in json.loads(told.stdout)] == [record.id]


def test_head(record: Run, output: Path, workplace: Path) -> None:
    """A reader that has seen enough gets no traceback."""
    showing = start(workplace, "runs", "show", "latest", "-o", str(output), "--json")
    assert showing.stdout
    assert showing.stderr
    assert showing.stdout.readline() == "{\n"
    showing.stdout.close()
    assert "Traceback" not in showing.stderr.read()
    showing.stderr.close()
    showing.wait(WITHIN_S)


def test_runs_that_are_none(tmp_path: Path) -> None:
    """No runs, an unknown one and a broken one are told apart, and a broken one hides no other."""
    empty = CliRunner().invoke(runs, ["list", "-o", str(tmp_path)])
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert f"no runs in {tmp_path}" in empty.stderr
    for name, told in (("latest", "no runs in"), ("20260101", "no such run")):
        result = CliRunner().invoke(runs, ["show", name, "-o", str(tmp_path)])
        assert isinstance(result.exception, ConfigurationError)
        assert told in str(result.exception)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    listed = CliRunner().invoke(runs, ["list", "-o", str(tmp_path)])
    assert listed.exit_code == 0
    assert "left out: " in listed.stderr


def interrupted(
    workplace: Path, stage: str, number: signal.Signals, whole_group: bool
) -> tuple[int, str, list[int], Path]:
    """(exit code, stderr, the processes there were, output) of a comparison that got a signal at a stage."""
    output = workplace.with_name(workplace.name + f"-{stage.replace(' ', '-')}-{number.name}")
    process = start(workplace, "compare", "asyncpg-json", "psycopg-sync-joined", *SMALL, "-o", str(output))
    assert process.stderr
    for line in process.stderr:
        if stage in line:
            break
    if stage == "making a database":
        assert wait_until(lambda: len(list(workplace.glob("bookstore-*/data*"))) > 0, WITHIN_S)
    started = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    assert started
    (os.killpg if whole_group else os.kill)(process.pid, number)
    code, _, stderr = finish(process)
    return code, stderr, started, output


def nothing_left(workplace: Path, started: list[int]) -> Callable[[], bool]:
    return lambda: not any(map(is_alive, started)) and left_of(workplace) == []


@pytest.mark.parametrize(
    ("stage", "number", "whole_group"),
    [
        ("making a database", signal.SIGINT, True),  # Ctrl-C goes to all of the terminal's group
        ("is loaded", signal.SIGINT, True),
        ("is verified", signal.SIGTERM, False),
    ],
)
def test_interrupted(stage: str, number: signal.Signals, whole_group: bool, workplace: Path) -> None:
    """Ctrl-C and SIGTERM end a comparison in good order: exit code 130, nothing is left, nothing is stored."""
    code, stderr, started, output = interrupted(workplace, stage, number, whole_group)
    assert code == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert wait_until(nothing_left(workplace, started), WITHIN_S), left_of(workplace)
    assert list(output.iterdir()) == []
    output.rmdir()


@pytest.mark.parametrize("stage", ["making a database", "is loaded"])
def test_killed(stage: str, workplace: Path) -> None:
    """After kill -9 all is gone soon, nothing is stored, and the next comparison may begin."""
    code, _, started, output = interrupted(workplace, stage, signal.SIGKILL, whole_group=False)
    assert code == -signal.SIGKILL
    assert wait_until(nothing_left(workplace, started), WITHIN_S), left_of(workplace)
    assert results.runs(output) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(workplace))
        with results.sole_user(output):
            assert list(output.iterdir()) == []
    for each in workplace.parent.glob(f"{workplace.name}-*"):
        each.rmdir()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["asyncpg-jsn"], "did you mean that"),
        (["asyncpg-json@pool_size=many"], "pool_size: found the text 'many'"),
        (["asyncpg-json@workers=50,pool_size=20"], "over the connection budget"),
        (["asyncpg-json", "--books", "5", "--catalog", "x.csv"], "exclude each other"),
        (["asyncpg-json", "--catalog", "none.csv"], "--catalog none.csv: no such file"),
        (["asyncpg-json", "--books", "0"], "0 is not in the range"),
        (["asyncpg-json", "--duration", "0"], "'0' is no duration"),
        (["asyncpg-json", "--duration", "0s"], "duration: found the text '0s'"),
        (["asyncpg-json", "--duration", "-1"], "'-1' is no duration"),
        (["asyncpg-json", "--duration", "10 m"], "'10 m' is no duration"),
        (["asyncpg-json", "--duration", "1e9h"], "'1e9h' is no duration"),
        (["asyncpg-json", "--duration", "1000000000h"], "duration: found"),
        (["asyncpg-json", "--warm-up", "2h"], "warm_up: found"),
        (["asyncpg-json", "-c", "0"], "0 is not in the range"),
        (["asyncpg-json", "--rounds", "0"], "0 is not in the range"),
        (["asyncpg-json", "--workload", "none"], "no such workload"),
        (["asyncpg-json", "--output", "/dev/null"], "choose another --output"),
        ([], "name two or more profiles or services"),
        (["asyncpg-json", "--precision", "3"], "'3' is no share"),
        (["asyncpg-json", "--precision", "0%"], "'0%' is no share"),
        (["asyncpg-json", "--rounds", "2", "--max-rounds", "3"], "--rounds excludes"),
        (["asyncpg-json", "--min-rounds", "9", "--max-rounds", "3"], "--min-rounds: found 9; allowed is 1 to 3"),
        (["asyncpg-json", "--threshold", "p(95)=<200"], "--threshold: found 'p(95)=<200'"),
        (["asyncpg-json", "--external", "x=http://example.com/"], "allowed is this machine"),
        (["asyncpg-json", "--limit-cpu", "4096"], "the CPUs of this machine"),
        (["asyncpg-json", "--limit-memory", "1MB"], "--limit-memory: found 1 MiB"),
        (["asyncpg-json", "--limit-memory", "lots"], "'lots' is no size"),
        (["--baseline", "latest"], "--baseline and --contender go together"),
    ],
)
def test_refused(
    arguments: list[str], told: str, tmp_path: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad input is told, and nothing is started or written for it."""

    def run(*_: object) -> None:
        pytest.fail("it was started")

    monkeypatch.setattr("bookstore.lab.run.run", run)
    monkeypatch.setattr(tempfile, "tempdir", str(workplace))
    result = CliRunner().invoke(compare, ["-o", str(tmp_path / "runs"), "asyncpg-json", *arguments])
    if isinstance(result.exception, ConfigurationError):
        assert told in str(result.exception)
    else:
        assert (result.exit_code, result.stdout) == (2, "")
        assert told in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_refused_by_the_command(workplace: Path, tmp_path: Path) -> None:
    """A refusal ends with exit code 2, without a traceback, and leaves nothing."""
    code, stdout, stderr = finish(start(workplace, "compare", "asyncpg-json", "nope", "-o", str(tmp_path / "runs")))
    assert (code, stdout) == (2, "")
    assert stderr.startswith("bookstore: ")
    assert "Traceback" not in stderr
    assert left_of(workplace) == []
    assert list(tmp_path.iterdir()) == []


def test_invalid(tmp_path: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement that is not valid ends with exit code 3 and its reason, and stores nothing."""

    def run(*_: object) -> None:
        raise InvalidMeasurement("a worker was replaced")

    monkeypatch.setattr("bookstore.lab.run.run", run)
    monkeypatch.setattr(tempfile, "tempdir", str(workplace))
    result = CliRunner().invoke(compare, ["asyncpg-json", "asyncpg-json", "-o", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (3, "")
    assert "bookstore: the measurement is not valid: a worker was replaced" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_progress_at_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """At a terminal of 80 columns the progress stays on one line, however long a profile's name is."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with progress() as tell:
        tell("round 1/3  " + "psycopg-sync-selectin@" * 9 + ": is loaded", 0.5)
    frames = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", it) for it in re.split(r"[\r\n]", capsys.readouterr().err)]
    telling = [frame for frame in frames if "psycopg" in frame]
    assert telling
    assert all("round 1/3" in frame and len(frame) <= 80 for frame in telling)


def test_progress_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe each thing that is begun is told once, a line each."""
    with progress() as tell:
        for done in (0.1, 0.15, 0.2):
            tell("round 1/2  asyncpg-json: is loaded", done)
        tell("round 2/2  asyncpg-json: starts", 0.5)
    assert (
        capsys.readouterr().err == " 10%  round 1/2  asyncpg-json: is loaded\n 50%  round 2/2  asyncpg-json: starts\n"
    )
