"""infra/k8s is valid by Kubernetes' schemas, its parts fit each other, and pods are confined.

There is no cluster here. `kubectl kustomize` renders the base, its components and the overlay of
the guide, and the results are validated.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from router.api.servers import GRACE_S
from router.config.settings import read_settings
from router.routing.client_address import Networks, viewer_address
from tests.support.image import FINAL
from tests.support.servers import AUTOROUTER, ROOT

FOLDER = ROOT / "infra" / "k8s"
COMPONENTS = ["geodata", "ingress", "monitoring"]
GUIDE = ROOT / "docs" / "running.md"
OLDEST, NEWEST = "1.30", "1.37"

Document = dict[str, Any]


def kustomizations(folder: Path) -> Iterator[tuple[Path, Document]]:
    """The kustomization of a folder and of all folders that it refers to."""
    document = yaml.safe_load((folder / "kustomization.yaml").read_text())
    yield folder, document
    for name in [*document.get("resources", ()), *document.get("components", ())]:
        if (folder / name).is_dir():
            yield from kustomizations(folder / name)


def every_kustomization() -> Iterator[tuple[Path, Document]]:
    for folder in (FOLDER, *(FOLDER / name for name in COMPONENTS)):
        yield from kustomizations(folder)


def manifests() -> list[Document]:
    """Every document of the kustomizations, also generated ones."""
    found: list[Document] = []
    for folder, document in every_kustomization():
        for name in document.get("resources", ()):
            if (folder / name).is_file():
                found += yaml.safe_load_all((folder / name).read_text())
        for generated in document.get("configMapGenerator", ()):
            data = dict(literal.split("=", 1) for literal in generated["literals"])
            name = {"name": generated["name"]}
            found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": data})
    return found


def kustomize(folder: Path) -> list[Document]:
    """The documents that kubectl would apply."""
    command = [str(AUTOROUTER.with_name("kubectl")), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@cache
def with_components(*components: str) -> list[Document]:
    """An overlay of the base with these components."""
    with TemporaryDirectory() as folder:
        base = os.path.relpath(FOLDER, folder)
        overlay = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "autorouter",
            "resources": [base],
            "components": [f"{base}/{name}" for name in components],
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
        return kustomize(Path(folder))


@cache
def overlay_of_guide() -> list[Document]:
    """The documents of the guide's overlay."""
    (text,) = re.findall(r"(?s)```yaml\n(apiVersion: kustomize.*?)```", GUIDE.read_text())
    with TemporaryDirectory() as folder:
        mine = Path(folder)
        path = text.replace("../autorouter/infra/k8s", os.path.relpath(FOLDER, folder))
        (mine / "kustomization.yaml").write_text(path.replace("sha256:…", f"sha256:{'1' * 64}"))
        (mine / "regions.yaml").write_text((ROOT / "regions.yaml").read_text())
        return kustomize(mine)


def is_known(document: Document) -> bool:
    """Whether this kind belongs to Kubernetes and not to the Prometheus operator."""
    return not document["apiVersion"].startswith("monitoring.")


ALL = manifests()
DEPLOYMENTS = [each for each in ALL if each["kind"] == "Deployment"]
ROUTER, POLLER = sorted(DEPLOYMENTS, key=lambda each: each["metadata"]["name"], reverse=True)


def one(kind: str, name: str) -> Document:
    (found,) = (each for each in ALL if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def pod_of(deployment: Document) -> Document:
    spec: Document = deployment["spec"]["template"]["spec"]
    return spec


def container_of(deployment: Document) -> Document:
    (container,) = pod_of(deployment)["containers"]
    document: Document = container
    return document


# Files and schemas


def test_every_file_is_referenced() -> None:
    led_to = {
        folder / name
        for folder, document in every_kustomization()
        for name in [*document.get("resources", ()), "kustomization.yaml"]
        if (folder / name).is_file()
    }
    assert led_to == set(FOLDER.rglob("*.yaml"))


def validation_errors(documents: list[Document], path: Path, version: str) -> list[str]:
    """The errors that the schemas of a Kubernetes release find in documents."""
    path.write_text("---\n".join(yaml.safe_dump(each) for each in documents))
    checker = AUTOROUTER.with_name("kubernetes-validate")
    command = [str(checker), "--strict", "-k", version, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if not line.startswith("INFO ")]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_manifests_are_valid(version: str, tmp_path: Path) -> None:
    known = [each for each in ALL if is_known(each)]
    assert validation_errors(known, tmp_path / "all.yaml", version) == []


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("Deployment", lambda spec: spec.update(strategi={})),
        ("Deployment", lambda spec: spec["template"]["spec"]["containers"][0].update(args="serve")),
        ("HorizontalPodAutoscaler", lambda spec: spec.pop("maxReplicas")),
        ("NetworkPolicy", lambda spec: spec.update(policyTypes="Egress")),
        ("PodDisruptionBudget", lambda spec: spec.update(minAvailible=1)),
    ],
)
def test_invalid_manifest_is_detected(
    kind: str, spoil: Callable[[Document], object], tmp_path: Path
) -> None:
    spoilt = deepcopy(next(each for each in ALL if each["kind"] == kind))
    spoil(spoilt["spec"])
    assert validation_errors([spoilt], tmp_path / "one.yaml", NEWEST) != []


