"""What the steps put on the node: the values of the chart, and a model service's Deployment."""

import json
from pathlib import Path
from typing import Any

from deploy.node.cluster import Namespace, Object, is_ready, name_of
from deploy.node.outside import NODE, PARTITIONS, WORK_PORT, Outside
from support.waiting import eventually

ROOT = Path(__file__).parents[3]
CHART = str(ROOT / "helm" / "tokenstream")
IMAGE, VERSION = "localhost/tokenstream", "0.1.0"
PROGRAM = {
    "model_pod.py": Path(__file__).with_name("model_pod.py"),
    **{name: ROOT / name for name in ("devtools/demo/model.py", "devtools/demo/scripts.py", "devtools/produced.py")},
}
"""What a model's container runs, by its place in the volume: the image holds the product alone."""
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}
SECURITY: Object = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
SECRET = "tokenstream"


def image() -> Object:
    return {"repository": IMAGE, "tag": VERSION, "pullPolicy": "Never"}


def settings(world: Outside) -> Object:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": world.bootstrap,
        "KAFKA_SESSION_TIMEOUT": 6,
        "ABLY_ENDPOINT": world.endpoint,
        "ABLY_TLS": False,
        "SNAPSHOT_INTERVAL": 1,
        "DRAIN_TIMEOUT": 10,
    }


def values(world: Outside, **more: Any) -> Object:
    """Of a release that finds its secrets in `SECRET`."""
    return {
        "image": image(),
        "settings": settings(world),
        "secrets": {name: {"name": SECRET} for name in ("ABLY_KEY", "STORE_URL")},
        "topics": {"apply": {"partitions": PARTITIONS}},
        **more,
    }


def secret(world: Outside, store_url: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET},
        "stringData": {"ably-key": world.key, "store-url": store_url},
    }


async def write_values(directory: Path, name: str, content: Object) -> str:
    path = directory / f"{name}.json"  # which is YAML as well
    path.write_text(json.dumps(content))
    return str(path)


def program() -> Object:
    """What model containers run, for their pods to mount."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "model-program"},
        "data": {path.name: path.read_text() for path in PROGRAM.values()},
    }


def model_pod_spec(world: Outside, grace: int = 60, rate: float = 45.0) -> Object:
    environment = {
        "TOKENSTREAM_KAFKA_BOOTSTRAP_SERVERS": world.bootstrap,
        "WORK_FROM": f"http://{NODE}:{WORK_PORT}",
        "TOKENS_PER_SECOND": str(rate),
    }
    items = [{"key": path.name, "path": place} for place, path in PROGRAM.items()]
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace,
        "containers": [
            {
                "name": "model",
                "image": f"{IMAGE}:{VERSION}",
                "imagePullPolicy": "Never",
                "command": ["python", "/model/model_pod.py"],
                "env": [{"name": name, "value": value} for name, value in environment.items()],
                "volumeMounts": [{"name": "program", "mountPath": "/model"}],
                "securityContext": SECURITY,
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            }
        ],
        "volumes": [{"name": "program", "configMap": {"name": "model-program", "items": items}}],
    }


def model_deployment(
    name: str,
    spec: Object,
    *,
    replicas: int = 2,
    labels: dict[str, str] | None = None,
    own_labels: dict[str, str] | None = None,
) -> Object:
    """`labels` are those of its pods, `own_labels` those of the Deployment itself."""
    selector = {"app": name}
    metadata = {"labels": {**selector, **(labels or {})}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": own_labels or {}},
        "spec": {
            "replicas": replicas,
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": selector},
            "template": {"metadata": metadata, "spec": spec},
        },
    }


async def gone(namespace: Namespace, kinds: str, selector: str = "", deadline: float = 300.0) -> None:
    """Wait until none of these is left."""

    async def none() -> bool:
        left = [f"{one['kind']} {name_of(one)}" for one in await namespace.found(kinds, selector)]
        assert not left, f"still there: {left}"
        return True

    await eventually(none, deadline=deadline, every=0.5)


async def ready_pods(namespace: Namespace, selector: str, count: int, deadline: float = 300.0) -> list[Object]:
    """Waits for exactly `count` pods, all ready, and no ending one."""

    async def all_ready() -> list[Object]:
        pods = await namespace.pods(selector)
        states = [(name_of(pod), pod["status"]["phase"], is_ready(pod)) for pod in pods]
        assert len(pods) == count and all(ready for _, _, ready in states), f"{count} wanted: {states}"  # noqa: PT018
        return pods

    return await eventually(all_ready, deadline=deadline, every=0.5)
