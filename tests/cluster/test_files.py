"""Files of cluster/: consistent manifests, valid names, no secrets, and documented placeholders."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from ray._private import ray_constants
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import drain_node
from ray.scripts.scripts import start as ray_start

from distgnn import __version__
from distgnn.commands import dispatch
from distgnn.commands.submit import split_argv
from distgnn.config import RecoveryConfig
from distgnn.errors import RequestError
from distgnn.scale import pool
from distgnn.scale.train import recovery
from tests.helpers.manifests import CLUSTER_KINDS, Resource, documents, render
from tests.helpers.prometheus import ROOT
from tests.helpers.ray_schema import SCHEMAS

CLUSTER = ROOT / "cluster"
FILES = sorted(path for path in CLUSTER.rglob("*") if path.is_file())
YAMLS = [path for path in FILES if path.suffix in (".yaml", ".yml")]
TARGETS = [CLUSTER / "kube/rayjob", CLUSTER / "kube/job", *sorted((CLUSTER / "kube/overlays").iterdir())]
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
        if item["kind"] in ("StatefulSet", "Job"):
            yield f"{where} {item['metadata']['name']}", item["spec"]["template"]
        if item["kind"] == "RayJob":
            yield f"{where} submitter", item["spec"]["submitterPodTemplate"]


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
    assert ("namespace" in resource["metadata"]) == (resource["kind"] not in CLUSTER_KINDS)


@pytest.mark.parametrize(("where", "template"), TEMPLATES, ids=TEMPLATE_IDS)
def test_pods_have_the_fields_of_pods(where: str, template: dict[str, Any]) -> None:  # noqa: ARG001
    metadata = {"name": "pod"}
    wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": metadata, "template": template}
    kubernetes_validate.validate(wrapped, KUBERNETES, strict=True)


@pytest.mark.parametrize(("where", "template"), TEMPLATES, ids=TEMPLATE_IDS)
def test_pods_are_restricted_and_have_limits(where: str, template: dict[str, Any]) -> None:
    """The Pod Security Standard "restricted", limits, an image with a version; probes of Ray's pods are KubeRay's."""
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    volumes = {volume["name"] for volume in spec.get("volumes", [])} | {"data"}
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        assert re.fullmatch(r".+:\d+\.\d+\.\d+-[a-z]+", container["image"]), where
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]) == {"requests", "limits"}
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        assert ({"readinessProbe", "livenessProbe"} <= set(container)) == (container["name"] == "redis")
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes


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
    assert named == {"distgnn-s3", "distgnn-redis", "distgnn"}
    assert all(f"create secret generic {name} " in readme for name in named - {"distgnn"})  # KubeRay makes that one
    for _, resource in RESOURCES:
        assert resource["kind"] != "Secret"
        assert resource["kind"] != "ConfigMap" or not any(SECRET.search(name) for name in resource["data"])


BY_PLACE = dict(clusters())
CPU, SPOT, MINIO, WHOLE, JOB = (
    BY_PLACE[f"kube/{name}"]
    for name in ("overlays/cpu", "overlays/spot-gpu", "overlays/minio", "overlays/gpu-64", "rayjob")
)


def groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The head and the worker groups of a cluster."""
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def limits(group: dict[str, Any]) -> dict[str, Any]:
    """Limits of the pods of a group."""
    return group["template"]["spec"]["containers"][0]["resources"]["limits"]


def settings(where: str) -> dict[str, str]:
    """Environment of the pods of a target."""
    return next(item["data"] for place, item in RESOURCES if place == where and item["kind"] == "ConfigMap")


def test_overlays_differ_as_documented() -> None:
    assert JOB == SPOT
    assert all(spec["authOptions"] == {"mode": "token"} for spec in BY_PLACE.values())
    assert ["enableInTreeAutoscaling" in spec for spec in (CPU, MINIO, WHOLE, SPOT)] == [False, False, False, True]
    assert limits(SPOT["workerGroupSpecs"][0])["nvidia.com/gpu"] == 1
    assert SPOT["workerGroupSpecs"][0]["minReplicas"] == 0  # a refused request starts no GPU
    places = [group["template"]["spec"]["nodeSelector"]["eks.amazonaws.com/capacityType"] for group in groups(SPOT)]
    assert places == ["ON_DEMAND", "SPOT", "ON_DEMAND"]
    assert SPOT["gcsFaultToleranceOptions"]["redisAddress"] == "distgnn-redis:6379"
    for group in groups(SPOT)[1:]:  # wait for a new head
        names = {variable["name"] for variable in group["template"]["spec"]["containers"][0]["env"]}
        assert "RAY_gcs_rpc_server_reconnect_timeout_s" in names
    for group in groups(MINIO):
        names = {variable["name"] for variable in group["template"]["spec"]["containers"][0]["env"]}
        assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= names
    assert settings("kube/overlays/minio")["AWS_ENDPOINT_URL"] == "http://minio:9000"
    assert settings("kube/overlays/minio").items() > settings("kube/overlays/cpu").items()
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