@pytest.mark.parametrize("components", [(), *((name,) for name in COMPONENTS), (*COMPONENTS,)])
def test_rendered_manifests_are_valid(components: tuple[str, ...], tmp_path: Path) -> None:
    rendered = with_components(*components)
    known = [each for each in rendered if is_known(each)]
    assert validation_errors(known, tmp_path / "all.yaml", NEWEST) == []
    assert {each["metadata"]["namespace"] for each in known if each["kind"] != "Namespace"} == {
        "autorouter"
    }


def test_base_needs_no_operator_or_controller() -> None:
    kinds = {each["kind"] for each in kustomize(FOLDER)}
    assert all(is_known(each) for each in kustomize(FOLDER))
    assert kinds.isdisjoint({"Ingress", "PersistentVolumeClaim", "CronJob"})
    assert {"Deployment", "Service", "HorizontalPodAutoscaler"} <= kinds


def test_only_the_monitoring_component_needs_the_operator() -> None:
    operators = {each["kind"] for each in with_components("monitoring") if not is_known(each)}
    assert operators == {"ServiceMonitor", "PodMonitor"}


def test_overlay_of_the_guide_is_valid(tmp_path: Path) -> None:
    assert validation_errors(overlay_of_guide(), tmp_path / "all.yaml", NEWEST) == []


def test_overlay_of_the_guide_includes_every_part() -> None:
    images = set(re.findall(r"'image': '([^']*)'", str(overlay_of_guide())))
    assert images == {f"registry.mine.example/autorouter@sha256:{'1' * 64}"}
    (ingress,) = (each["spec"] for each in overlay_of_guide() if each["kind"] == "Ingress")
    assert ingress["rules"][0]["host"] == ingress["tls"][0]["hosts"][0] == "autorouter.mine.example"
    maps = {each["metadata"]["name"] for each in overlay_of_guide() if each["kind"] == "ConfigMap"}
    mounted = set(re.findall(r"'configMap(?:Ref)?': {'name': '([^']*)'", str(overlay_of_guide())))
    assert len(maps) == 3
    assert mounted == maps


# The Ingress


