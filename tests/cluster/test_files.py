"""Files of cluster/: consistent manifests, valid names, no secrets, and documented placeholders."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from ray._private import ray_constants
from ray.autoscaler._private.util import prepare_config, validate_config

from distgnn import __version__
from distgnn.commands import dispatch
from distgnn.errors import RequestError
from tests.helpers.manifests import Resource, documents, render
from tests.helpers.prometheus import ROOT
from tests.helpers.ray_schema import SCHEMAS

CLUSTER = ROOT / "cluster"
FILES = sorted(path for path in CLUSTER.rglob("*") if path.is_file())
YAMLS = [path for path in FILES if path.suffix in (".yaml", ".yml")]
TARGETS = [CLUSTER / "kube/rayjob", *sorted((CLUSTER / "kube/overlays").iterdir())]
PLACEHOLDER = re.compile(r"@[A-Z][A-Z_0-9]*@")
SECRET = re.compile(r"KEY|SECRET|PASSWORD|TOKEN|CREDENTIAL")
KUBERNETES = "1.34"
EXAMPLES = {"@S3_ENDPOINT@": "http://minio:9000", "@REGISTRY@": "registry.example.com/team"}


def filled(value: Any) -> Any:
    """Return ``value`` with every placeholder filled in."""
    text = json.dumps(value)
    for name, example in EXAMPLES.items():
        text = text.replace(name, example)
    return json.loads(PLACEHOLDER.sub("example", text))


def resources() -> list[tuple[str, Resource]]:
    """Return all applied resources, as (file, resource)."""
    found = [(str(target.relative_to(CLUSTER)), item) for target in TARGETS for item in render(target)]
    found += [("prometheus", item) for item in documents(CLUSTER / "prometheus/podmonitor.yaml")]
    found += [("grafana", item) for item in render(CLUSTER / "grafana")]
    return [(where, filled(item)) for where, item in found]


RESOURCES = resources()
IDS = [f"{where}:{item['kind']}-{item['metadata']['name']}" for where, item in RESOURCES]


def clusters() -> Iterator[tuple[str, dict[str, Any]]]:
    """Specs of all Ray clusters."""
    for where, item in RESOURCES:
        if item["kind"] == "RayCluster":
            yield where, item["spec"]
        if item["kind"] == "RayJob":
            yield where, item["spec"]["rayClusterSpec"]


def templates() -> Iterator[tuple[str, dict[str, Any]]]:
    """Pod templates of everything."""
    for where, spec in clusters():
        yield f"{where} head", spec["headGroupSpec"]["template"]
        for group in spec["workerGroupSpecs"]:
            yield f"{where} {group['groupName']}", group["template"]
    for where, item in RESOURCES:
        if item["kind"] == "StatefulSet":
            yield f"{where} {item['metadata']['name']}", item["spec"]["template"]


TEMPLATES = list(templates())
TEMPLATE_IDS = [where for where, _ in TEMPLATES]


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(CLUSTER)))
def test_yaml_parses_without_repeated_keys(path: Path) -> None:
    class Strict(yaml.SafeLoader):
        """YAML loader that refuses duplicate keys."""

    def mapping(loader: Strict, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{path}: {keys}"
        return loader.construct_mapping(node, deep=True)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    assert list(yaml.load_all(path.read_text(), Loader=Strict))


def test_placeholders_are_listed_in_the_readme() -> None:
    readme = (CLUSTER / "README.md").read_text()
    rows = re.findall(r"^\| `(@[A-Z_0-9]+@)` \| .+ \| (.+) \|$", readme, re.MULTILINE)
    used = {path: set(PLACEHOLDER.findall(path.read_text())) for path in FILES if path.name != "README.md"}
    assert {name for name, _ in rows} == set().union(*used.values())
    for name, places in rows:
        for path in (path for path, names in used.items() if name in names):
            parts = re.findall(r"`([^`]+)`", places)
            assert any(str(path.relative_to(CLUSTER)).startswith(part) for part in parts), f"{name} in {path}: {places}"
    for path in FILES:
        assert not re.search(r"TODO|FIXME|CHANGE.?ME|<[A-Z_]{3,}>|:latest", path.read_text()), path


@pytest.mark.parametrize(("where", "resource"), RESOURCES, ids=IDS)
def test_resources_have_the_fields_of_their_kind(where: str, resource: Resource) -> None:  # noqa: ARG001
    if resource["kind"] in SCHEMAS:
        jsonschema.validate(resource, SCHEMAS[resource["kind"]])
    else:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    assert resource["metadata"]["namespace"]


@pytest.mark.parametrize(("where", "template"), TEMPLATES, ids=TEMPLATE_IDS)
def test_pods_have_the_fields_of_pods(where: str, template: dict[str, Any]) -> None:  # noqa: ARG001
    metadata = {"name": "pod"}
    wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": metadata, "template": template}
    kubernetes_validate.validate(wrapped, KUBERNETES, strict=True)


@pytest.mark.parametrize(("where", "template"), TEMPLATES, ids=TEMPLATE_IDS)
def test_pods_have_limits_probes_and_no_privileges(where: str, template: dict[str, Any]) -> None:
    """No root, no new privileges, limits and probes, an image with a version."""
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    volumes = {volume["name"] for volume in spec.get("volumes", [])} | {"data"}
    for container in spec["containers"]:
        assert re.fullmatch(r".+:\d+\.\d+\.\d+-[a-z]+", container["image"]), where
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]) == {"requests", "limits"}
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        assert {"readinessProbe", "livenessProbe"} <= set(container)
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_credentials_come_from_secrets() -> None:
    named = set()
    for _, template in TEMPLATES:
        for container in template["spec"]["containers"]:
            for variable in container.get("env", []):
                if SECRET.search(variable["name"]):
                    assert set(variable) == {"name", "valueFrom"}
                    named.add(variable["valueFrom"]["secretKeyRef"]["name"])
    for _, spec in clusters():
        if password := spec.get("gcsFaultToleranceOptions", {}).get("redisPassword"):
            assert set(password) == {"valueFrom"}
            named.add(password["valueFrom"]["secretKeyRef"]["name"])
    readme = (CLUSTER / "README.md").read_text()
    assert named == {"distgnn-s3", "distgnn-redis"}
    assert all(f"create secret generic {name} " in readme for name in named)
    for _, resource in RESOURCES:
        assert resource["kind"] != "Secret"
        assert resource["kind"] != "ConfigMap" or not any(SECRET.search(name) for name in resource["data"])


def test_overlays_differ_as_documented() -> None:
    by_place = dict(clusters())
    cpu, full, minio, job = (
        by_place[f"kube/{name}"] for name in ("overlays/cpu", "overlays/spot-gpu", "overlays/minio", "rayjob")
    )
    assert job == full
    assert all(spec["authOptions"] == {"mode": "token"} for spec in by_place.values())
    assert "autoscalerOptions" not in cpu
    assert full["enableInTreeAutoscaling"] is True
    worker, head = full["workerGroupSpecs"][0]["template"]["spec"], full["headGroupSpec"]["template"]["spec"]
    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert worker["nodeSelector"] != head["nodeSelector"]
    assert full["gcsFaultToleranceOptions"]["redisAddress"] == "distgnn-redis:6379"
    for spec in (minio["headGroupSpec"], minio["workerGroupSpecs"][0]):
        names = {variable["name"] for variable in spec["template"]["spec"]["containers"][0]["env"]}
        assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= names
    settings = {where: item["data"] for where, item in RESOURCES if item["metadata"]["name"] == "distgnn-settings"}
    assert settings["kube/overlays/minio"]["AWS_ENDPOINT_URL"] == "http://minio:9000"
    assert settings["kube/overlays/minio"].items() > settings["kube/overlays/cpu"].items()
    components = {path.name for path in (CLUSTER / "kube/components").iterdir()}
    used = {
        Path(name).name
        for target in TARGETS
        for name in documents(target / "kustomization.yaml")[0].get("components", [])
    }
    assert used == components
    kinds = [item["kind"] for where, item in RESOURCES if where == "kube/rayjob"]
    assert "RayJob" in kinds
    assert "RayCluster" not in kinds


def test_references_between_resources_resolve() -> None:
    for where, spec in clusters():
        have = {(item["kind"], item["metadata"]["name"]) for place, item in RESOURCES if place == where}
        for template in (spec["headGroupSpec"]["template"], spec["workerGroupSpecs"][0]["template"]):
            assert ("ServiceAccount", template["spec"]["serviceAccountName"]) in have
            (source,) = template["spec"]["containers"][0]["envFrom"]
            assert ("ConfigMap", source["configMapRef"]["name"]) in have
        if "gcsFaultToleranceOptions" in spec:
            host = spec["gcsFaultToleranceOptions"]["redisAddress"].partition(":")[0]
            assert {("Service", host), ("StatefulSet", host)} <= have


def test_versions_and_ports_are_those_of_ray_and_of_the_images() -> None:
    pins = dict(re.findall(r"^([a-z-]+)==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    dockerfile = (CLUSTER / "Dockerfile").read_text()
    devices = set(re.findall(r"^FROM base AS torch-([a-z]+)$", dockerfile, re.MULTILINE))
    assert devices == {"cpu", "cuda"}
    everything = "\n".join(path.read_text() for path in FILES)
    assert set(re.findall(r"/distgnn:(\S+?)[\s\"]", everything)) == {f"{__version__}-{device}" for device in devices}
    assert re.search(rf"^FROM python:{sys.version_info.major}\.{sys.version_info.minor}\.", dockerfile, re.MULTILINE)
    for _, spec in clusters():
        assert spec["rayVersion"] == pins["ray"]
        containers = [spec["headGroupSpec"]["template"]["spec"]["containers"][0]]
        containers += [group["template"]["spec"]["containers"][0] for group in spec["workerGroupSpecs"]]
        assert len({container["image"] for container in containers}) == 1
        for container in containers:
            assert {"name": "metrics", "containerPort": 8080} in container["ports"]
            for probe in ("readinessProbe", "livenessProbe"):
                assert container[probe]["httpGet"]["port"] == ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
        ports = {port["name"]: port["containerPort"] for port in containers[0]["ports"]}
        assert ports["gcs"] == ray_constants.DEFAULT_PORT
        assert ports["dashboard"] == ray_constants.DEFAULT_DASHBOARD_PORT
        assert re.search(r"USER 1000$", dockerfile, re.MULTILINE)
        assert containers[0]["image"].endswith(("-cpu", "-cuda"))


def test_the_monitor_finds_the_pods() -> None:
    (monitor,) = [item for _, item in RESOURCES if item["kind"] == "PodMonitor"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    for _, spec in clusters():
        for template in (spec["headGroupSpec"]["template"], spec["workerGroupSpecs"][0]["template"]):
            assert wanted <= template["metadata"]["labels"].items()
            assert endpoint["port"] in {port["name"] for port in template["spec"]["containers"][0]["ports"]}


def test_settings_of_ray_are_known_to_it() -> None:
    everything = "\n".join(path.read_text() for path in FILES if path.name != "README.md")
    names = set(re.findall(r"RAY_([a-z][a-z_]+)", everything))
    assert {"health_check_period_ms", "health_check_timeout_ms"} <= names
    raylet = (Path(ray.__file__).parent / "core/src/ray/raylet/raylet").read_bytes()  # has its settings by name
    assert [name for name in names if name.encode() not in raylet] == []


def known(words: list[str]) -> None:
    """Raise RequestError unless distgnn takes ``words``; ``...`` and placeholders stand for values."""
    if words[0] == "submit":
        words = words[1:]
    assert dispatch._understood(words) is not None, words


def commands(text: str) -> Iterator[list[str]]:
    """distgnn's own commands in a text: ``distgnn X`` and ``python .../jobs/X.py``, a line or a side of || each."""
    for line in re.split(r"\n|\|\|", text):
        words = shlex.split(line, comments=True) if re.match(r"\s*(distgnn|python) ", line) else []
        if words[:1] == ["distgnn"]:
            yield words[1:]
        elif words:
            job = ROOT / "jobs" / Path(words[1]).name
            yield [*prefix(job), *words[2:]]


