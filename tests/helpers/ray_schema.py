"""KubeRay's and the Prometheus operator's resources, as JSON schemas that refuse unknown fields.

Written after the API references and KubeRay's types (ray.io/v1 of KubeRay 1.6; monitoring.coreos.com/v1), and compared field by
field with KubeRay's CRD (see cluster/README.md). All fields of the specs of RayCluster and RayJob are listed, with those rules of
KubeRay's validation that its types do not say. Pod templates are any object here; Kubernetes' own schemas check them.
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


_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "number", "minimum": 0}
_MANAGER = _one_of("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")
_HEAD = _closed(
    ["template", "rayStartParams"],
    template=_ANY,
    rayStartParams=_TEXTS,
    serviceType=_one_of("ClusterIP", "NodePort", "LoadBalancer"),
    headService=_ANY,
    enableIngress=_FLAG,
    resources=_TEXTS,
    labels=_TEXTS,
)
_WORKERS = _closed(
    ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
    groupName={"type": "string", "pattern": r"^[a-z]([-a-z0-9]*[a-z0-9])?$"},
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    idleTimeoutSeconds=_COUNT,  # autoscaler v2 only
    numOfHosts={"type": "integer", "minimum": 1},
    rayStartParams=_TEXTS,
    resources=_TEXTS,
    labels=_TEXTS,
    scaleStrategy=_closed([], workersToDelete={"type": "array", "items": _TEXT}),
    suspend=_FLAG,
    template=_ANY,
)
_CREDENTIAL = _closed([], value=_TEXT, valueFrom=_ANY)
_CLUSTER = _closed(
    ["headGroupSpec", "rayVersion"],  # authOptions need to know the version
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=_closed(["mode"], mode=_one_of("token", "disabled"), enableK8sTokenAuth=_FLAG),
    enableInTreeAutoscaling=_FLAG,
    autoscalerOptions=_closed(
        [],
        version=_one_of("v1", "v2"),
        upscalingMode=_one_of("Default", "Aggressive", "Conservative"),
        idleTimeoutSeconds=_COUNT,
        image=_TEXT,
        imagePullPolicy=_one_of("Always", "IfNotPresent", "Never"),
        securityContext=_ANY,
        resources=_ANY,
        env={"type": "array"},
        envFrom={"type": "array"},
        volumeMounts={"type": "array"},
    ),
    gcsFaultToleranceOptions=_closed(
        ["redisAddress"],
        redisAddress=_TEXT,
        redisUsername=_CREDENTIAL,
        redisPassword=_CREDENTIAL,
        externalStorageNamespace=_TEXT,
    ),
    headGroupSpec=_HEAD,
    headServiceAnnotations=_TEXTS,
    managedBy=_MANAGER,
    suspend=_FLAG,
    ttlSecondsAfterIdle=_COUNT,
    upgradeStrategy=_closed([], type=_one_of("Recreate", "None")),
    workerGroupSpecs={"type": "array", "items": _WORKERS, "minItems": 1},
)
_JOB = _closed(
    ["entrypoint", "rayClusterSpec"],
    entrypoint=_TEXT,
    entrypointNumCpus=_NUMBER,
    entrypointNumGpus=_NUMBER,
    entrypointResources=_TEXT,  # JSON
    rayClusterSpec=_CLUSTER,
    clusterSelector=_TEXTS,
    submissionMode=_one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    submitterPodTemplate=_ANY,
    submitterConfig=_closed([], backoffLimit=_COUNT),
    shutdownAfterJobFinishes=_FLAG,
    ttlSecondsAfterFinished=_COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    backoffLimit=_COUNT,
    runtimeEnvYAML=_TEXT,
    jobId=_TEXT,
    metadata=_TEXTS,
    managedBy=_MANAGER,
    deletionStrategy=_ANY,
    suspend=_FLAG,
)
_JOB["allOf"] = [  # validation of KubeRay: a lifetime after the end needs an end
    {
        "if": {"required": ["ttlSecondsAfterFinished"]},
        "then": {"required": ["shutdownAfterJobFinishes"], "properties": {"shutdownAfterJobFinishes": {"const": True}}},
    },
]
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
