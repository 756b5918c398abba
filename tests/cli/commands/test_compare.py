from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
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
from bookstore.lab.storage import runs as run_storage
from bookstore.lab.testbed.process import wait_until
from bookstore.reaper import is_alive

WITHIN_S = 45
SMALL = ("--books", "200", "--rounds", "2", "--duration", "500ms", "--warm-up", "200ms", "--seed", "1", "--allow-busy")


@pytest.fixture(scope="module")
def workplace() -> Iterator[Path]:
    """Folder for the commands' temporary files, so that leftovers can be found."""
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


def leftovers_in(workplace: Path) -> list[str]:
    """Return files and processes that a comparison has left behind; its lock file may stay."""
    leftovers = [path.name for path in workplace.iterdir() if path.suffix != ".lock"]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if str(workplace) in command:
                leftovers.append(command)
    return leftovers


@pytest.fixture(scope="module")
def record(workplace: Path, output: Path) -> Run:
    """The record of a small comparison, as printed by `--json`."""
    profiles = ("psycopg-sync-joined", "asyncpg-json")
    code, stdout, stderr = finish(start(workplace, "compare", *profiles, *SMALL, "-o", str(output), "--json"))
    assert code == 0, stderr
    assert f"record: {output}" in stderr
    assert leftovers_in(workplace) == []
    return msgspec.json.decode(stdout, type=Run)


def test_compare(record: Run, output: Path) -> None:
    """The record has the inputs, each profile once per round, statements, ratios and their intervals. The stored
    record equals the printed one."""
    labels = ["psycopg-sync-joined", "asyncpg-json"]
    assert [contender.label for contender in record.contenders] == labels
    assert [summary.profile for summary in record.summary] == labels
    assert (record.seed, record.catalogue.books, record.workload.duration) == (1, 200, 0.5)
    assert [sorted(measurement.profile for measurement in each.measurements) for each in record.rounds] == [
        sorted(labels)
    ] * 2
    assert [summary.statements for summary in record.summary] == [1, 1]
    assert record.status == "complete"
    first, second = record.summary
    assert first.comparisons == []
    ratio = second.compared_by("throughput_per_s")
    assert ratio
    assert ratio.rounds == 2
    assert ratio.ratio.low is not None
    assert ratio.ratio.high is not None
    assert ratio.ratio.low <= ratio.ratio.estimate <= ratio.ratio.high
    for summary in record.summary:
        assert summary.throughput_per_s > 0
        assert 0 < summary.p50_ms <= summary.p99_ms <= summary.max_ms
        assert summary.errors == 0
        assert summary.ceiling_share
        assert summary.pss_bytes
        assert summary.connections
    for each in record.rounds:
        for measurement in each.measurements:
            assert measurement.throughput_per_s == pytest.approx((measurement.requests - measurement.errors) / 0.5)
            names = {series.name for series in measurement.telemetry.series}
            assert names > {"pss_bytes", "sessions_idle", "sent_per_s"}
            assert measurement.warm_up_s > 0
    assert run_storage.read(output / record.id) == record
    assert (output / record.id / "samples.parquet").stat().st_size > 0


def test_runs(record: Run, output: Path, workplace: Path) -> None:
    """The run can be listed, and shown by each of its names; piped output has at most 80 columns and no colour."""
    listed = CliRunner().invoke(runs, ["list", "-o", str(output)])
    assert len(listed.stdout.splitlines()) == 1
    assert str(output / record.id) in listed.stdout
    code, shown, _ = finish(start(workplace, "runs", "show", "latest", "-o", str(output)))
    assert code == 0
    assert "asyncpg-json serves" in shown
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    for name in (record.id, str(output / record.id), str(output / record.id / "run.json")):
        result = CliRunner().invoke(runs, ["show", name, "-o", str(output), "--json"])
        assert msgspec.json.decode(result.stdout, type=Run) == record
    result = CliRunner().invoke(runs, ["list", "-o", str(output), "--json"])
    assert [row["id"] for row in json.loads(result.stdout)] == [record.id]