def prefix(job: Path) -> list[str]:
    """The command that a job of jobs/ stands for: the words of its main([...])."""
    call = next(
        node
        for node in ast.walk(ast.parse(job.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "main"
    )
    assert isinstance(call.args[0], ast.List)
    return [word.value for word in call.args[0].elts if isinstance(word, ast.Constant) and isinstance(word.value, str)]


def test_entrypoints_are_distgnn_commands() -> None:
    (job,) = [item for _, item in RESOURCES if item["kind"] == "RayJob"]
    found = list(commands(job["spec"]["entrypoint"]))
    assert len(found) == 2
    for words in found:
        known(words)
    first, again = found
    assert again[1] == "--resume"
    given = dict(zip(first[1::2], first[2::2], strict=True))
    assert again[2] == f"{given['--out']}/{given['--name']}"
    group = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    assert int(given["--workers"]) == int(given["--train.streams"]) == group["maxReplicas"]
    assert int(given["--min-workers"]) == group["minReplicas"]


def test_commands_of_the_readme_are_valid() -> None:
    text = (CLUSTER / "README.md").read_text()
    found = list(commands("\n".join(line for line in text.splitlines() if line.startswith("    "))))
    assert len(found) >= 4
    for words in found:
        known(words)
    for folder in re.findall(r"kubectl apply -k cluster/(\S+)", text):
        assert (CLUSTER / folder / "kustomization.yaml").exists()
    for path in re.findall(r"(?<![\w/-])cluster/([\w./-]+\.\w+)", text):
        assert (CLUSTER / path).exists(), path


def test_unknown_options_are_detected() -> None:
    with pytest.raises(RequestError, match="min-wrkers"):
        known(["submit", "pretrain", "--corpus", "c", "--min-wrkers", "2"])


def test_the_launcher_file_is_valid_and_its_commands_start_ray() -> None:
    config = filled(documents(CLUSTER / "aws.yaml")[0])
    jsonschema.validate(config, json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text()))
    validate_config(prepare_config(config))
    head, worker = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]
    assert config["head_node_type"] in config["available_node_types"]
    for start in (head, worker):
        assert "RAY_AUTH_MODE=token" in start
        options = re.findall(r"(--[a-z-]+)", start.partition("ray start")[2])
        listed = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--help"], capture_output=True, text=True, check=True
        ).stdout
        assert all(option in listed for option in options)
    assert "--dashboard-host=127.0.0.1" in head
    markets = {
        name: "InstanceMarketOptions" in kind["node_config"] for name, kind in config["available_node_types"].items()
    }
    assert markets == {"head": False, "gpu_spot": True}


