"""Fields of KubeRay's and the Prometheus operator's resources that cluster/ uses, as JSON schemas that refuse any other.

Written after the API references (ray.io/v1 of KubeRay 1.6.2; monitoring.coreos.com/v1), since the definitions themselves are in
no package registry. Pod templates are any object here; Kubernetes' own schemas check them.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}
_ANY: Schema = {"type": "object"}


def _closed(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def _resource(version: str, kind: str, spec: Schema) -> Schema:
    metadata = _closed(["name"], name=_TEXT, namespace=_TEXT, labels=_TEXTS, annotations=_TEXTS)
    return _closed(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=metadata,
        spec=spec,
    )


_HEAD = _closed(
    ["template", "rayStartParams"],
    template=_ANY,
    rayStartParams=_TEXTS,
    serviceType=_one_of("ClusterIP", "NodePort", "LoadBalancer"),
)
_WORKERS = _closed(
    ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
    groupName=_TEXT,
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    rayStartParams=_TEXTS,
    template=_ANY,
)
_CREDENTIAL = _closed([], value=_TEXT, valueFrom=_ANY)
_CLUSTER = _closed(
    ["headGroupSpec", "rayVersion"],  # authOptions need to know the version
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=_closed(["mode"], mode=_one_of("token", "disabled"), secretName=_TEXT),
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=_closed(
        [],
        version=_one_of("v1", "v2"),
        upscalingMode=_one_of("Default", "Aggressive", "Conservative"),
        idleTimeoutSeconds=_COUNT,
        resources=_ANY,
    ),
    gcsFaultToleranceOptions=_closed(
        ["redisAddress"], redisAddress=_TEXT, redisUsername=_CREDENTIAL, redisPassword=_CREDENTIAL
    ),
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS, "minItems": 1},
)
_JOB = _closed(
    ["entrypoint", "rayClusterSpec"],
    entrypoint=_TEXT,
    rayClusterSpec=_CLUSTER,
    submissionMode=_one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=_COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    backoffLimit=_COUNT,
    submitterConfig=_closed([], backoffLimit=_COUNT),
    runtimeEnvYAML=_TEXT,
)
_RELABELING = _closed([], sourceLabels={"type": "array", "items": _TEXT}, targetLabel=_TEXT, action=_TEXT, regex=_TEXT)
_ENDPOINT = _closed(
    ["port"], port=_TEXT, interval=_TEXT, path=_TEXT, relabelings={"type": "array", "items": _RELABELING}
)
_MONITOR = _closed(
    ["selector", "podMetricsEndpoints"],
    selector=_closed([], matchLabels=_TEXTS),
    podMetricsEndpoints={"type": "array", "items": _ENDPOINT, "minItems": 1},
)
SCHEMAS: dict[str, Schema] = {
    "RayCluster": _resource("ray.io/v1", "RayCluster", _CLUSTER),
    "RayJob": _resource("ray.io/v1", "RayJob", _JOB),
    "PodMonitor": _resource("monitoring.coreos.com/v1", "PodMonitor", _MONITOR),
}
"""By kind."""
