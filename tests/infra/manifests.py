"""Kubernetes and KubeRay manifests, checked as strictly as an API server that forbids unknown fields would.

Kubernetes' own kinds, and the pod templates inside KubeRay's, are held to the published OpenAPI schemas that the
package `kubernetes-validate` carries. No package on the index carries KubeRay's CRDs, so its kinds are held to a schema
written here from the API types of KubeRay 1.7 (ray-operator/apis/ray/v1): every field with its type, the enums, what is
required, and the rules between fields that its CRDs and webhooks state. It is stricter in one place: `rayStartParams`,
`minReplicas` and `maxReplicas`, which newer versions default, must be there, as older ones want.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

KUBERNETES = "1.34"
_PUBLISHED = "kubernetes:published"
"""A name of our own for the schemas of the package, whose types refer to each other by fragment alone."""


def load_all(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def problems(manifest: dict[str, Any]) -> list[str]:
    """What an API server would refuse, one line each; empty for a valid manifest."""
    if not str(manifest.get("apiVersion", "")).startswith("ray.io/"):
        try:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            return [_line(error)]
        return []
    kind = manifest.get("kind")
    if kind not in _SPECS or manifest["apiVersion"] != "ray.io/v1":
        return [f"{manifest['apiVersion']} {kind}: ray.io/v1 has {', '.join(_SPECS)}"]
    return sorted({_line(error) for error in _validator(kind).iter_errors(manifest)})


def _line(error: Any) -> str:
    path = ".".join(str(part) for part in error.absolute_path)
    return f"{path or '(top)'}: {error.message[:300]}"


@cache
def _validator(kind: str) -> Draft202012Validator:
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    published = (folder / f"v{KUBERNETES}.0-local-strict" / "_definitions.json").read_text("utf-8")
    registry: Registry[Any] = Registry().with_resource(
        _PUBLISHED, Resource.from_contents(json.loads(published))
    )
    own = {name: _object(name) for name in _FIELDS}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": own,
        "type": "object",
        "properties": {
            "apiVersion": {"const": "ray.io/v1"},
            "kind": {"const": kind},
            "metadata": _kubernetes("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"),
            "spec": {"$ref": f"#/$defs/{_SPECS[kind]}"},
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
    }
    return Draft202012Validator(schema, registry=registry)


def _kubernetes(name: str) -> dict[str, Any]:
    return {"$ref": f"{_PUBLISHED}#/$defs/{name}"}


def _object(name: str) -> dict[str, Any]:
    fields = _FIELDS[name]
    return {
        "type": "object",
        "properties": {field.rstrip("!"): _type(of) for field, of in fields.items()},
        "required": [field.rstrip("!") for field in fields if field.endswith("!")],
        "additionalProperties": False,
        **_RULES.get(name, {}),
    }


def _type(of: Any) -> dict[str, Any]:
    if isinstance(of, tuple):
        return {"enum": list(of)}
    if of.endswith("[]"):
        return {"type": "array", "items": _type(of[:-2])}
    plain: dict[str, dict[str, Any]] = {
        "string": {"type": "string"},
        "text": {"type": "string", "minLength": 1},
        "boolean": {"type": "boolean"},
        "int": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
        "count": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
        "positive": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
        "percent": {"type": "integer", "minimum": 0, "maximum": 100},
        "number": {"type": "number", "minimum": 0},
        "quantity": {"type": "string", "pattern": r"^[0-9.]+(m|[kMGTPE]|[KMGTPE]i)?$"},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    }
    if of in plain:
        return plain[of]
    if of in _FIELDS:
        return {"$ref": f"#/$defs/{of}"}
    return _kubernetes(f"io.k8s.api.{of}")


_MANAGED_BY = ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")
_DELETION = ("DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone")
_PULL = ("Always", "IfNotPresent", "Never")
_SPECS = {
    "RayCluster": "RayClusterSpec",
    "RayJob": "RayJobSpec",
    "RayService": "RayServiceSpec",
    "RayCronJob": "RayCronJobSpec",
}
# Field to type; `!` marks a required one. core.v1.X and networking.v1.X are Kubernetes' own, published types.
_FIELDS: dict[str, dict[str, Any]] = {
    "RayServiceSpec": {
        "rayClusterDeletionDelaySeconds": "count",
        "serveService": "core.v1.Service",
        "upgradeStrategy": "RayServiceUpgradeStrategy",
        "managedBy": _MANAGED_BY,
        "serveConfigV2": "text",
        "rayClusterConfig!": "RayClusterSpec",
        "excludeHeadPodFromServeSvc": "boolean",
        "suspend": "boolean",
    },
    "RayServiceUpgradeStrategy": {
        "type": ("NewCluster", "NewClusterWithIncrementalUpgrade", "None"),
        "clusterUpgradeOptions": "ClusterUpgradeOptions",
    },
    "ClusterUpgradeOptions": {
        "maxSurgePercent": "percent",
        "stepSizePercent!": "percent",
        "intervalSeconds!": "positive",
        "gatewayClassName!": "text",
    },
    "RayCronJobSpec": {
        "jobTemplate!": "RayJobSpec",
        "schedule!": "text",
        "timeZone": "text",
        "suspend": "boolean",
    },
    "RayJobSpec": {
        "activeDeadlineSeconds": "positive",
        "backoffLimit": "count",
        "rayClusterSpec": "RayClusterSpec",
        "submitterPodTemplate": "core.v1.PodTemplateSpec",
        "metadata": "map",
        "clusterSelector": "map",
        "submitterConfig": "SubmitterConfig",
        "managedBy": _MANAGED_BY,
        "deletionStrategy": "DeletionStrategy",
        "entrypoint": "string",
        "runtimeEnvYAML": "string",
        "jobId": "string",
        "submissionMode": ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
        "entrypointResources": "string",
        "entrypointNumCpus": "number",
        "entrypointNumGpus": "number",
        "ttlSecondsAfterFinished": "count",
        "preRunningDeadlineSeconds": "positive",
        "shutdownAfterJobFinishes": "boolean",
        "suspend": "boolean",
    },
    "SubmitterConfig": {"backoffLimit": "count"},
    "DeletionStrategy": {
        "onSuccess": "DeletionPolicy",
        "onFailure": "DeletionPolicy",
        "deletionRules": "DeletionRule[]",
    },
    "DeletionPolicy": {"policy": _DELETION},
    "DeletionRule": {"policy!": _DELETION, "condition!": "DeletionCondition"},
    "DeletionCondition": {
        "jobStatus": ("SUCCEEDED", "FAILED"),
        "jobDeploymentStatus": ("Failed",),
        "ttlSeconds": "count",
    },
    "RayClusterSpec": {
        "upgradeStrategy": "RayClusterUpgradeStrategy",
        "authOptions": "AuthOptions",
        "suspend": "boolean",
        "managedBy": _MANAGED_BY,
        "autoscalerOptions": "AutoscalerOptions",
        "headServiceAnnotations": "map",
        "enableInTreeAutoscaling": "boolean",
        "gcsFaultToleranceOptions": "GcsFaultToleranceOptions",
        "historyServerOptions": "HistoryServerOptions",
        "networkPolicy": "NetworkPolicyConfig",
        "tlsOptions": "TLSOptions",
        "headGroupSpec!": "HeadGroupSpec",
        "rayVersion": "string",
        "workerGroupSpecs": "WorkerGroupSpec[]",
    },
    "RayClusterUpgradeStrategy": {"type": ("Recreate", "None")},
    "AuthOptions": {
        "enableK8sTokenAuth": "boolean",
        "secretName": "text",
        "mode": ("disabled", "token"),
    },
    "AutoscalerOptions": {
        "resources": "core.v1.ResourceRequirements",
        "image": "string",
        "imagePullPolicy": _PULL,
        "securityContext": "core.v1.SecurityContext",
        "idleTimeoutSeconds": "count",
        "upscalingMode": ("Default", "Aggressive", "Conservative"),
        "version": ("v1", "v2"),
        "env": "core.v1.EnvVar[]",
        "envFrom": "core.v1.EnvFromSource[]",
        "volumeMounts": "core.v1.VolumeMount[]",
        "command": "string[]",
        "args": "string[]",
    },
    "GcsFaultToleranceOptions": {
        "backend": ("redis", "rocksdb"),
        "redisUsername": "RedisCredential",
        "redisPassword": "RedisCredential",
        "externalStorageNamespace": "string",
        "redisAddress": "text",
        "storage": "GcsEmbeddedStorage",
    },
    "RedisCredential": {"valueFrom": "core.v1.EnvVarSource", "value": "string"},
    "GcsEmbeddedStorage": {
        "claimName": "string",
        "size": "quantity",
        "storageClassName": "string",
        "accessModes": "string[]",
        "subPath": "string",
        "deletionPolicy": ("DeleteWithCluster", "Retain"),
    },
    "HistoryServerOptions": {"collectorOptions": "CollectorOptions"},
    "CollectorOptions": {
        "image": "string",
        "imagePullPolicy": _PULL,
        "resources": "core.v1.ResourceRequirements",
        "env": "core.v1.EnvVar[]",
    },
    "NetworkPolicyConfig": {
        "mode": ("DenyAll", "DenyAllIngress", "DenyAllEgress"),
        "head": "NetworkPolicyRules",
        "worker": "NetworkPolicyRules",
        "workerGroups": "WorkerGroupNetworkPolicyRules[]",
    },
    "NetworkPolicyRules": {
        "ingressRules": "networking.v1.NetworkPolicyIngressRule[]",
        "egressRules": "networking.v1.NetworkPolicyEgressRule[]",
    },
    "WorkerGroupNetworkPolicyRules": {
        "groupName!": "text",
        "ingressRules": "networking.v1.NetworkPolicyIngressRule[]",
        "egressRules": "networking.v1.NetworkPolicyEgressRule[]",
    },
    "TLSOptions": {"enabled": "boolean"},
    "HeadGroupSpec": {
        "template!": "core.v1.PodTemplateSpec",
        "headService": "core.v1.Service",
        "enableIngress": "boolean",
        "ingressOptions": "IngressOptions",
        "resources": "map",
        "labels": "map",
        "rayStartParams!": "map",
        "serviceType": ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
    },
    "IngressOptions": {
        "host": "string",
        "path": "string",
        "pathType": ("Exact", "Prefix", "ImplementationSpecific"),
        "tls": "networking.v1.IngressTLS[]",
    },
    "WorkerGroupSpec": {
        "suspend": "boolean",
        "groupName!": "text",
        "replicas": "count",
        "minReplicas!": "count",
        "maxReplicas!": "count",
        "idleTimeoutSeconds": "count",
        "priority": "int",
        "resources": "map",
        "labels": "map",
        "rayStartParams!": "map",
        "template!": "core.v1.PodTemplateSpec",
        "scaleStrategy": "ScaleStrategy",
        "numOfHosts": "positive",
    },
    "ScaleStrategy": {"workersToDelete": "string[]"},
}


def _needs(field: str, value: Any, *others: str) -> dict[str, Any]:
    """Where `field` has `value`, the others must be there."""
    condition = {"properties": {field: {"const": value}}, "required": [field]}
    return {"if": condition, "then": {"required": list(others)}}


_RULES: dict[str, dict[str, Any]] = {
    "RayServiceUpgradeStrategy": _needs(
        "type", "NewClusterWithIncrementalUpgrade", "clusterUpgradeOptions"
    ),
    # Redis is the default, and is nothing without an address; RocksDB takes a volume and no Redis.
    "GcsFaultToleranceOptions": {
        "if": {"properties": {"backend": {"const": "rocksdb"}}, "required": ["backend"]},
        "then": {
            "not": {"anyOf": [{"required": ["redisAddress"]}, {"required": ["redisPassword"]}]}
        },
        "else": {"required": ["redisAddress"], "not": {"required": ["storage"]}},
    },
    "RedisCredential": {"oneOf": [{"required": ["value"]}, {"required": ["valueFrom"]}]},
    "DeletionStrategy": {
        "oneOf": [
            {"required": ["deletionRules"]},
            {"required": ["onSuccess", "onFailure"]},
        ]
    },
    "DeletionCondition": {
        "oneOf": [{"required": ["jobStatus"]}, {"required": ["jobDeploymentStatus"]}]
    },
    # A job brings a cluster or names one; a time to live counts only where the cluster ends with the job.
    "RayJobSpec": {
        "oneOf": [{"required": ["rayClusterSpec"]}, {"required": ["clusterSelector"]}],
        "if": {
            "properties": {"ttlSecondsAfterFinished": {"minimum": 1}},
            "required": ["ttlSecondsAfterFinished"],
        },
        "then": {
            "properties": {"shutdownAfterJobFinishes": {"const": True}},
            "required": ["shutdownAfterJobFinishes"],
        },
    },
}


def pod_templates(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod template below a manifest, with the path to it."""

    def walk(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        if isinstance(node, dict):
            if isinstance(node.get("spec"), dict) and "containers" in node["spec"]:
                yield path, node
            for key, value in node.items():
                yield from walk(value, f"{path}.{key}" if path else key)
        elif isinstance(node, list):
            for i, value in enumerate(node):
                yield from walk(value, f"{path}[{i}]")

    yield from walk(manifest, "")


def clusters(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every RayClusterSpec below a manifest."""
    if isinstance(manifest, dict):
        if "headGroupSpec" in manifest:
            yield manifest
        for value in manifest.values():
            if isinstance(value, dict):
                yield from clusters(value)
