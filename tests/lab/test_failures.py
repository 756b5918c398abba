"""The lab's own faults: whatever breaks while it measures is named, and no half result is ever taken for one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
import psycopg
import pytest
from click.testing import CliRunner, Result

from bookstore.catalog import datasets
from bookstore.cli import measurement
from bookstore.cli.commands.compare import compare
from bookstore.cli.commands.runs import runs
from bookstore.database.embedded import Cluster
from bookstore.exceptions import ConfigurationError
from bookstore.lab import run
from bookstore.lab.exceptions import InvalidMeasurement
from bookstore.lab.record import samples
from bookstore.lab.record.run_record import Catalogue, Run
from bookstore.lab.storage import runs as results
from bookstore.lab.testbed import local as host
from bookstore.lab.testbed.database import BenchmarkDatabase, benchmark_database
from bookstore.lab.testbed.process import wait_until
from bookstore.reaper import Reaper, is_alive

from . import records
from .protocols import children, once, planned, quiet, steady

WITHIN_S = 30
SHORT = ("--books", "60", "--duration", "500ms", "--warm-up", "100ms", "--seed", "1", "--no-inspect")

Tell = Callable[[str, float], None]
Compare = Callable[..., Result]


@pytest.fixture
def compared(ready_laboratory: BenchmarkDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """`bookstore compare`, in this process, with the laboratory that is there, and `tell` as its progress."""

    def compared(*arguments: str, tell: Tell = quiet, output: Path = tmp_path / "runs") -> Result:
        @contextmanager
        def progress() -> Iterator[Tell]:
            yield tell

        monkeypatch.setattr(measurement, "progress", progress)
        return CliRunner().invoke(compare, [*arguments, *SHORT, "-o", str(output)])

    return compared


def pair(folder: Path) -> list[str]:
    """Two services that cost little to deploy."""
    return [steady(folder), steady(folder, "other")]


def stored(output: Path) -> Run:
    (folder,) = results.list_runs(output)
    return results.read(folder)


def codes(record: Run, label: str) -> list[str]:
    return [
        one.code
        for each in record.rounds
        for it in each.measurements
        if it.profile == label
        for one in it.problems
    ]  # fmt: skip


def started(folder: Path, *arguments: str, prefix: tuple[str, ...] = (), path: str = "") -> subprocess.Popen[str]:
    """The command as anybody starts it; its temporary files are below `folder`."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    environment = {**os.environ, "TMPDIR": str(folder), "COLUMNS": "80"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH", ""))))
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "bookstore", *arguments],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """(exit code, stderr)."""
    _, stderr = process.communicate(timeout=110)
    return process.returncode, stderr


def wait_for(process: subprocess.Popen[str], *parts: str) -> None:
    """Until the command says a line with these parts."""
    assert process.stderr
    for line in process.stderr:
        if all(part in line for part in parts):
            return
    pytest.fail(f"it never said {parts}")


