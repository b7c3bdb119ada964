"""The other ways to a sidecar: a chart of one's own that includes the template, and kustomize's component; on a real node."""

import json
import os
from pathlib import Path

import pytest

from deploy.node.cluster import Namespace, Object, create_namespace, run
from deploy.node.conftest import Seen
from deploy.node.outside import Judged, Outside
from deploy.node.workload import (
    CHART,
    IMAGE,
    RESTRICTED,
    ROOT,
    SECRET,
    VERSION,
    gone,
    image,
    model_deployment,
    model_pod_spec,
    program,
    ready_pods,
    secret,
    settings,
)

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1200)]

MODELS = "app=model"

OWN_TEMPLATE = """\
{{- $model := .Files.Get "model.json" | fromJson }}
{{- $pod := $model.spec.template.spec }}
{{- $context := dict "context" . }}
{{- $_ := set $pod "initContainers" (include "tokenstream.sidecar" $context | fromYamlArray) }}
{{- $_ := set $pod "volumes" (concat $pod.volumes (include "tokenstream.sidecar.volumes" $context | fromYamlArray)) }}
{{- $_ := set $pod "terminationGracePeriodSeconds" (include "tokenstream.sidecar.terminationGracePeriodSeconds" $context | int) }}
{{ $model | toJson }}
"""


async def streamed(world: Outside, namespace: Namespace) -> Judged:
    pods = await ready_pods(namespace, MODELS, 2)
    assert all(pod["spec"]["initContainers"][0]["restartPolicy"] == "Always" for pod in pods)
    async with world.asking():
        await world.more_answers(8)
    judged = world.judge()
    judged.require_faultless()
    return judged


def write_own_chart(folder: Path, world: Outside, model: Object) -> None:
    (folder / "templates").mkdir(parents=True)
    dependency = {"name": "tokenstream", "version": VERSION, "repository": f"file://{CHART}"}
    chart = {"apiVersion": "v2", "name": "assistant", "version": "1.0.0", "dependencies": [dependency]}
    ours = {
        "mode": "library",
        "image": image(),
        "settings": settings(world),
        "secrets": {"ABLY_KEY": {"name": SECRET}},
        "sidecar": {"modelStopSeconds": 30},
    }
    (folder / "Chart.yaml").write_text(json.dumps(chart))
    (folder / "values.yaml").write_text(json.dumps({"tokenstream": ours}))
    (folder / "model.json").write_text(json.dumps(model))
    (folder / "templates" / "model.yaml").write_text(OWN_TEMPLATE)


async def test_a_chart_of_ones_own_includes_the_sidecar(world: Outside, tmp_path: Path, seen: Seen) -> None:
    namespace = await create_namespace("own-chart", RESTRICTED)
    await namespace.apply(secret(world, "sqlite://"), program())
    write_own_chart(tmp_path / "assistant", world, model_deployment("model", model_pod_spec(world)))
    await run("helm", "dependency", "build", str(tmp_path / "assistant"))
    await namespace.helm("install", "assistant", str(tmp_path / "assistant"), "--wait", "--timeout", "10m")
    judged = await streamed(world, namespace)
    await namespace.helm("uninstall", "assistant", "--wait", "--timeout", "6m")
    await gone(namespace, "pods,deployments")
    seen("a chart with this one as its dependency; 2 model pods, their sidecars from the template", judged)


def write_kustomization(folder: Path, world: Outside) -> None:
    folder.mkdir()
    marked = model_deployment("model", model_pod_spec(world), own_labels={"tokenstream.dev/sidecar": "true"})
    other = model_deployment("other", model_pod_spec(world), replicas=0)
    environment = {f"TOKENSTREAM_{name}": str(value).lower() for name, value in settings(world).items()}
    sidecar = {"name": "tokenstream", "env": [{"name": name, "value": value} for name, value in environment.items()]}
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "any"},
        "spec": {"template": {"spec": {"initContainers": [sidecar]}}},
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["marked.json", "other.json"],
        "components": [os.path.relpath(ROOT / "deploy" / "kustomize", folder)],
        "images": [{"name": "tokenstream", "newName": IMAGE, "newTag": VERSION}],
        "patches": [{"target": {"labelSelector": "tokenstream.dev/sidecar=true"}, "patch": json.dumps(patch)}],
    }
    for name, content in (("kustomization.yaml", kustomization), ("marked.json", marked), ("other.json", other)):
        (folder / name).write_text(json.dumps(content))


async def test_the_kustomize_component_adds_the_sidecar(world: Outside, tmp_path: Path, seen: Seen) -> None:
    namespace = await create_namespace("kustomized", RESTRICTED)
    await namespace.apply(secret(world, "sqlite://"), program())
    write_kustomization(tmp_path / "assistant", world)
    await namespace.kubectl("apply", "--kustomize", str(tmp_path / "assistant"))
    other = await namespace.get("deployment", "other")
    assert "initContainers" not in other["spec"]["template"]["spec"]
    judged = await streamed(world, namespace)
    await namespace.kubectl("delete", "--kustomize", str(tmp_path / "assistant"))
    await gone(namespace, "pods,deployments")
    seen("a labelled Deployment of 2 model pods gets sidecars, another is unchanged", judged)
