"""Failures during a measurement: each is named, and no partial result is ever taken for a complete one."""

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
from functools import partial
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
from bookstore.lab.load import k9_plan
from bookstore.lab.record import samples
from bookstore.lab.record.run_record import Catalogue, Run
from bookstore.lab.storage import runs as run_storage
from bookstore.lab.testbed import local
from bookstore.lab.testbed import process as testbed_process
from bookstore.lab.testbed.database import BenchmarkDatabase, benchmark_database
from bookstore.lab.testbed.process import wait_until
from bookstore.lab.testbed.readiness import wait_ready
from bookstore.reaper import Reaper, is_alive

from . import records
from .protocols import child_processes, hanging_service, ignore_progress, make_plan, once, steady_service

WITHIN_S = 30
SHORT = ("--books", "60", "--duration", "500ms", "--warm-up", "100ms", "--seed", "1", "--no-inspect")

Tell = Callable[[str, float], None]
Compare = Callable[..., Result]


@pytest.fixture
def run_compare(ready_database: BenchmarkDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """`bookstore compare` in this process, with the shared database and `tell` as its progress."""

    def invoke(*arguments: str, tell: Tell = ignore_progress, output: Path = tmp_path / "runs") -> Result:
        @contextmanager
        def progress() -> Iterator[Tell]:
            yield tell

        monkeypatch.setattr(measurement, "progress", progress)
        return CliRunner().invoke(compare, [*arguments, *SHORT, "-o", str(output)])

    return invoke


def two_services(folder: Path) -> list[str]:
    """Return the files of two services that are cheap to deploy."""
    return [steady_service(folder), steady_service(folder, "other")]


def read_run(output: Path) -> Run:
    (folder,) = run_storage.list_runs(output)
    return run_storage.read(folder)


def problem_codes(record: Run, label: str) -> list[str]:
    return [
        problem.code
        for round_ in record.rounds
        for measurement in round_.measurements
        if measurement.profile == label
        for problem in measurement.problems
    ]  # fmt: skip


def start_command(folder: Path, *arguments: str, prefix: tuple[str, ...] = (), path: str = "") -> subprocess.Popen[str]:
    """Start the command as a user would; its temporary files are in `folder`."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    environment = {**os.environ, "TMPDIR": str(folder), "COLUMNS": "80"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH", ""))))
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "bookstore", *arguments],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def wait_for_exit(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return (exit code, stderr)."""
    _, stderr = process.communicate(timeout=110)
    return process.returncode, stderr


def wait_for(process: subprocess.Popen[str], *parts: str) -> None:
    """Wait until the command prints a line with these parts."""
    assert process.stderr
    for line in process.stderr:
        if all(part in line for part in parts):
            return
    pytest.fail(f"no line with {parts}")


@pytest.fixture
def workplace() -> Iterator[Path]:
    """A folder for temporary files that PostgreSQL's own user may enter."""
    with tempfile.TemporaryDirectory(prefix="workplace-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def leftovers(workplace: Path) -> list[str]:
    """Return files and processes that the command left behind."""
    files = [path.name for path in workplace.iterdir() if path.suffix not in {".lock", ".yaml"} and path.name != "runs"]
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return files + [command for command in commands if str(workplace) in command]


# L1: the disk is full


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk; tests/lab/storage covers the rest")
def test_a_full_disk(workplace: Path) -> None:
    """On a full disk the run exits with code 3 and names its path; earlier results are unchanged, no partial result has
    a run's name, and no process is left."""
    output, kept = workplace / "runs", workplace / "kept"
    output.mkdir()
    script = (
        f"mount -t tmpfs -o size=24k tmpfs {output} && mkdir {output}/before && head -c 9000 /dev/urandom > "
        f'{output}/before/run.json && cp {output}/before/run.json {kept} && "$@"; code=$?; '
        f"cmp {kept} {output}/before/run.json && ls -A {output} >&2; exit $code"
    )
    specs = two_services(workplace)
    process = start_command(
        workplace, "compare", *specs, *SHORT, "--rounds", "1", "-o", str(output), "--allow-busy",
        prefix=("unshare", "-m", "sh", "-c", script, "sh"),
    )  # fmt: skip
    code, stderr = wait_for_exit(process)
    kept.unlink()
    assert code == 3, stderr
    message = next(line for line in stderr.splitlines() if "cannot be written" in line)
    assert f"{output}/" in message
    assert "No space left on device" in message
    assert stderr.splitlines()[-1] == "before"  # cmp found no difference, and ls shows nothing else
    assert "Traceback" not in stderr
    assert wait_until(lambda: leftovers(workplace) == [], WITHIN_S), leftovers(workplace)


# L2: the run is killed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_is_aborted(number: signal.Signals, run_compare: Compare, tmp_path: Path) -> None:
    """A run that is stopped after a complete round is stored as aborted with that round alone, listed as aborted, and
    never treated as complete."""
    tell = once("round 2  other: measuring", lambda: os.kill(os.getpid(), number))
    result = run_compare(*two_services(tmp_path), "--rounds", "3", "--allow-busy", tell=tell)
    assert result.exit_code != 0
    assert "complete rounds, if any, are stored" in result.stderr
    assert child_processes("server.py") == child_processes("k9") == []
    output = tmp_path / "runs"
    record = read_run(output)
    assert (record.status, len(record.rounds)) == ("aborted", 1)
    folder = output / record.id
    assert len(samples.read(folder)) == sum(
        len(samples.read(folder, contender.label, 1)) for contender in record.contenders
    )
    listed = CliRunner().invoke(runs, ["list", "-o", str(output)])
    assert listed.stdout.rstrip().endswith("aborted")
    shown = CliRunner().invoke(runs, ["show", "latest", "-o", str(output)])
    assert "Aborted run, preliminary: " in shown.stdout
    both = CliRunner().invoke(compare, ["--baseline", "latest", "--contender", "latest", "-o", str(output)])
    assert both.exit_code == 3
    assert "is aborted: stopped after round 1" in both.stderr


def test_a_killed_sweep_goes_on(workplace: Path) -> None:
    """A sweep killed at a random moment resumes: every cell is measured exactly once, with one seed, and nothing that
    was measured before is measured again."""
    output = workplace / "runs"
    short = [part for part in SHORT if part not in {"--seed", "1"}]
    command = [
        "sweep", steady_service(workplace), "--over", "concurrency=1,2", "--rounds", "2", *short,
        "--allow-busy", "--no-watch", "-o", str(output),
    ]  # fmt: skip
    process = start_command(workplace, *command)
    wait_for(process, "round 2", "measuring")
    time.sleep(random.uniform(0, 1))  # noqa: S311 - a moment, not a secret: in a cell, or between two
    process.kill()
    wait_for_exit(process)
    assert wait_until(lambda: leftovers(workplace) == [], WITHIN_S), leftovers(workplace)
    assert run_storage.list_runs(output) == []
    kept = {path: path.read_bytes() for path in output.glob(".*/*/measurement.json")}
    assert 2 <= len(kept) <= 4
    process = start_command(workplace, *command)
    code, stderr = wait_for_exit(process)
    assert code == 0, stderr
    assert "resuming" in stderr
    record = read_run(output)
    assert record.status == "complete"
    cells = ["steady concurrency=1", "steady concurrency=2"]
    assert [sorted(measured.profile for measured in round_.measurements) for round_ in record.rounds] == [cells, cells]
    before = [msgspec.json.decode(raw, type=tuple[int, msgspec.Raw]) for raw in kept.values()]
    after = [msgspec.json.encode(measured) for round_ in record.rounds for measured in round_.measurements]
    assert all(bytes(measurement) in after for _, measurement in before)
    folder = output / record.id
    for round_ in record.rounds:
        for measured in round_.measurements:
            own_samples = samples.read(folder, measured.profile, round_.number)
            assert len(own_samples.between(0, measured.seconds)) == measured.requests
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
def test_a_server_that_dies(whom: str, code: str, run_compare: Compare, tmp_path: Path) -> None:
    """A round with killed server or workers is invalid and not in the summary; the run exits with code 3."""

    def kill() -> None:
        (parent,) = [process for process in child_processes("bookstore serve") if process.ppid() == os.getpid()]
        for process in [parent] if whom == "parent" else parent.children():
            process.kill()

    tell = once("round 1  asyncpg-json: measuring", kill)
    specs = ["asyncpg-json", steady_service(tmp_path)]
    result = run_compare(*specs, "--rounds", "1", "--allow-busy", "--duration", "1s", tell=tell)
    assert result.exit_code == 3, result.output
    assert "asyncpg-json has 0 of 1 required valid rounds" in result.stderr
    record = read_run(tmp_path / "runs")
    assert record.status == "invalid"
    assert code in problem_codes(record, "asyncpg-json")
    assert [contender.profile for contender in record.summary] == ["steady"]
    assert child_processes("bookstore serve") == child_processes("server.py") == []


def test_a_service_that_hangs_under_load(run_compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contender that stops answering is recorded as such in each round and given up after two; the other's
    measurements are kept, and no process is left."""
    monkeypatch.setattr(k9_plan, "GRACE_S", 1)
    specs = [steady_service(tmp_path), hanging_service(tmp_path, answers=10)]
    result = run_compare(*specs, "--rounds", "3", "--allow-busy", "-w", "list-20")
    assert result.exit_code == 3, result.output
    assert "hanging has 0 of 3 required valid rounds" in result.stderr
    record = read_run(tmp_path / "runs")
    assert problem_codes(record, "hanging") == ["no_answer", "no_answer"]
    assert [summary.rounds for summary in record.summary] == [3]
    assert "hanging, rounds 1, 2: no_answer: no request" in result.stdout
    assert child_processes("hanging.py") == child_processes("server.py") == child_processes("-m k9 run") == []


def test_a_service_that_never_answers(run_compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contender that accepts requests and never becomes ready is recorded; if that is true of all, the run ends
    after two rounds and is stored."""
    monkeypatch.setattr(testbed_process, "wait_ready", partial(wait_ready, within_s=1))
    specs = [hanging_service(tmp_path, answers=0), steady_service(tmp_path)]
    result = run_compare(*specs, "--rounds", "1", "--allow-busy")
    assert result.exit_code == 3, result.output
    record = read_run(tmp_path / "runs")
    assert problem_codes(record, "hanging") == ["no_answer"]
    assert [summary.profile for summary in record.summary] == ["steady"]
    alone = run_compare(specs[0], specs[0], "--max-rounds", "9", output=tmp_path / "alone")
    assert alone.exit_code == 3, alone.output
    record = read_run(tmp_path / "alone")
    assert (record.status, len(record.rounds), record.summary) == ("invalid", 2, [])


def test_a_service_that_ends_at_its_start(run_compare: Compare, tmp_path: Path) -> None:
    """The run ends in the first round and names the contender, with the service's last lines."""
    file = tmp_path / "broken.yaml"
    file.write_text(f"external:\n  command: {sys.executable} -c \"raise SystemExit('no such table')\" {{port}}\n")
    result = run_compare(str(file), steady_service(tmp_path), "--rounds", "1", "--allow-busy")
    assert result.exit_code == 3
    assert "broken: the service ended during startup with exit code 1:\nno such table" in result.stderr
    assert run_storage.list_runs(tmp_path / "runs") == []


# L4: the load tool


@pytest.mark.parametrize(
    ("main", "message"), [("print('k9 9.9.9')", "found k9 9.9.9"), (None, "No module named k9.__main__")]
)
def test_a_load_tool_that_is_not_ours(main: str | None, message: str, workplace: Path) -> None:
    """If k9 is missing or has another version, nothing is started or written."""
    (workplace / "lib" / "k9").mkdir(parents=True)
    (workplace / "lib" / "k9" / "__init__.py").touch()
    if main:
        (workplace / "lib" / "k9" / "__main__.py").write_text(main)
    output = workplace / "runs"
    process = start_command(
        workplace, "compare", *two_services(workplace), *SHORT, "-o", str(output), path=str(workplace / "lib")
    )  # fmt: skip
    code, stderr = wait_for_exit(process)
    assert code == 2, stderr
    assert message in stderr
    assert "allowed is k9 0.1.0" in stderr
    assert "creating the database" not in stderr
    assert not output.exists()


def test_a_load_tool_that_is_killed(run_compare: Compare, tmp_path: Path) -> None:
    """If k9 is killed the run exits with code 3 and says so; earlier rounds are kept, and no process is left."""

    def kill() -> None:
        (k9,) = child_processes("-m k9 run")
        k9.kill()

    tell = once("round 2  other: measuring", kill)
    result = run_compare(*two_services(tmp_path), "--rounds", "2", "--allow-busy", tell=tell)
    assert result.exit_code == 3, result.output
    assert "k9 exited with code -9" in result.stderr
    record = read_run(tmp_path / "runs")
    assert (record.status, len(record.rounds)) == ("invalid", 1)
    assert child_processes("server.py") == child_processes("-m k9 run") == []


# L5: two at once


def test_two_at_once(workplace: Path) -> None:
    """A second run is refused while one measures; the error names the first one's process, which is not disturbed."""
    specs = two_services(workplace)
    first = start_command(
        workplace, "compare", *specs, *SHORT, "--rounds", "1", "--allow-busy", "-o", str(workplace / "runs")
    )
    wait_for(first, "creating the database")
    code, stderr = wait_for_exit(start_command(workplace, "compare", *specs, *SHORT, "-o", str(workplace / "runs")))
    assert code == 2
    assert f"another comparison of this user is running, process {first.pid};" in stderr
    assert is_alive(first.pid)
    code, stderr = wait_for_exit(first)
    assert code == 0, stderr
    assert read_run(workplace / "runs").status == "complete"


# L6: the database stops


@pytest.mark.parametrize("number", [1, 2])
def test_a_database_that_stops(number: int, reaper: Reaper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the database stops during a round, the run ends as invalid with a reason, complete rounds are kept, and no
    process is left. tests/lab/telemetry covers the gaps in the figures."""
    databases: list[BenchmarkDatabase] = []

    @contextmanager
    def remembered(*arguments: object, **options: object) -> Iterator[BenchmarkDatabase]:
        with benchmark_database(*arguments, **options) as database:  # type: ignore[arg-type] # handed on
            databases.append(database)
            yield database

    def fill(connection: psycopg.Connection) -> Catalogue:
        datasets.generate(connection, books=60, seed=1)
        return Catalogue("generated, seed 1", 60)

    monkeypatch.setattr(local, "benchmark_database", remembered)

    def stop() -> None:
        cluster = databases[0].server
        assert isinstance(cluster, Cluster)
        cluster.stop("immediate")

    tell = once(f"round {number}  steady: measuring", stop)
    plan = make_plan([steady_service(tmp_path)], tmp_path / "runs", min_rounds=3, max_rounds=3)
    if number == 1:
        with pytest.raises(InvalidMeasurement, match="the lab's database or a worker stopped"):
            run.run(plan, fill, tell)
        assert list((tmp_path / "runs").iterdir()) == []
    else:
        outcome = run.run(plan, fill, tell)
        assert (outcome.run.status, len(outcome.run.rounds)) == ("invalid", 1)
        assert outcome.run.told.startswith("the lab's database or a worker stopped: ")
        assert read_run(tmp_path / "runs") == outcome.run
        assert outcome.run.machine.postgresql
    assert child_processes("server.py") == child_processes("k9") == []


# L7: a noisy machine


@pytest.fixture
def burner() -> Iterator[None]:
    """A process that uses as much of a core as it gets."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield
        process.kill()


@pytest.mark.usefixtures("burner")
def test_a_noisy_machine(run_compare: Compare, tmp_path: Path) -> None:
    """A round beside a process that burns a core is invalid and the run exits with code 3; with --allow-busy it counts
    and carries a warning."""
    specs = two_services(tmp_path)
    strict = run_compare(*specs, "--rounds", "1", "--duration", "1s", output=tmp_path / "strict")
    assert strict.exit_code == 3, strict.output
    record = read_run(tmp_path / "strict")
    assert record.status == "invalid"
    assert "machine_busy" in problem_codes(record, "steady")
    assert "other processes used" in strict.output
    tolerant = run_compare(*specs, "--rounds", "1", "--duration", "1s", "--allow-busy", output=tmp_path / "tolerant")
    assert tolerant.exit_code == 0, tolerant.output
    record = read_run(tmp_path / "tolerant")
    assert record.status == "complete"
    assert problem_codes(record, "steady") == []
    assert all(
        "machine_busy" in [warning.code for warning in measured.warnings]
        for round_ in record.rounds
        for measured in round_.measurements
    )


# L8: results from elsewhere


def test_results_from_elsewhere(tmp_path: Path) -> None:
    """Runs of different machines and versions are refused, each field named; if allowed, they carry a warning. A newer
    schema is refused."""
    created = [records.make(tmp_path, run_id=f"2026020{day}T080000_x", day=day, rounds=2, invalid=()) for day in (1, 2)]
    names = [f"2026020{day}T080000_x" for day in (1, 2)]
    assert created
    file = tmp_path / names[1] / "run.json"
    record = run_storage.read(file)
    machine = msgspec.structs.replace(
        record.machine, cores=64, python="3.99.1", packages={**record.machine.packages, "litestar": "99.0"}
    )
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(record, machine=machine)))
    command = ["--baseline", names[0], "--contender", names[1], "-o", str(tmp_path)]
    result = CliRunner().invoke(compare, command)
    assert isinstance(result.exception, ConfigurationError)
    for field in ("machine.cores: ", "versions.python: ", "versions.litestar: "):
        assert field in str(result.exception)
    assert "64 in 20260202T080000_x" in str(result.exception)
    allowed = CliRunner().invoke(compare, [*command, "--allow-unlike"])
    assert allowed.exit_code == 0, allowed.output
    assert "The runs differ: " in " ".join(allowed.stdout.split())
    file.write_bytes(file.read_bytes().replace(b'"schema_version":2', b'"schema_version":3'))
    newer = CliRunner().invoke(compare, command)
    assert isinstance(newer.exception, ConfigurationError)
    assert f"{file}: schema_version: found 3; this version reads 1 and 2" in str(newer.exception)


# L9: where results go


@pytest.mark.parametrize("place", ["a file", "below a file", "a link to nowhere", "a link in a circle", "read-only"])
def test_a_place_for_no_results(
    place: str, run_compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be written is reported before anything starts."""

    def no_run(*_: object) -> None:
        pytest.fail("the run was started")

    monkeypatch.setattr(run, "run", no_run)
    output = {"read-only": Path("/proc/self"), "below a file": tmp_path / "file" / "runs"}.get(place, tmp_path / "runs")
    (tmp_path / "file").touch()
    if place == "a file":
        output.touch()
    if place == "a link to nowhere":
        output.symlink_to(tmp_path / "nowhere" / "at all")
    if place == "a link in a circle":
        output.symlink_to(output)
    result = run_compare(*two_services(tmp_path), output=output)
    if isinstance(result.exception, ConfigurationError):
        assert str(result.exception).startswith(f"{output}: cannot be written: ")
    else:
        assert result.exit_code == 2
        assert str(output) in result.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing folder is created and a link to a folder is followed; cleanup of killed runs does not follow links in
    it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    elsewhere, precious = tmp_path / "elsewhere", tmp_path / "precious"
    for folder in (elsewhere, precious):
        folder.mkdir()
    (precious / "file").touch()
    (tmp_path / "runs").symlink_to(elsewhere)
    (elsewhere / ".x.partial").symlink_to(precious)
    with run_storage.exclusive_use(tmp_path / "runs"):
        assert (precious / "file").exists()
    with run_storage.exclusive_use(tmp_path / "new" / "runs") as left:
        assert left == []
        assert (tmp_path / "new" / "runs").is_dir()