def test_ingress_targets_the_public_port() -> None:
    (rule,) = one("Ingress", "router")["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    service = path["backend"]["service"]
    ports = one("Service", service["name"])["spec"]["ports"]
    (target,) = (each["targetPort"] for each in ports if each["name"] == service["port"]["name"])
    assert target == "http"
    assert (path["path"], path["pathType"]) == ("/", "Prefix")


@pytest.mark.parametrize("sent", ["", "8.8.8.8, ", "10.0.9.9, ", "8.8.8.8, 10.0.3.7, "])
def test_router_behind_the_ingress_gets_the_viewers_address(sent: str) -> None:
    """With the guide's settings this works for a controller that appends to the header and for one
    that replaces it."""
    (settings,) = (
        each["data"]
        for each in overlay_of_guide()
        if each["metadata"]["name"].startswith("router-settings")
    )
    trusted = Networks.parse([settings["AUTOROUTER_TRUSTED_PROXIES"]])
    lines = [f"{sent}203.0.113.9".encode()]
    assert address_of("10.0.3.7", lines, trusted) == "203.0.113.9"
    assert address_of("198.51.100.1", lines, trusted) == "198.51.100.1"


def address_of(peer: str, lines: list[bytes], trusted: Networks) -> str | None:
    found = viewer_address(peer, lines, trusted)
    return None if found is None else found.text


# A current geo database


def geodata_job() -> Document:
    spec: Document = one("CronJob", "geodata")["spec"]["jobTemplate"]["spec"]
    return spec


def test_cronjob_writes_to_the_routers_volume() -> None:
    pod = geodata_job()["template"]["spec"]
    (container,) = pod["containers"]
    (router,) = (
        each["spec"]["template"]["spec"]
        for each in with_components("geodata")
        if each["kind"] == "Deployment" and each["metadata"]["name"] == "router"
    )
    (mount,) = (each for each in router["containers"][0]["volumeMounts"] if each["name"] == "geo")
    (volume,) = (each for each in router["volumes"] if each["name"] == "geo")
    claim = one("PersistentVolumeClaim", "geo")
    assert container["env"] == [{"name": "AUTOROUTER_GEO_DIR", "value": mount["mountPath"]}]
    assert variables(ROUTER)["AUTOROUTER_GEO_DIR"] == mount["mountPath"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert mount["readOnly"]
    assert "initContainers" not in router


def test_cronjob_runs_an_existing_command() -> None:
    pod = geodata_job()["template"]["spec"]
    (line,) = pod["containers"][0]["args"]
    assert re.findall(r"autorouter (geodata \w+)", line) == ["geodata update", "geodata feeds"]
    assert pod["restartPolicy"] == "Never"
    assert one("CronJob", "geodata")["spec"]["concurrencyPolicy"] == "Forbid"


def test_geodata_pods_are_confined_like_routers() -> None:
    pod = geodata_job()["template"]["spec"]
    assert pod["securityContext"] == pod_of(ROUTER)["securityContext"]
    (init,) = pod_of(ROUTER)["initContainers"]
    for container in (pod["containers"][0], init):
        assert container["securityContext"] == container_of(ROUTER)["securityContext"]
        assert set(container["resources"]["limits"]) == {"memory"}
    assert pod["automountServiceAccountToken"] is False


# The parts fit each other


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=["poller", "router"])
def test_selectors_match_the_pods(deployment: Document) -> None:
    name, labels = (
        deployment["metadata"]["name"],
        deployment["spec"]["template"]["metadata"]["labels"],
    )
    assert deployment["spec"]["selector"] == {"matchLabels": labels}
    assert one("PodDisruptionBudget", name)["spec"]["selector"] == {"matchLabels": labels}
    assert one("NetworkPolicy", name)["spec"]["podSelector"] == {"matchLabels": labels}
    for spread in pod_of(deployment)["topologySpreadConstraints"]:
        assert spread["labelSelector"] == {"matchLabels": labels}


def test_kinds_of_pods_have_different_labels() -> None:
    assert ROUTER["spec"]["selector"] != POLLER["spec"]["selector"]


def test_service_targets_the_routers_ports() -> None:
    service, ports = one("Service", "router"), container_of(ROUTER)["ports"]
    assert service["spec"]["selector"] == ROUTER["spec"]["template"]["metadata"]["labels"]
    assert {each["targetPort"] for each in service["spec"]["ports"]} == {
        each["name"] for each in ports
    }


def test_service_monitor_reads_the_ops_port() -> None:
    monitor, service = one("ServiceMonitor", "router"), one("Service", "router")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert monitor["spec"]["selector"] == {"matchLabels": service["metadata"]["labels"]}
    assert endpoint["port"] in {each["name"] for each in service["spec"]["ports"]}


def test_pod_monitor_reads_the_pollers_port() -> None:
    monitor = one("PodMonitor", "poller")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert monitor["spec"]["selector"] == POLLER["spec"]["selector"]
    assert endpoint["port"] in {each["name"] for each in container_of(POLLER)["ports"]}


def test_guide_creates_a_resource_of_the_alert_rules() -> None:
    guide = GUIDE.read_text()
    (command,) = re.findall(r"^ +(\{ printf .*?\}) \| kubectl", guide, re.MULTILINE | re.DOTALL)
    rendered = subprocess.run(["sh", "-euc", command], cwd=ROOT, capture_output=True, check=True)
    document = yaml.safe_load(rendered.stdout)
    rules = yaml.safe_load((ROOT / "infra" / "prometheus" / "rules.yml").read_text())
    assert (document["apiVersion"], document["kind"]) == (
        "monitoring.coreos.com/v1",
        "PrometheusRule",
    )
    assert document["metadata"] == {"name": "autorouter"}
    assert document["spec"] == rules


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=["poller", "router"])
def test_network_policy_has_the_containers_ports(deployment: Document) -> None:
    rules = one("NetworkPolicy", deployment["metadata"]["name"])["spec"]["ingress"]
    opened = {port["port"] for rule in rules for port in rule["ports"]}
    assert opened == {each["name"] for each in container_of(deployment)["ports"]}


@pytest.mark.parametrize("name", ["poller", "router"])
def test_only_monitoring_reaches_the_ops_listener(name: str) -> None:
    policy = one("NetworkPolicy", name)["spec"]
    (of_ops,) = (rule for rule in policy["ingress"] if {"port": "ops"} in rule["ports"])
    namespaces = [each["namespaceSelector"]["matchLabels"] for each in of_ops["from"]]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert namespaces == [{"kubernetes.io/metadata.name": "monitoring"}]
    assert of_ops["ports"] == [{"port": "ops"}]


