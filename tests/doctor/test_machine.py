from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from bookstore.doctor import machine
from bookstore.profile import loader


def write_control_groups(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


GROUPS = {
    "version 2, in a container": ("0::/", {"cpu.max": "150000 100000", "memory.max": "268435456"}, (1.5, 2**28)),
    "version 2, smaller limit in the parent": (
        "0::/a/b",
        {"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000", "a/b/memory.max": "max", "a/memory.max": "1024"},
        (0.5, 1024),
    ),
    "version 1": (
        "4:cpu,cpuacct:/a\n5:memory:/a\n1:name=systemd:/",
        {
            "cpu/a/cpu.cfs_quota_us": "200000",
            "cpu/a/cpu.cfs_period_us": "100000",
            "memory/a/memory.limit_in_bytes": "1024",
            "memory/memory.limit_in_bytes": "9223372036854771712",
        },
        (2.0, 1024),
    ),
    "version 1, no limit": (
        "4:cpu:/\n5:memory:/",
        {"cpu/cpu.cfs_quota_us": "-1", "memory/memory.limit_in_bytes": "9223372036854771712"},
        (None, None),
    ),
    "nothing": ("", {}, (None, None)),
}


@pytest.mark.parametrize(("own", "files", "limits"), GROUPS.values(), ids=GROUPS)
def test_limits(tmp_path: Path, own: str, files: dict[str, str], limits: tuple[float | None, int | None]) -> None:
    """The lowest limit of a group and its parents applies, in both versions of control groups."""
    write_control_groups(tmp_path / "cgroup", files)
    (tmp_path / "own").write_text(own)
    assert machine.cgroup_limits(tmp_path / "cgroup", tmp_path / "own") == limits


def test_cpus_and_memory(tmp_path: Path) -> None:
    """More workers than CPUs are a note, too little memory for each worker is a warning."""
    write_control_groups(tmp_path / "cgroup", {"cpu.max": "100000 100000", "memory.max": str(512 * 2**20)})
    (tmp_path / "own").write_text("0::/")

    def levels(spec: str) -> list[str]:
        findings = machine.cpus_and_memory(loader.load(spec), tmp_path / "cgroup", tmp_path / "own")
        return [finding.level for finding in findings]

    assert levels("default@workers=1") == ["ok", "ok"]
    assert levels("default@workers=3") == ["note", "ok"]
    assert levels("default@workers=8") == ["note", "warning"]


@pytest.mark.parametrize(("limit", "level"), [(20_000, "ok"), (1000, "note"), (200, "warning")])
def test_descriptors(limit: int, level: str) -> None:
    """Too few descriptors for the pool are a warning, too few for all clients that backpressure allows are a note."""
    code = (
        "import resource; from bookstore.profile import loader; from bookstore.doctor import machine\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
        "print([finding.level for finding in machine.descriptors(loader.load('default@pool_size=500'))])"
    )
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < limit:
        pytest.skip(f"processes here cannot have {limit} descriptors")
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == f"['{level}']"


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A required library that is too old or missing is reported; one for another platform is not."""
    requirements = [
        "click>=8.3",
        "msgspec>=99.0",
        "nowhere>=1",
        "elsewhere>=1; sys_platform == 'win32'",
        "x>=1; extra == 'lab'",
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: requirements)
    [found] = machine.versions()
    assert found.level == "warning"
    assert "msgspec 0." in found.found
    assert "is older than 99.0; nowhere is missing" in found.found
    assert "elsewhere" not in found.found
    monkeypatch.undo()
    assert [finding.level for finding in machine.versions()] == ["ok"]