def test_heartbeats_are_the_same_everywhere() -> None:
    launcher = dict(re.findall(r"RAY_(health_check_\w+)=(\d+)", (CLUSTER / "aws.yaml").read_text()))
    for _, spec in clusters():
        found = {
            variable["name"].removeprefix("RAY_"): variable["value"]
            for variable in spec["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
            if "health_check" in variable["name"]
        }
        assert found == launcher


def test_the_dockerfile_passes_hadolint() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, CLUSTER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_copied_into_the_image_are_in_the_build_context() -> None:
    lines = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (.+) \S+$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    assert {name for line in copied for name in line.split()} == sent
    assert all((ROOT / name).exists() for name in sent)
    assert "*" in lines


def test_rules_become_a_resource_as_the_readme_says() -> None:
    """Its printf and sed put the rules under spec of a PrometheusRule."""
    script = re.search(r"^    \(printf .+?\| kubectl apply -f -$", (CLUSTER / "README.md").read_text(), re.M | re.S)
    assert script
    made = subprocess.run(
        ["bash", "-c", script.group().replace("| kubectl apply -f -", "")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    resource = yaml.safe_load(made)
    assert (resource["kind"], resource["metadata"]["namespace"]) == ("PrometheusRule", "distgnn")
    assert resource["spec"] == yaml.safe_load((CLUSTER / "prometheus/rules.yml").read_text())
