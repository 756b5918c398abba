from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from bookstore import cli
from bookstore.reference import ENVIRONMENT, reference

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/bookstore/**/*.md")])


def _command_lines() -> list[str]:
    """Every line of a shell block in a page that calls `bookstore`."""
    lines = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(), re.DOTALL):
            lines += [line.removeprefix("$ ") for line in block.splitlines() if re.search(r"\bbookstore [a-z]", line)]
    return [line[line.index("bookstore ") :] for line in lines if not line.startswith("bookstore:")]


def test_the_reference_is_up_to_date() -> None:
    """docs/reference.md is what `make docs` would write."""
    assert (ROOT / "docs/reference.md").read_text() == reference() + "\n"


def test_the_reference_shows_help_as_a_terminal_does() -> None:
    """Each command's help names -h, which the group's settings add, whatever ran before."""
    assert reference().count("  --help ") == 0


def test_every_variable_that_is_read_is_documented() -> None:
    """Each environment variable that the code reads stands in the reference."""
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
    """A command line of a page names commands and options that exist, with values that are accepted."""
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = cli.bookstore
    context = click.Context(command)
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words.pop(0))
        assert found, line
        command = found
    command.make_context("", [word.replace("…", "x") for word in words])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A link or picture within the project is there."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
