"""The layout that the documents describe: folders, files to touch, and the words of the glossary."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import click
import pytest

from bookstore import cli

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/bookstore"
FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))
GLOSSARY = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs/glossary.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| word ")
]


def test_no_folder_is_crowded() -> None:
    """No folder of the package holds more than 15 modules."""
    sizes = {path: len(list(path.glob("*.py"))) - 1 for path in FOLDERS}
    assert {path.name: size for path, size in sizes.items() if size > 15} == {}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_folder_says_what_belongs_in_it(folder: Path) -> None:
    """A folder begins with a docstring, and ARCHITECTURE.md names the folder."""
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert re.search(rf"\b{folder.name}/", (ROOT / "ARCHITECTURE.md").read_text())


def test_tests_mirror_the_package() -> None:
    """Each folder of tests is a folder of the package, or one of those that test the whole from outside."""
    outside = {"clients", "container", "contract", "data", "deploy", "docs", "traces", "version_1"}
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("*.py")}
    strays = [str(path) for path in folders if not (PACKAGE / path).is_dir() and path.name not in outside]
    assert strays == []


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_files_named_in_the_documents_exist(page: str) -> None:
    """A path in backticks is a file or folder of the repository, or of the package."""
    named = set(
        re.findall(r"`([a-z_][\w/.-]*(?:/|\.py|\.js|\.md|\.yaml|\.json|\.lock|\.toml))`", (ROOT / page).read_text())
    )
    assert len(named) >= 15
    runtime = {"bookstore/shipped/", "latencies.hlog", "run.json"}
    bases = [ROOT, PACKAGE, PACKAGE / "http/routes", PACKAGE / "lab/analysis", PACKAGE / "lab/report/assets"]
    bases += [PACKAGE / "observability/metrics", ROOT / "tests/contract"]
    assert [path for path in named - runtime if not any((base / path).exists() for base in bases)] == []


@pytest.mark.parametrize("row", GLOSSARY, ids=lambda row: row[0])
def test_the_glossary_names_what_exists(row: list[str]) -> None:
    """A word's modules, classes and commands exist under the names that the glossary gives."""
    names = re.findall(r"`(bookstore[ .][^`]+)`", row[2])
    assert names
    for name in names:
        if " " in name:
            assert isinstance(cli.bookstore.get_command(click.Context(cli.bookstore), name.split()[1]), click.Command)
            continue
        parent, _, leaf = name.rpartition(".")
        if not hasattr(importlib.import_module(parent), leaf):
            importlib.import_module(name)


def test_retired_words_stay_out_of_the_code() -> None:
    """A word that the glossary retired is no identifier in the package."""
    retired = {row[3] for row in GLOSSARY if row[3]}
    assert len(retired) >= 10
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = {getattr(node, name, None) for name in ("id", "attr", "arg", "name")}
            found |= {f"{path.relative_to(PACKAGE)}: {name}" for name in names & retired}
    assert found == set()
