from __future__ import annotations

import resource
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bookstore.cli.commands.report import report
from bookstore.cli.pages import write_after_run
from bookstore.exceptions import ConfigurationError

from ...lab import records


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(report, [*map(str, arguments)])
    if isinstance(result.exception, ConfigurationError):
        raise result.exception
    return result


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with two runs."""
    folder = tmp_path / "runs"
    records.make(folder, rounds=2, invalid=())
    records.make(folder, run_id="20260201T080000_later", day=1, rounds=2, invalid=())
    return folder


def test_a_page_is_written_into_the_run(runs: Path) -> None:
    """`latest` is the newest run; its report is written into its folder, and the path is printed."""
    result = run("latest", "--runs", runs)
    assert result.stdout == f"{runs / '20260201T080000_later' / 'report.html'}\n"
    assert "20260201T080000_later" in Path(result.stdout.strip()).read_text()


def test_several_runs_are_one_page(runs: Path) -> None:
    """Two runs, one given by folder and one by ID, share a report in the folder above; -o selects another file."""
    first, second = sorted(runs.iterdir())
    assert run(first, second.name, "--runs", runs).stdout.strip() == str(runs / "report.html")
    other = runs.parent / "other.html"
    run(first, second, "-o", other)
    assert all(name in other.read_text() for name in (first.name, second.name))


def test_the_index_names_unreadable_runs(runs: Path) -> None:
    """A broken record is named on stderr and in the index; other runs are listed, with links to existing reports."""
    run("latest", "--runs", runs)
    (runs / "broken").mkdir()
    (runs / "broken" / "run.json").write_text('{"schema_version": 2}')
    result = run("--index", "--runs", runs)
    assert f"skipped: {runs / 'broken' / 'run.json'}" in result.stderr
    page = (runs / "index.html").read_text()
    assert all(text in page for text in ("20260131T080000_made-up", "./20260201T080000_later/report.html", "broken"))
    assert "./20260131T080000_made-up/report.html" not in page


def test_an_index_of_nothing_is_a_page(tmp_path: Path) -> None:
    """Without runs, the index is written as well."""
    assert run("--index", "--runs", tmp_path / "none").stdout.strip() == str(tmp_path / "none" / "index.html")


def test_errors_name_the_known_runs(runs: Path) -> None:
    """The error about an unknown run lists the known ones; the error about a bad record names its file."""
    with pytest.raises(
        ConfigurationError, match=r"run 20260201T08_later: no such run; allowed is .*20260201T080000_later"
    ):
        run("20260201T08_later", "--runs", runs)
    (runs / "20260201T080000_later" / "run.json").write_text("[]")
    with pytest.raises(ConfigurationError, match=r"later/run\.json: not a run record"):
        run("latest", "--runs", runs)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        run(runs / "20260131T080000_made-up", "-o", "/proc/report.html")


@pytest.mark.parametrize("arguments", [[], ["--index", "latest"]])
def test_either_runs_or_the_index(arguments: list[str]) -> None:
    """Giving neither or both is a usage error."""
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("existed", [True, False])
def test_a_full_disk_leaves_no_partial_page(existed: bool, runs: Path) -> None:
    """The error names a page that cannot be written completely; existing files stay unchanged."""
    folder = runs / "20260201T080000_later"
    page = folder / "report.html"
    if existed:
        page.write_text("before")
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(ConfigurationError, match=r"report\.html: cannot be written: File too large"):
            write_after_run(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before