@pytest.fixture
def workplace() -> Iterator[Path]:
    """A folder for temporary files that PostgreSQL's own user may enter."""
    with tempfile.TemporaryDirectory(prefix="workplace-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def left_below(workplace: Path) -> list[str]:
    """Files and processes that the command left."""
    found = [path.name for path in workplace.iterdir() if path.suffix not in {".lock", ".yaml"} and path.name != "runs"]
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return found + [command for command in commands if str(workplace) in command]


# L1: the disk is full


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk; tests/lab/test_draft.py has it for all")
def test_a_full_disk(workplace: Path) -> None:
    """On a disk that is too small the run ends with 3 and names its path; earlier results are as they were, nothing
    half has a run's name, and nothing is left running."""
    output, kept = workplace / "runs", workplace / "kept"
    output.mkdir()
    script = (
        f"mount -t tmpfs -o size=24k tmpfs {output} && mkdir {output}/before && head -c 9000 /dev/urandom > "
        f'{output}/before/run.json && cp {output}/before/run.json {kept} && "$@"; code=$?; '
        f"cmp {kept} {output}/before/run.json && ls -A {output} >&2; exit $code"
    )
    specs = pair(workplace)
    process = started(
        workplace, "compare", *specs, *SHORT, "--rounds", "1", "-o", str(output), "--allow-busy",
        prefix=("unshare", "-m", "sh", "-c", script, "sh"),
    )  # fmt: skip
    code, stderr = ended(process)
    kept.unlink()
    assert code == 3, stderr
    told = next(line for line in stderr.splitlines() if "cannot be written" in line)
    assert f"{output}/" in told
    assert "No space left on device" in told
    assert stderr.splitlines()[-1] == "before"  # cmp was content, and ls shows nothing else
    assert "Traceback" not in stderr
    assert wait_until(lambda: left_below(workplace) == [], WITHIN_S), left_below(workplace)


# L2: the run is killed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_is_aborted(number: signal.Signals, compared: Compare, tmp_path: Path) -> None:
    """With a whole round behind it a run that is told to stop is stored as aborted, with that round alone; it is
    listed as such, says so first, and what is made of it is never complete."""
    tell = once("round 2  other: is loaded", lambda: os.kill(os.getpid(), number))
    result = compared(*pair(tmp_path), "--rounds", "3", "--allow-busy", tell=tell)
    assert result.exit_code != 0
    assert "complete rounds, if any, are stored" in result.stderr
    assert children("server.py") == children("k9") == []
    output = tmp_path / "runs"
    record = stored(output)
    assert (record.status, len(record.rounds)) == ("aborted", 1)
    folder = output / record.id
    assert len(samples.read(folder)) == sum(len(samples.read(folder, it.label, 1)) for it in record.contenders)
    listed = CliRunner().invoke(runs, ["list", "-o", str(output)])
    assert listed.stdout.rstrip().endswith("aborted")
    shown = CliRunner().invoke(runs, ["show", "latest", "-o", str(output)])
    assert "Stopped before its end, no more than an impression" in shown.stdout
    both = CliRunner().invoke(compare, ["--baseline", "latest", "--contender", "latest", "-o", str(output)])
    assert both.exit_code == 3
    assert "is aborted: stopped after 1 whole rounds" in both.stderr


def test_a_killed_sweep_goes_on(workplace: Path) -> None:
    """A sweep that was killed at a random moment ends with every cell measured exactly once, all with the same seed;
    of what was measured before the kill nothing is measured again."""
    output = workplace / "runs"
    short = [part for part in SHORT if part not in {"--seed", "1"}]
    command = [
        "sweep", steady(workplace), "--over", "concurrency=1,2", "--rounds", "2", *short, "--allow-busy", "--no-watch",
        "-o", str(output),
    ]  # fmt: skip
    process = started(workplace, *command)
    wait_for(process, "round 2", "is loaded")
    time.sleep(random.uniform(0, 1))  # noqa: S311 - a moment, not a secret: in a cell, or between two
    process.kill()
    ended(process)
    assert wait_until(lambda: left_below(workplace) == [], WITHIN_S), left_below(workplace)
    assert results.list_runs(output) == []
    kept = {path: path.read_bytes() for path in output.glob(".*/*/measurement.json")}
    assert 2 <= len(kept) <= 4
    process = started(workplace, *command)
    code, stderr = ended(process)
    assert code == 0, stderr
    assert "resuming" in stderr
    record = stored(output)
    assert record.status == "complete"
    cells = ["steady concurrency=1", "steady concurrency=2"]
    assert [sorted(one.profile for one in each.measurements) for each in record.rounds] == [cells, cells]
    before = [msgspec.json.decode(raw, type=tuple[int, msgspec.Raw]) for raw in kept.values()]
    after = [msgspec.json.encode(one) for each in record.rounds for one in each.measurements]
    assert all(bytes(measurement) in after for _, measurement in before)
    folder = output / record.id
    for each in record.rounds:
        for one in each.measurements:
            assert len(samples.read(folder, one.profile, each.number).between(0, one.seconds)) == one.requests
    assert record.id.endswith(f"-{record.seed}")
    assert [path for path in output.iterdir() if path.name.startswith(".")] == []


# L3: the server dies


@pytest.mark.parametrize(
    ("whom", "code"),
    [
        pytest.param("parent", "server_died", id="parent"),
        pytest.param("workers", "worker_replaced", id="workers"),
    ],
)
def test_a_server_that_dies(whom: str, code: str, compared: Compare, tmp_path: Path) -> None:
    """A round in which the server or its workers were killed is not valid and says why; no figure of it is in the
    summary, and the run ends with 3."""

    def kill() -> None:
        (parent,) = [one for one in children("bookstore serve") if one.ppid() == os.getpid()]
        for one in [parent] if whom == "parent" else parent.children():
            one.kill()

    tell = once("round 1  asyncpg-json: is loaded", kill)
    specs = ["asyncpg-json", steady(tmp_path)]
    result = compared(*specs, "--rounds", "1", "--allow-busy", "--duration", "1s", tell=tell)
    assert result.exit_code == 3, result.output
    assert "asyncpg-json has 0 of 1 valid rounds" in result.stderr
    record = stored(tmp_path / "runs")
    assert record.status == "invalid"
    assert code in codes(record, "asyncpg-json")
    assert [one.profile for one in record.summary] == ["steady"]
    assert children("bookstore serve") == children("server.py") == []


# L4: the load tool


@pytest.mark.parametrize(
    ("main", "told"), [("print('k9 9.9.9')", "found k9 9.9.9"), (None, "No module named k9.__main__")]
)
def test_a_load_tool_that_is_not_ours(main: str | None, told: str, workplace: Path) -> None:
    """Where k9 is missing or of another version, nothing is started or written."""
    (workplace / "lib" / "k9").mkdir(parents=True)
    (workplace / "lib" / "k9" / "__init__.py").touch()
    if main:
        (workplace / "lib" / "k9" / "__main__.py").write_text(main)
    output = workplace / "runs"
    process = started(
        workplace, "compare", *pair(workplace), *SHORT, "-o", str(output), path=str(workplace / "lib")
    )  # fmt: skip
    code, stderr = ended(process)
    assert code == 2, stderr
    assert told in stderr
    assert "allowed is k9 0.1.0" in stderr
    assert "making a database" not in stderr
    assert not output.exists()


def test_a_load_tool_that_is_killed(compared: Compare, tmp_path: Path) -> None:
    """Where k9 is killed the run ends with 3 and says so; the rounds before are kept, nothing is left running."""

    def kill() -> None:
        (k9,) = children("-m k9 run")
        k9.kill()

    tell = once("round 2  other: is loaded", kill)
    result = compared(*pair(tmp_path), "--rounds", "2", "--allow-busy", tell=tell)
    assert result.exit_code == 3, result.output
    assert "k9 ended with code -9" in result.stderr
    record = stored(tmp_path / "runs")
    assert (record.status, len(record.rounds)) == ("invalid", 1)
    assert children("server.py") == children("-m k9 run") == []


# L5: two at once


def test_two_at_once(workplace: Path) -> None:
    """While one run measures another is refused, which names the first one's process and leaves it alone."""
    specs = pair(workplace)
    first = started(
        workplace, "compare", *specs, *SHORT, "--rounds", "1", "--allow-busy", "-o", str(workplace / "runs")
    )
    wait_for(first, "making a database")
    code, stderr = ended(started(workplace, "compare", *specs, *SHORT, "-o", str(workplace / "runs")))
    assert code == 2
    assert f"another comparison of this user is running, process {first.pid};" in stderr
    assert is_alive(first.pid)
    code, stderr = ended(first)
    assert code == 0, stderr
    assert stored(workplace / "runs").status == "complete"


# L6: the database stops


@pytest.mark.parametrize("number", [1, 2])
def test_a_database_that_stops(number: int, reaper: Reaper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database is stopped while a round is measured the run ends as invalid with a reason, whole rounds
    are kept, and nothing is left running. That its figures are gaps tests/lab/test_telemetry.py shows."""
    own: list[BenchmarkDatabase] = []

    @contextmanager
    def remembered(*arguments: object, **options: object) -> Iterator[BenchmarkDatabase]:
        with benchmark_database(*arguments, **options) as it:  # type: ignore[arg-type] # handed on
            own.append(it)
            yield it

    def fill(connection: psycopg.Connection) -> Catalogue:
        datasets.generate(connection, books=60, seed=1)
        return Catalogue("generated, seed 1", 60)

    monkeypatch.setattr(host, "benchmark_database", remembered)

    def stop() -> None:
        cluster = own[0].server
        assert isinstance(cluster, Cluster)
        cluster.stop("immediate")

    tell = once(f"round {number}  steady: is loaded", stop)
    plan = planned([steady(tmp_path)], tmp_path / "runs", min_rounds=3, max_rounds=3)
    if number == 1:
        with pytest.raises(InvalidMeasurement, match="the lab's database or a worker is gone"):
            run.run(plan, fill, tell)
        assert list((tmp_path / "runs").iterdir()) == []
    else:
        outcome = run.run(plan, fill, tell)
        assert (outcome.run.status, len(outcome.run.rounds)) == ("invalid", 1)
        assert outcome.run.told.startswith("the lab's database or a worker is gone: ")
        assert stored(tmp_path / "runs") == outcome.run
        assert outcome.run.machine.postgresql
    assert children("server.py") == children("k9") == []


# L7: a noisy machine


@pytest.fixture
def burner() -> Iterator[None]:
    """A process that uses all that it gets of a core."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield
        process.kill()


@pytest.mark.usefixtures("burner")
def test_a_noisy_machine(compared: Compare, tmp_path: Path) -> None:
    """Beside a process that burns a core a round is not valid and the run ends with 3; where that is allowed it
    counts, and carries the warning."""
    specs = pair(tmp_path)
    refused = compared(*specs, "--rounds", "1", "--duration", "1s", output=tmp_path / "strict")
    assert refused.exit_code == 3, refused.output
    record = stored(tmp_path / "strict")
    assert record.status == "invalid"
    assert "machine_busy" in codes(record, "steady")
    assert "other processes used" in refused.output
    borne = compared(*specs, "--rounds", "1", "--duration", "1s", "--allow-busy", output=tmp_path / "borne")
    assert borne.exit_code == 0, borne.output
    record = stored(tmp_path / "borne")
    assert record.status == "complete"
    assert codes(record, "steady") == []
    assert all(
        "machine_busy" in [one.code for one in it.warnings] for each in record.rounds for it in each.measurements
    )


# L8: results from elsewhere


def test_results_from_elsewhere(tmp_path: Path) -> None:
    """Runs of unlike machines and versions are refused, each field named; allowed, they carry a warning. One of a
    newer schema is refused."""
    made = [records.make(tmp_path, run_id=f"2026020{day}T080000_x", day=day, rounds=2, invalid=()) for day in (1, 2)]
    names = [f"2026020{day}T080000_x" for day in (1, 2)]
    assert made
    file = tmp_path / names[1] / "run.json"
    record = results.read(file)
    machine = msgspec.structs.replace(
        record.machine, cores=64, python="3.99.1", packages={**record.machine.packages, "litestar": "99.0"}
    )
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(record, machine=machine)))
    command = ["--baseline", names[0], "--contender", names[1], "-o", str(tmp_path)]
    refused = CliRunner().invoke(compare, command)
    assert isinstance(refused.exception, ConfigurationError)
    for field in ("machine.cores: ", "versions.python: ", "versions.litestar: "):
        assert field in str(refused.exception)
    assert "64 in 20260202T080000_x" in str(refused.exception)
    allowed = CliRunner().invoke(compare, [*command, "--allow-unlike"])
    assert allowed.exit_code == 0, allowed.output
    assert "The runs differ: " in " ".join(allowed.stdout.split())
    file.write_bytes(file.read_bytes().replace(b'"schema_version":2', b'"schema_version":3'))
    newer = CliRunner().invoke(compare, command)
    assert isinstance(newer.exception, ConfigurationError)
    assert f"{file}: schema_version: found 3; this version reads 1 and 2" in str(newer.exception)


