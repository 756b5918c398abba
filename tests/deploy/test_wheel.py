from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it is published."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_contents(wheel: Path) -> None:
    """The wheel contains all files that the commands read, and no caches."""
    packed = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("profiles", "workloads", "migrations"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert files
        assert {f"bookstore/shipped/{path.relative_to(ROOT).as_posix()}" for path in files} <= packed
    assert {
        "bookstore/shipped/docs/problems.md",
        "bookstore/py.typed",
        "bookstore/catalog/datasets/goodbooks-10k.csv.gz",
        "bookstore/catalog/datasets/NOTICE.md",
        "bookstore/http/routes/swagger_ui/index.html",
        "bookstore/http/routes/swagger_ui/swagger-ui-bundle.js.gz",
        "bookstore/lab/report/assets/page.html",
        "bookstore/lab/report/assets/plot.umd.min.js",
        "bookstore/lab/report/assets/LICENSES.txt",
    } <= packed
    assert not [name for name in packed if name.endswith(".pyc")]


def test_installed_package(wheel: Path, tmp_path: Path) -> None:
    """Outside the checkout, the package uses its own profiles and migrations."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import bookstore; from bookstore.config import resources; from bookstore.database import migrations;"
        "from bookstore.profile import loader;"
        "print(bookstore.__file__); print(loader.load('default').name, migrations.revisions());"
        "print(resources.shipped('workloads'))"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    location, versions, workloads = result.stdout.splitlines()
    assert location.startswith(str(tmp_path))
    revisions = sorted(path.stem.partition("_")[0] for path in (ROOT / "migrations/versions").glob("*.py"))
    assert versions == f"default {revisions}"
    assert workloads == str(tmp_path / "bookstore" / "shipped" / "workloads")