def test_only_the_autoscaler_sets_the_number_of_routers() -> None:
    target = one("HorizontalPodAutoscaler", "router")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", ROUTER["metadata"]["name"])
    assert "replicas" not in ROUTER["spec"]


def test_ports_match_the_settings() -> None:
    served, _ = read_settings(variables(ROUTER))
    polled, _ = read_settings(variables(POLLER))
    assert polled.poll_listen is not None
    assert ports_of(ROUTER) == {"http": served.listen.port, "ops": served.ops_listen.port}
    assert ports_of(POLLER) == {"ops": polled.poll_listen.port}


def ports_of(deployment: Document) -> dict[str, int]:
    return {each["name"]: each["containerPort"] for each in container_of(deployment)["ports"]}


def variables(deployment: Document) -> dict[str, str]:
    """The settings of a container, without those in files."""
    return {
        name: value
        for source in container_of(deployment)["envFrom"]
        for name, value in one("ConfigMap", source["configMapRef"]["name"])["data"].items()
    }


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=["poller", "router"])
def test_settings_are_valid(deployment: Document, tmp_path: Path) -> None:
    document = variables(deployment)
    for each in container_of(deployment)["env"]:
        path = tmp_path / Path(each["value"]).name
        path.write_text("redis://redis:6379/0" if "redis" in path.name else "0123456789abcdef")
        document[each["name"]] = str(path)

    assert read_settings(document)[1] == []


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=["poller", "router"])
def test_files_in_settings_are_mounted(deployment: Document) -> None:
    mounts = {each["mountPath"]: each["name"] for each in container_of(deployment)["volumeMounts"]}
    volumes = {each["name"] for each in pod_of(deployment)["volumes"]}
    folders = {str(Path(each["value"]).parent) for each in container_of(deployment)["env"]}
    assert set(mounts.values()) == volumes
    assert folders <= set(mounts)
    assert variables(deployment).get("AUTOROUTER_STATE_DIR", folders.pop()) in mounts


# Availability


def test_readiness_probe_uses_the_public_listener() -> None:
    container = container_of(ROUTER)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "http"}


def test_redis_outage_restarts_no_poller() -> None:
    assert container_of(POLLER)["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "ops"}
    policy = one("PodDisruptionBudget", "poller")["spec"]["unhealthyPodEvictionPolicy"]
    assert policy == "AlwaysAllow"


def test_router_has_time_to_shut_down() -> None:
    wait_s = int(container_of(ROUTER)["lifecycle"]["preStop"]["exec"]["command"][1])
    assert wait_s + GRACE_S < pod_of(ROUTER)["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=["poller", "router"])
def test_rollout_starts_a_pod_before_it_stops_one(deployment: Document) -> None:
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_disruption_budget_leaves_a_router() -> None:
    taken = one("PodDisruptionBudget", "router")["spec"]["maxUnavailable"]
    assert one("HorizontalPodAutoscaler", "router")["spec"]["minReplicas"] > taken + 1


# Security


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=["poller", "router"])
def test_pods_are_confined(deployment: Document) -> None:
    user, _, group = FINAL.one("USER").partition(":")
    pod, container = pod_of(deployment), container_of(deployment)
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(group),
        "fsGroup": int(group),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


def test_poller_gets_only_the_secrets_that_it_needs() -> None:
    (secret,) = (each["secret"] for each in pod_of(POLLER)["volumes"])
    assert secret["items"] == [{"key": "redis-url", "path": "redis-url"}]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=["poller", "router"])
def test_memory_has_a_limit(deployment: Document) -> None:
    resources = container_of(deployment)["resources"]
    assert set(resources["requests"]) == {"cpu", "memory"}
    assert set(resources["limits"]) == {"memory"}


def test_namespace_enforces_the_restricted_standard() -> None:
    labels = one("Namespace", "autorouter")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_guide_creates_the_secret_that_pods_mount() -> None:
    guide = GUIDE.read_text()
    (command,) = re.findall(r"create secret generic (\S+)((?: \\\n\s+--from-literal=\S+)+)", guide)
    keys = set(re.findall(r"--from-literal=([\w-]+)=", command[1]))
    files = {Path(each["value"]).name for each in container_of(ROUTER)["env"]}
    (mounted,) = (each["secret"] for each in pod_of(ROUTER)["volumes"] if "secret" in each)
    assert command[0] == mounted["secretName"]
    assert keys == files