def test_whole_machines() -> None:
    """8 GPUs a pod, shared memory for NCCL, the RDMA devices, all at once, and CPUs beside the ranks for reading."""
    workers = WHOLE["workerGroupSpecs"][0]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == 8
    assert {"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 4, "hugepages-2Mi": "5120Mi"}.items() <= limits(
        workers
    ).items()
    assert limits(workers) == workers["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert int(limits(workers)["cpu"]) > limits(workers)["nvidia.com/gpu"]
    spec = workers["template"]["spec"]
    (shm,) = [mount["name"] for mount in spec["containers"][0]["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
    (volume,) = [volume["emptyDir"] for volume in spec["volumes"] if volume["name"] == shm]
    assert volume["medium"] == "Memory"
    assert settings("kube/overlays/gpu-64")["FI_PROVIDER"] == "efa"
    (cluster,) = [item for where, item in RESOURCES if where == "kube/overlays/gpu-64" and item["kind"] == "RayCluster"]
    assert {"kueue.x-k8s.io/queue-name", "volcano.sh/queue-name"} <= set(cluster["metadata"]["labels"])


def test_nodes_have_time_for_a_checkpoint() -> None:
    """Ray drains a node longer than by default, and ends before the pod is killed."""
    for where, spec in clusters():
        drain = float(settings(where)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        for group in groups(spec):
            grace = group["template"]["spec"]["terminationGracePeriodSeconds"]
            assert ray_constants.RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S < drain < grace


def test_ray_trains_settings_are_in_the_environment_of_the_nodes() -> None:
    """Ray starts new processes for workers whose environment differs from that of the node."""
    default = RecoveryConfig()
    wanted = {name: str(getattr(default, field)) for field, name in recovery._VARIABLES.items()}
    for where, _ in clusters():
        assert wanted.items() <= settings(where).items()
    launcher = "\n".join(documents(CLUSTER / "aws.yaml")[0]["worker_start_ray_commands"])
    assert all(f"{name}={value}" in launcher for name, value in wanted.items())


def test_the_declared_maximum_is_that_of_the_cluster() -> None:
    """Ray does not tell jobs how many nodes there may be: one that comes before any worker would be refused for good."""
    for where, spec in clusters():
        most = {"CPU": 0, "GPU": 0}
        for group in spec["workerGroupSpecs"]:
            if group["rayStartParams"].get("num-cpus") != "0":
                most["CPU"] += group["maxReplicas"] * int(limits(group)["cpu"])
                most["GPU"] += group["maxReplicas"] * int(limits(group).get("nvidia.com/gpu", 0))
        declared = pool._declared(settings(where)["DISTGNN_CLUSTER_MAX"])
        assert declared == {name: amount for name, amount in most.items() if amount}, where


def test_the_declared_maximum_of_the_launcher_is_that_of_its_autoscaler() -> None:
    launcher = documents(CLUSTER / "aws.yaml")[0]
    (declared,) = re.findall(r"DISTGNN_CLUSTER_MAX=(\S+)", launcher["head_start_ray_commands"][-1])
    kind = launcher["available_node_types"]["gpu_spot"]
    assert pool._declared(declared) == {name: kind["max_workers"] * each for name, each in kind["resources"].items()}


def test_only_the_head_may_use_the_kubernetes_api() -> None:
    for spec in BY_PLACE.values():
        head, *workers = (group["template"]["spec"] for group in groups(spec))
        assert head["serviceAccountName"] == "distgnn-head"
        assert {(pod["serviceAccountName"], pod["automountServiceAccountToken"]) for pod in workers} == {
            ("distgnn-worker", False)
        }
    roles = {
        (where, item["metadata"]["name"]): item["metadata"].get("annotations", {}).get("eks.amazonaws.com/role-arn")
        for where, item in RESOURCES
        if item["kind"] == "ServiceAccount"
    }
    assert {name for (where, name), role in roles.items() if role and where == "kube/overlays/spot-gpu"} == {
        "distgnn-head",
        "distgnn-worker",
    }
    assert not any(role for (where, _), role in roles.items() if where == "kube/overlays/minio")


def test_policies_select_the_pods() -> None:
    """Budgets and network policies name labels that pods have; KubeRay adds those of ray.io."""
    for where, item in RESOURCES:
        if item["kind"] not in ("PodDisruptionBudget", "NetworkPolicy"):
            continue
        selector = item["spec"].get("selector", item["spec"].get("podSelector"))["matchLabels"]
        own = {name: value for name, value in selector.items() if not name.startswith("ray.io/")}
        here = [t["metadata"]["labels"] for place, t in TEMPLATES if place.startswith(f"{where} ")]
        assert any(own.items() <= labels.items() for labels in here), (where, item["metadata"]["name"])
        group = selector.get("ray.io/group")
        spec = BY_PLACE[where]
        assert group is None or group in {worker["groupName"] for worker in spec["workerGroupSpecs"]}
    (policy,) = [
        item
        for where, item in RESOURCES
        if (where, item["kind"], item["metadata"]["name"]) == ("kube/overlays/cpu", "NetworkPolicy", "distgnn")
    ]
    ports = {port["port"] for rule in policy["spec"]["ingress"] for port in rule.get("ports", [])}
    assert ports == {8265, 8080}
    assert all(rule["from"] for rule in policy["spec"]["ingress"])


def test_a_refused_request_is_not_tried_again() -> None:
    """The Job ends for good on the exit code of RequestError, and tries again when the pod was evicted."""
    (job,) = [item for _, item in RESOURCES if item["kind"] == "Job"]
    refused, evicted = job["spec"]["podFailurePolicy"]["rules"]
    name = job["spec"]["template"]["spec"]["containers"][0]["name"]
    assert refused == {
        "action": "FailJob",
        "onExitCodes": {"containerName": name, "operator": "In", "values": [2]},
    }
    assert evicted["action"] == "Ignore"
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy needs it


def test_drivers_run_beside_the_head() -> None:
    (job,) = [item for _, item in RESOURCES if item["kind"] == "RayJob"]
    wanted = json.loads(job["spec"]["entrypointResources"])
    (driver,) = [group for group in JOB["workerGroupSpecs"] if group["groupName"] == "driver"]
    have = json.loads(json.loads(driver["rayStartParams"]["resources"]))  # quoted for the shell of ray start
    assert all(have[name] >= amount for name, amount in wanted.items())
    assert int(limits(driver)["memory"].removesuffix("Gi")) >= 2 * have["driver"]
    assert driver["rayStartParams"]["num-cpus"] == JOB["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_storage_of_nodes_is_asked_for() -> None:
    """What Ray may write is part of the pod's request, so that a full disk of the machine ends no other pod."""
    for where, spec in clusters():
        for group in groups(spec):
            pod = group["template"]["spec"]
            written = [volume["emptyDir"] for volume in pod["volumes"] if volume["emptyDir"].get("medium") != "Memory"]
            asked = pod["containers"][0]["resources"]["requests"]["ephemeral-storage"]
            assert sum(gibibytes(volume["sizeLimit"]) for volume in written) <= gibibytes(asked), where


def gibibytes(size: str) -> int:
    """Number in a size such as 12Gi."""
    return int(size.removesuffix("Gi"))


def test_workers_are_spread_and_heads_go_first() -> None:
    for where, spec in clusters():
        workers = spec["workerGroupSpecs"][0]
        (spread,) = workers["template"]["spec"]["topologySpreadConstraints"]
        assert spread["labelSelector"]["matchLabels"]["ray.io/group"] == workers["groupName"]
        assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
        classes = [item["metadata"]["name"] for w, item in RESOURCES if (w, item["kind"]) == (where, "PriorityClass")]
        used = [group["template"]["spec"].get("priorityClassName") for group in groups(spec)]
        assert used == ([classes[0], None, classes[0]] if spec in (SPOT, WHOLE) else [None] * 3)


def test_references_between_resources_resolve() -> None:
    for where, spec in clusters():
        have = {(item["kind"], item["metadata"]["name"]) for place, item in RESOURCES if place == where}
        for template in (group["template"] for group in groups(spec)):
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
        for template in (group["template"] for group in groups(spec)):
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
    assert dispatch.understood(words) is not None, words


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


def test_entrypoints_are_one_command_that_starts_or_continues() -> None:
    (ray_job,) = [item for _, item in RESOURCES if item["kind"] == "RayJob"]
    (job,) = [item for _, item in RESOURCES if item["kind"] == "Job"]
    (submitted,) = commands(job["spec"]["template"]["spec"]["containers"][0]["command"][-1])
    own, submitted = split_argv(submitted[1:])
    assert own == ["--address=http://distgnn-head-svc:8265", "--reserve", "driver=1"]
    (entrypoint,) = commands(ray_job["spec"]["entrypoint"])
    assert entrypoint == submitted
    known(entrypoint)
    words = [word for word in entrypoint[1:] if word != "--resume-or-new"]
    assert len(words) == len(entrypoint) - 2
    given = dict(zip(words[::2], words[1::2], strict=True))
    group = JOB["workerGroupSpecs"][0]
    assert int(given["--workers"]) == int(given["--train.streams"]) == group["maxReplicas"]
    assert int(given["--min-workers"]) == 1


def test_a_spot_notice_drains_the_node(tmp_path: Path) -> None:
    """The script that aws.yaml starts, with metadata that give the notice at the second question."""
    asked = list[str]()

    class Metadata(BaseHTTPRequestHandler):
        """AWS's instance metadata service, version 2."""

        def do_PUT(self) -> None:
            self._answer(200, b"t0ken")

        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers['X-aws-ec2-metadata-token']}")
            self._answer(200 if len(asked) == 2 else 404, b"{}")

        def _answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    for name, text in (
        ("ray", f"printf '%s\\n' \"$@\" > {tmp_path}/called"),
        ("ps", "echo /x/raylet --gcs-address=10.0.0.1:6379 --node_id=ab12 --head"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        variables = {"METADATA": f"http://127.0.0.1:{server.server_port}/latest", "INTERVAL": "0.05"}
        environment = {**os.environ, **variables, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run(["sh", CLUSTER / "spot-notice.sh"], env=environment, check=True, timeout=30)
    finally:
        server.shutdown()
        server.server_close()
    assert asked == ["/latest/meta-data/spot/instance-action t0ken"] * 2
    called = (tmp_path / "called").read_text().splitlines()
    options = {option.opts[0] for option in drain_node.params if isinstance(option, click.Option)}
    assert set(called[1::2]) <= options
    assert called[:5] == ["drain-node", "--address", "10.0.0.1:6379", "--node-id", "ab12"]
    assert "DRAIN_NODE_REASON_PREEMPTION" in called


def test_commands_of_the_readme_are_valid() -> None:
    text = (CLUSTER / "README.md").read_text()
    found = list(commands("\n".join(line for line in text.splitlines() if line.startswith("    "))))
    assert len(found) >= 4
    for words in found:
        known(words)
    (script,) = re.findall(r"sed -i '([^']+)' cluster/kube/job/job.yaml", text)
    command = ["sed", script, CLUSTER / "kube/job/job.yaml"]
    with_64 = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert "--workers 64 --train.streams 64" in with_64
    assert "--min-workers" not in with_64
    assert pool._declared(settings("kube/overlays/gpu-64")["DISTGNN_CLUSTER_MAX"])["GPU"] == 64
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
    head, (_, worker, notice) = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"]
    copied = re.findall(r"^COPY cluster/(\S+) \./$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    assert f"sh /opt/distgnn/{copied[0]} " in notice
    assert config["head_node_type"] in config["available_node_types"]
    for start in (head, worker):
        assert "RAY_AUTH_MODE=token" in start
        options = re.findall(r"(--[a-z-]+)", start.partition("ray start")[2])
        assert set(options) <= {name for parameter in ray_start.params for name in parameter.opts}
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


def test_the_image_has_the_programs_of_the_probes() -> None:
    """KubeRay's, of versions before its HTTP probes, and those of the files here; the base image has neither program."""
    (line,) = re.findall(r"^RUN apt-get update .*$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    assert {"curl", "wget", "rsync", "openssh-client"} <= set(line.split())


def test_files_copied_into_the_image_are_in_the_build_context() -> None:
    lines = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (.+) \S+$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    assert {name for line in copied for name in line.split()} == sent
    assert all((ROOT / name).exists() for name in sent)
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    assert {Path(name).parts[0] for names in packaged.values() for name in names} <= sent  # zoo:NAME
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
