"""The Kubernetes manifests of the documentation, and which fields such a manifest may have.

Kubernetes' own schemas are some megabytes. These are the fields that ours use, by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "docs" / "examples" / "kubernetes"

_META = {"name": str, "namespace": str, "labels": {"*": str}}
_RESOURCES = {"cpu": str, "memory": str}
_CONTAINER = {
    "name": str,
    "image": str,
    "args": [str],
    "securityContext": {
        "allowPrivilegeEscalation": bool,
        "readOnlyRootFilesystem": bool,
        "capabilities": {"drop": [str]},
    },
    "resources": {"requests": _RESOURCES, "limits": _RESOURCES},
    "volumeMounts": [{"name": str, "mountPath": str, "readOnly": bool}],
}
_VOLUME = {
    "name": str,
    "configMap": {"name": str},
    "projected": {
        "defaultMode": int,
        "sources": [
            {
                "secret": {"name": str},
                "serviceAccountToken": {"path": str, "audience": str, "expirationSeconds": int},
            }
        ],
    },
}
_POD = {
    "restartPolicy": str,
    "terminationGracePeriodSeconds": int,
    "serviceAccountName": str,
    "automountServiceAccountToken": bool,
    "securityContext": {
        "runAsNonRoot": bool,
        "runAsUser": int,
        "runAsGroup": int,
        "fsGroup": int,
        "seccompProfile": {"type": str},
    },
    "containers": [_CONTAINER],
    "volumes": [_VOLUME],
}
_RULE = {
    "action": str,
    "onExitCodes": {"operator": str, "values": [int]},
    "onPodConditions": [{"type": str, "status": str}],
}
_JOB = {
    "parallelism": int,
    "backoffLimit": int,
    "ttlSecondsAfterFinished": int,
    "podFailurePolicy": {"rules": [_RULE]},
    "template": {"metadata": _META, "spec": _POD},
}
_CRON = {
    "schedule": str,
    "timeZone": str,
    "concurrencyPolicy": str,
    "successfulJobsHistoryLimit": int,
    "failedJobsHistoryLimit": int,
    "jobTemplate": {"spec": _JOB},
}
_HEAD: dict[str, Any] = {"apiVersion": str, "kind": str, "metadata": _META}
KINDS: dict[tuple[str, str], dict[str, Any]] = {
    ("v1", "ConfigMap"): _HEAD | {"data": {"*": str}},
    ("v1", "Secret"): _HEAD | {"stringData": {"*": str}},
    ("batch/v1", "Job"): _HEAD | {"spec": _JOB},
    ("batch/v1", "CronJob"): _HEAD | {"spec": _CRON},
}


def documents() -> dict[str, Any]:
    """Read every document of every manifest, by its kind."""
    found = [
        document
        for path in sorted(FOLDER.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    assert len({document["kind"] for document in found}) == len(found)
    return {document["kind"]: document for document in found}


def problems(value: Any, known: Any, path: str) -> Iterator[str]:
    """Compare a part of a manifest with the fields that it may have."""
    if isinstance(known, dict) and isinstance(value, dict):
        for name, part in value.items():
            if name in known or "*" in known:
                yield from problems(part, known.get(name, known.get("*")), f"{path}.{name}")
            else:
                yield f"{path}: no field {name!r}"
    elif isinstance(known, list) and isinstance(value, list):
        for number, part in enumerate(value):
            yield from problems(part, known[0], f"{path}[{number}]")
    elif not isinstance(known, type) or type(value) is not known:
        yield f"{path}: {value!r} isn't of the right type"


def jobs(found: dict[str, Any]) -> dict[str, Any]:
    """Give the specification of the Job and of the one that the CronJob makes."""
    return {
        "Job": found["Job"]["spec"],
        "CronJob": found["CronJob"]["spec"]["jobTemplate"]["spec"],
    }
