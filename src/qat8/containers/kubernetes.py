"""A Kubernetes Job that runs the benchmark with CPUs of its own.

Exclusive CPUs need two things: Guaranteed quality of service (requests equal limits, whole CPUs; the manifest has it)
and the kubelet's `cpuManagerPolicy: static` (the node's administrator has it). Without the latter the results say so:
the CPUs that the kernel allows are then more than those that were asked for.
"""

from __future__ import annotations

import json

DATA = "/data"


def job(image: str, argv: list[str], cpus: int, memory: str, claim: str, node_selector: dict[str, str]) -> dict:
    """The Job. `claim` is a PersistentVolumeClaim with the content of data/; the results are written into it."""
    facts = {"image": image, "image_id": image, "run_id": "kubernetes", "cpus": [], "cpu_count": cpus, "nodes": [],
             "memory": None}  # fmt: skip
    resources = {"cpu": str(cpus), "memory": memory}
    variables = {"QAT8_DATA": DATA, "OMP_NUM_THREADS": str(cpus), "QAT8_CONTAINER": json.dumps(facts)}
    container = {
        "name": "benchmark", "image": image,
        "command": ["/opt/qat8/.venv/bin/python", "-m", "qat8.stages.benchmark", *argv],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "resources": {"requests": resources, "limits": dict(resources)},
        "securityContext": {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "data", "mountPath": DATA}, {"name": "tmp", "mountPath": "/tmp"}],
    }  # fmt: skip
    pod = {
        "restartPolicy": "Never", "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000,
                            "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}, {"name": "tmp", "emptyDir": {}}],
        **({"nodeSelector": node_selector} if node_selector else {}),
    }  # fmt: skip
    labels = {"app.kubernetes.io/name": "qat8"}
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "qat8-benchmark-", "labels": labels},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }  # fmt: skip
