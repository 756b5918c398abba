"""The manifests in deploy/kubernetes are valid and consistent with each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from bookstore.cli.reference import ENVIRONMENT
from bookstore.http.server import KILL_AFTER_S
from bookstore.profile import loader

FOLDER: Final = Path(__file__).parents[2] / "deploy/kubernetes"
MANIFESTS: Final = [
    document for file in sorted(FOLDER.glob("*.yaml")) for document in yaml.safe_load_all(file.read_text())
]
OLDEST: Final = "1.32"
"""The first version in which a pod's preStop can sleep without a shell by default."""


def get_manifest(kind: str, name: str = "bookstore") -> Any:
    (manifest,) = [each for each in MANIFESTS if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return manifest


def pods() -> list[Any]:
    return [manifest["spec"]["template"] for manifest in MANIFESTS if manifest["kind"] in {"Deployment", "Job"}]


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda manifest: f"{manifest['kind']}-{manifest['metadata']['name']}"
)
def test_schema(manifest: dict[str, Any], version: str) -> None:
    """Kubernetes' schema accepts every manifest and knows every key."""
    kubernetes_validate.validate(manifest, version, strict=True)


def test_pods_are_restricted() -> None:
    """No pod runs as root, gains privileges, writes to its root file system or can use the API server."""
    for pod in pods():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]


def test_references_exist() -> None:
    """ConfigMaps, Secrets, keys, ports, volumes and labels that a manifest refers to exist."""
    secret = get_manifest("Secret")["stringData"]
    for pod in pods():
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert volumes["secrets"]["secret"]["secretName"] == "bookstore"
        for container in pod["spec"]["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
            files = [entry["value"] for entry in container["env"] if entry["name"].endswith("_FILE")]
            assert files
            assert {Path(file).parent.as_posix() for file in files} == {"/run/secrets/bookstore"}
            assert {Path(file).name for file in files} <= secret.keys()
            for source in container["envFrom"]:
                get_manifest("ConfigMap", source["configMapRef"]["name"])
    labels = get_manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in get_manifest("Deployment")["spec"]["template"]["spec"]["containers"][0]["ports"]}
    assert get_manifest("Service")["spec"]["ports"][0]["targetPort"] in ports
    for selector in (
        get_manifest("Service")["spec"]["selector"],
        get_manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        get_manifest("Deployment")["spec"]["selector"]["matchLabels"],
        get_manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()


def test_variables_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service reads every variable that it gets, and the included profiles are valid."""
    given = {*get_manifest("ConfigMap")["data"]}
    for pod in pods():
        given |= {entry["name"] for container in pod["spec"]["containers"] for entry in container["env"]}
    assert given <= ENVIRONMENT.keys()
    for name, text in get_manifest("ConfigMap", "bookstore-profiles")["data"].items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("BOOKSTORE_PROFILES_DIR", str(tmp_path))
    for name in get_manifest("ConfigMap", "bookstore-profiles")["data"]:
        loader.load(name.removesuffix(".yaml"))


def test_a_pod_has_time_to_stop() -> None:
    """A pod is not killed before it has left the Service and its workers had time to stop."""
    spec = get_manifest("Deployment")["spec"]["template"]["spec"]
    pause: int = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > pause + KILL_AFTER_S


def test_connection_budget() -> None:
    """The calculation at the top of bookstore.yaml matches the default profile and the Deployment."""
    spec = get_manifest("Deployment")["spec"]
    default = loader.load(get_manifest("ConfigMap")["data"]["BOOKSTORE_PROFILE"])
    pods_at_once = spec["replicas"] + spec["strategy"]["rollingUpdate"]["maxSurge"]
    needed = pods_at_once * (default.workers + 1) * default.connections_per_worker
    assert (
        f"(replicas {spec['replicas']} + maxSurge 1) x (workers {default.workers} + 1 while one is replaced) x "
        f"(pool_size {default.pool_size} + max_overflow {default.max_overflow}) = {needed}"
    ) in (FOLDER / "bookstore.yaml").read_text()
