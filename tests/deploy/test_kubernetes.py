"""The manifests of deploy/kubernetes fit their schema, and each other."""

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
MANIFESTS: Final = [one for file in sorted(FOLDER.glob("*.yaml")) for one in yaml.safe_load_all(file.read_text())]
OLDEST: Final = "1.32"
"""Where the preStop of a pod may be a sleep without a shell, unless an administrator forbids it."""


def the(kind: str, name: str = "bookstore") -> Any:
    (found,) = [one for one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pods() -> list[Any]:
    return [one["spec"]["template"] for one in MANIFESTS if one["kind"] in {"Deployment", "Job"}]


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_the_schema_is_fulfilled(manifest: dict[str, Any], version: str) -> None:
    """Each manifest is what Kubernetes takes, with no key that it does not know."""
    kubernetes_validate.validate(manifest, version, strict=True)


def test_pods_have_no_rights() -> None:
    """No pod runs as root, gains rights, writes to its root file system, or may ask the API server."""
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


def test_what_is_named_exists() -> None:
    """ConfigMaps, Secrets and their keys, ports, volumes and labels that one manifest names stand in another."""
    secret = the("Secret")["stringData"]
    for pod in pods():
        volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
        assert volumes["secrets"]["secret"]["secretName"] == "bookstore"
        for container in pod["spec"]["containers"]:
            assert {one["name"] for one in container["volumeMounts"]} == volumes.keys()
            files = [one["value"] for one in container["env"] if one["name"].endswith("_FILE")]
            assert files
            assert {Path(file).parent.as_posix() for file in files} == {"/run/secrets/bookstore"}
            assert {Path(file).name for file in files} <= secret.keys()
            for source in container["envFrom"]:
                the("ConfigMap", source["configMapRef"]["name"])
    labels = the("Deployment")["spec"]["template"]["metadata"]["labels"]
    ports = {one["name"] for one in the("Deployment")["spec"]["template"]["spec"]["containers"][0]["ports"]}
    assert the("Service")["spec"]["ports"][0]["targetPort"] in ports
    for selector in (
        the("Service")["spec"]["selector"],
        the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the("Deployment")["spec"]["selector"]["matchLabels"],
        the("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()


def test_variables_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service reads every variable that it is given, and the profiles that come along are right."""
    given = {*the("ConfigMap")["data"]}
    for pod in pods():
        given |= {one["name"] for container in pod["spec"]["containers"] for one in container["env"]}
    assert given <= ENVIRONMENT.keys()
    for name, text in the("ConfigMap", "bookstore-profiles")["data"].items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("BOOKSTORE_PROFILES_DIR", str(tmp_path))
    for name in the("ConfigMap", "bookstore-profiles")["data"]:
        loader.load(name.removesuffix(".yaml"))


def test_a_pod_has_time_to_stop() -> None:
    """A pod is not killed before it has left the Service and its workers have had their time."""
    spec = the("Deployment")["spec"]["template"]["spec"]
    pause: int = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > pause + KILL_AFTER_S


def test_the_sum_of_connections_is_right() -> None:
    """The sum at the top of bookstore.yaml is that of the default profile and of the Deployment's numbers."""
    spec = the("Deployment")["spec"]
    default = loader.load(the("ConfigMap")["data"]["BOOKSTORE_PROFILE"])
    pods_at_once = spec["replicas"] + spec["strategy"]["rollingUpdate"]["maxSurge"]
    needed = pods_at_once * (default.workers + 1) * default.connections_per_worker
    assert (
        f"(replicas {spec['replicas']} + maxSurge 1) x (workers {default.workers} + 1 while one is replaced) x "
        f"(pool_size {default.pool_size} + max_overflow {default.max_overflow}) = {needed}"
    ) in (FOLDER / "bookstore.yaml").read_text()