def test_head(record: Run, output: Path, workplace: Path) -> None:
    """A reader that closes the pipe early causes no traceback."""
    process = start(workplace, "runs", "show", "latest", "-o", str(output), "--json")
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == "{\n"
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(WITHIN_S)


@pytest.mark.parametrize("arguments", [["runs", "show", "latest", "--json"], ["runs", "list", "--help"], ["nothing"]])
def test_a_pipe_without_a_reader(arguments: list[str], record: Run, output: Path, workplace: Path) -> None:
    """With stdout and stderr in a pipe that nobody reads, the command ends with exit code 141, or its own for a message
    that did not fit, and without a traceback."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    stderr = workplace / "stderr.new"
    folder = ["-o", str(output)] if "latest" in arguments else []
    with stderr.open("wb") as file:
        for error_stream in (write_end, file):
            code = subprocess.run(
                [sys.executable, "-m", "bookstore", *arguments, *folder],
                stdout=write_end, stderr=error_stream, check=False, timeout=WITHIN_S,
            ).returncode  # fmt: skip
            assert code in ({141} if "show" in arguments else {1, 2, 141})
    os.close(write_end)
    assert "Traceback" not in stderr.read_text()
    assert "Exception ignored" not in stderr.read_text()
    stderr.unlink()


def test_a_run_without_a_reader(workplace: Path, tmp_path: Path) -> None:
    """`compare … 2>&1 | head -1`: the run is measured to its end and stored with its report."""
    file = tmp_path / "steady.yaml"
    server = Path(__file__).parents[3] / "benchmarks/truth/server.py"
    file.write_text(f"external:\n  command: {sys.executable} {server} {{port}} 400\n")
    command = ["compare", str(file), str(file), *SMALL, "--no-watch", "--rounds", "1", "-o", str(tmp_path / "runs")]
    process = subprocess.Popen(
        [sys.executable, "-m", "bookstore", *command],
        env=os.environ | {"TMPDIR": str(workplace)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout
    assert "creating the database" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(110) == 141
    (folder,) = run_storage.list_runs(tmp_path / "runs")
    assert run_storage.read(folder).status == "complete"
    assert (folder / "report.html").is_file()
    assert leftovers_in(workplace) == []


def test_names_that_are_not_utf_8(record: Run, output: Path, workplace: Path, tmp_path: Path) -> None:
    """An argument with such bytes is refused before anything starts; a run in a folder with such a name is skipped."""
    undecodable = os.fsdecode(bytes(tmp_path) + b"/runs\xff")
    for arguments in (
        ["compare", "default", "default", "-o", undecodable],
        ["report", "latest", "--runs", undecodable],
    ):
        code, stdout, stderr = finish(start(workplace, *arguments))
        assert (code, stdout) == (2, "")
        assert (
            stderr
            == f"bookstore: argument {tmp_path}/runs\\xff: found bytes that are not UTF-8; rename the file or folder\n"
        )
    assert list(tmp_path.iterdir()) == []
    shutil.copytree(output / record.id, os.fsdecode(bytes(tmp_path) + b"/x\xff"))
    listed = CliRunner().invoke(runs, ["list", "-o", str(tmp_path)])
    assert listed.exit_code == 0
    assert f"skipped: {tmp_path}/x\\xff: found bytes that are not UTF-8" in listed.stderr


def test_missing_and_broken_runs(tmp_path: Path) -> None:
    """No runs, an unknown run and a broken run have different messages, and a broken run hides no other."""
    empty = CliRunner().invoke(runs, ["list", "-o", str(tmp_path)])
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert f"no runs in {tmp_path}" in empty.stderr
    for name, message in (("latest", "no runs in"), ("20260101", "no such run")):
        result = CliRunner().invoke(runs, ["show", name, "-o", str(tmp_path)])
        assert isinstance(result.exception, ConfigurationError)
        assert message in str(result.exception)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    listed = CliRunner().invoke(runs, ["list", "-o", str(tmp_path)])
    assert listed.exit_code == 0
    assert "skipped: " in listed.stderr


def send_signal_at(
    workplace: Path, stage: str, number: signal.Signals, whole_group: bool
) -> tuple[int, str, list[int], Path]:
    """Send a signal to a comparison at a stage. Return its exit code, stderr, child processes and output folder."""
    output = workplace.with_name(workplace.name + f"-{stage.replace(' ', '-')}-{number.name}")
    process = start(workplace, "compare", "asyncpg-json", "psycopg-sync-joined", *SMALL, "-o", str(output))
    assert process.stderr
    for line in process.stderr:
        if stage in line:
            break
    if stage == "creating the database":
        assert wait_until(lambda: len(list(workplace.glob("bookstore-*/data*"))) > 0, WITHIN_S)
    started = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    assert started
    (os.killpg if whole_group else os.kill)(process.pid, number)
    code, _, stderr = finish(process)
    return code, stderr, started, output


def no_leftovers(workplace: Path, started: list[int]) -> Callable[[], bool]:
    return lambda: not any(map(is_alive, started)) and leftovers_in(workplace) == []


@pytest.mark.parametrize(
    ("stage", "number", "whole_group"),
    [
        ("creating the database", signal.SIGINT, True),  # Ctrl-C goes to all of the terminal's group
        ("measuring", signal.SIGINT, True),
        ("verifying", signal.SIGTERM, False),
    ],
)
def test_interrupted(stage: str, number: signal.Signals, whole_group: bool, workplace: Path) -> None:
    """Ctrl-C and SIGTERM end a comparison with exit code 130; nothing is left behind and nothing is stored."""
    code, stderr, started, output = send_signal_at(workplace, stage, number, whole_group)
    assert code == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert wait_until(no_leftovers(workplace, started), WITHIN_S), leftovers_in(workplace)
    assert list(output.iterdir()) == []
    output.rmdir()


@pytest.mark.parametrize("stage", ["creating the database", "measuring"])
def test_killed(stage: str, workplace: Path) -> None:
    """After kill -9 all processes and files soon disappear, nothing is stored, and the next comparison can start."""
    code, _, started, output = send_signal_at(workplace, stage, signal.SIGKILL, whole_group=False)
    assert code == -signal.SIGKILL
    assert wait_until(no_leftovers(workplace, started), WITHIN_S), leftovers_in(workplace)
    assert run_storage.list_runs(output) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(workplace))
        with run_storage.exclusive_use(output):
            assert list(output.iterdir()) == []
    for each in workplace.parent.glob(f"{workplace.name}-*"):
        each.rmdir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["asyncpg-jsn"], "did you mean that"),
        (["asyncpg-json@pool_size=many"], "pool_size: found the text 'many'"),
        (["asyncpg-json@workers=50,pool_size=20"], "over the connection budget"),
        (["asyncpg-json", "--books", "5", "--catalog", "x.csv"], "--books and --catalog cannot be combined"),
        (["asyncpg-json", "--catalog", "none.csv"], "--catalog none.csv: no such file"),
        (["asyncpg-json", "--books", "0"], "0 is not in the range"),
        (["asyncpg-json", "--duration", "0"], "'0' is not a duration"),
        (["asyncpg-json", "--duration", "0s"], "duration: found the text '0s'"),
        (["asyncpg-json", "--duration", "-1"], "'-1' is not a duration"),
        (["asyncpg-json", "--duration", "10 m"], "'10 m' is not a duration"),
        (["asyncpg-json", "--duration", "1e9h"], "'1e9h' is not a duration"),
        (["asyncpg-json", "--duration", "1000000000h"], "duration: found"),
        (["asyncpg-json", "--warm-up", "2h"], "warm_up: found"),
        (["asyncpg-json", "-c", "0"], "0 is not in the range"),
        (["asyncpg-json", "--rounds", "0"], "0 is not in the range"),
        (["asyncpg-json", "--workload", "none"], "no such workload"),
        (["asyncpg-json", "--output", "/dev/null"], "choose another --output"),
        ([], "name two or more profiles or services"),
        (["asyncpg-json", "--precision", "3"], "'3' is not a percentage"),
        (["asyncpg-json", "--precision", "0%"], "'0%' is not a percentage"),
        (["asyncpg-json", "--rounds", "2", "--max-rounds", "3"], "--rounds cannot be combined"),
        (["asyncpg-json", "--min-rounds", "9", "--max-rounds", "3"], "--min-rounds: found 9; allowed is 1 to 3"),
        (["asyncpg-json", "--threshold", "p(95)=<200"], "--threshold: found 'p(95)=<200'"),
        (["asyncpg-json", "--external", "x=http://example.com/"], "allowed is this machine"),
        (["asyncpg-json", "--limit-cpu", "4096"], "the CPUs of this machine"),
        (["asyncpg-json", "--limit-memory", "1MB"], "--limit-memory: found 1 MiB"),
        (["asyncpg-json", "--limit-memory", "lots"], "'lots' is not a size"),
        (["--baseline", "latest"], "--baseline and --contender go together"),
    ],
)
def test_invalid_input(
    arguments: list[str], message: str, tmp_path: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invalid input is reported, and nothing is started or written."""

    def run(*_: object) -> None:
        pytest.fail("a run was started")

    monkeypatch.setattr("bookstore.lab.run.run", run)
    monkeypatch.setattr(tempfile, "tempdir", str(workplace))
    result = CliRunner().invoke(compare, ["-o", str(tmp_path / "runs"), "asyncpg-json", *arguments])
    if isinstance(result.exception, ConfigurationError):
        assert message in str(result.exception)
    else:
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_error_of_the_command(workplace: Path, tmp_path: Path) -> None:
    """A configuration error ends with exit code 2, without a traceback, and leaves nothing behind."""
    code, stdout, stderr = finish(start(workplace, "compare", "asyncpg-json", "nope", "-o", str(tmp_path / "runs")))
    assert (code, stdout) == (2, "")
    assert stderr.startswith("bookstore: ")
    assert "Traceback" not in stderr
    assert leftovers_in(workplace) == []
    assert list(tmp_path.iterdir()) == []