# L9: where results go


@pytest.mark.parametrize("place", ["a file", "below a file", "a link to nowhere", "a link in a circle", "read-only"])
def test_a_place_for_no_results(place: str, compared: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where results cannot be written is told before anything is started."""

    def no_run(*_: object) -> None:
        pytest.fail("it was started")

    monkeypatch.setattr(run, "run", no_run)
    output = {"read-only": Path("/proc/self"), "below a file": tmp_path / "file" / "runs"}.get(place, tmp_path / "runs")
    (tmp_path / "file").touch()
    if place == "a file":
        output.touch()
    if place == "a link to nowhere":
        output.symlink_to(tmp_path / "nowhere" / "at all")
    if place == "a link in a circle":
        output.symlink_to(output)
    result = compared(*pair(tmp_path), output=output)
    if isinstance(result.exception, ConfigurationError):
        assert str(result.exception).startswith(f"{output}: cannot be written: ")
    else:
        assert result.exit_code == 2
        assert str(output) in result.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing folder is made, and a link to a folder is followed; a link in it is not, when what killed runs left
    is removed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    elsewhere, precious = tmp_path / "elsewhere", tmp_path / "precious"
    for folder in (elsewhere, precious):
        folder.mkdir()
    (precious / "file").touch()
    (tmp_path / "runs").symlink_to(elsewhere)
    (elsewhere / ".x.partial").symlink_to(precious)
    with results.exclusive_use(tmp_path / "runs"):
        assert (precious / "file").exists()
    with results.exclusive_use(tmp_path / "new" / "runs") as left:
        assert left == []
        assert (tmp_path / "new" / "runs").is_dir()
