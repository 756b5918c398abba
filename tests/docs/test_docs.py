from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bookstore import cli
from bookstore.cli.reference import ENVIRONMENT
from bookstore.lab.record.run_record import Problem
from bookstore.lab.workload import file as workload_file

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/bookstore/**/*.md")])


def _command_lines() -> list[str]:
    """Return every line that calls `bookstore` in a shell block or CI job of a page."""
    lines = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh|console|yaml)\n(.*?)```", page.read_text(), re.DOTALL):
            lines += [line.removeprefix("$ ") for line in block.splitlines() if re.search(r"\bbookstore [a-z]", line)]
    called = [line[line.index("bookstore ") :] for line in lines if not line.startswith("bookstore:")]
    return [re.split(r" (?:>>|[>|]) ", line)[0] for line in called]


def test_the_reference_is_up_to_date() -> None:
    """docs/reference.md is what `make docs` would write, with -h in every command's help."""
    command = [
        sys.executable,
        "-m",
        "bookstore.cli.reference",
    ]  # a new process, because click caches a command's help options
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs/reference.md").read_text() == written
    assert "  -h, --help " in written
    assert "  --help " not in written


def test_every_variable_that_is_read_is_documented() -> None:
    """Every environment variable that the code reads is in the reference."""
    sources = [path.read_text() for path in (ROOT / "src").rglob("*.py")]
    read = {
        name
        for text in sources
        for name in re.findall(r'(?:text|number|flag|_all|_rate)\((?:environ, )?"([A-Z_]+)"', text)
    }
    assert read
    assert read <= ENVIRONMENT.keys()


@pytest.mark.parametrize("line", _command_lines())
def test_every_command_in_the_docs_exists(line: str) -> None:
    """Every command line in the docs has existing commands and options and valid values."""
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = cli.bookstore
    context = click.Context(command)
    while isinstance(command, click.Group) and words:
        subcommand = command.get_command(context, words.pop(0))
        assert subcommand, line
        command = subcommand
    command.make_context("", [word.replace("…", "x") for word in words])


def test_every_target_in_the_docs_exists() -> None:
    """Every `make` target in the docs exists, and `make help` lists all targets."""
    named = {name for page in PAGES for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    listed = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    phony = set((ROOT / "Makefile").read_text().partition(".PHONY: ")[2].splitlines()[0].split())
    assert {"aa", "power"} <= named <= listed
    assert listed == phony


def test_the_guide_quotes_the_example_as_it_is() -> None:
    """The guide quotes benchmarks/truth/steady.yaml exactly."""
    example = (ROOT / "benchmarks/truth/steady.yaml").read_text()
    assert f"```yaml\n{example}```" in (ROOT / "docs/lab.md").read_text()


def test_workload_in_the_guide(tmp_path: Path) -> None:
    """The workload in the guide is valid."""
    guide = (ROOT / "docs/lab.md").read_text()
    block = re.search(r"```yaml\n(description: \"a shop at noon\".*?)```", guide, re.DOTALL)
    assert block
    (tmp_path / "noon.yaml").write_text(block[1])
    assert workload_file.load(str(tmp_path / "noon.yaml")).model == "open"


def test_guide_documents_each_problem() -> None:
    """The guide has every reason for which a measurement does not count."""
    guide = (ROOT / "docs/lab.md").read_text()
    codes = re.findall(r"[a-z_]+", (Problem.__doc__ or "").partition("one of: ")[2].partition(".")[0])
    assert len(codes) == 11
    assert [code for code in codes if f"`{code}`" not in guide] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """The target of every link or picture within the project exists."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