def test_invalid_run(tmp_path: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid run ends with exit code 3 and its reason, and stores nothing."""

    def run(*_: object) -> None:
        raise InvalidMeasurement("a worker was replaced")

    monkeypatch.setattr("bookstore.lab.run.run", run)
    monkeypatch.setattr(tempfile, "tempdir", str(workplace))
    result = CliRunner().invoke(compare, ["asyncpg-json", "asyncpg-json", "-o", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (3, "")
    assert "bookstore: invalid run: a worker was replaced" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_progress_at_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """At a terminal with 80 columns, progress stays on one line even if a profile has a long name."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with progress() as report_progress:
        report_progress("round 1/3  " + "psycopg-sync-selectin@" * 9 + ": measuring", 0.5)
    frames = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]", capsys.readouterr().err)]
    with_profile = [frame for frame in frames if "psycopg" in frame]
    assert with_profile
    assert all("round 1/3" in frame and len(frame) <= 80 for frame in with_profile)


def test_progress_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe, each step is printed once, on its own line."""
    with progress() as report_progress:
        for done in (0.1, 0.15, 0.2):
            report_progress("round 1/2  asyncpg-json: measuring", done)
        report_progress("round 2/2  asyncpg-json: starting", 0.5)
    assert (
        capsys.readouterr().err == " 10%  round 1/2  asyncpg-json: measuring\n 50%  round 2/2  asyncpg-json: starting\n"
    )
