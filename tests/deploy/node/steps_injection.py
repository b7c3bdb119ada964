"""Relays as sidecars, put into model pods by the chart's admission policy, on a real node, under load.

The steps build on each other and run in this order.
"""

import asyncio
import json
import re
from dataclasses import dataclass
from datetime import datetime

import pytest
import pytest_asyncio

from deploy.node.cluster import Namespace, Object, create_namespace, name_of, run, timed
from deploy.node.conftest import Seen
from deploy.node.evictions import drained
from deploy.node.outside import Outside
from deploy.node.workload import (
    CHART,
    IMAGE,
    RESTRICTED,
    SECURITY,
    VERSION,
    gone,
    model_deployment,
    model_pod_spec,
    program,
    ready_pods,
    secret,
    values,
    write_values,
)
from support.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1200)]

INJECT = {"tokenstream.dev/inject": "true"}
MODELS = "app=model"
SIDECAR = "tokenstream"


@dataclass
class Injection:
    release: Namespace
    models: Namespace
    values: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def injection(world: Outside, tmp_path_factory: pytest.TempPathFactory) -> Injection:
    release = await create_namespace("sidecars", RESTRICTED)
    models = await create_namespace("models", RESTRICTED)
    store_url = await world.create_database()
    for namespace in (release, models):
        await namespace.apply(secret(world, store_url), program())
    content = values(
        world,
        mode="sidecar",
        injection={"enabled": True, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}},
        api={"enabled": False},
        sidecar={"modelStopSeconds": 30},
    )
    path = await write_values(tmp_path_factory.mktemp("values"), "sidecar", content)
    return Injection(release, models, path)


async def test_injection_is_installed(injection: Injection, seen: Seen) -> None:
    await injection.release.helm("install", "ts", CHART, "--values", injection.values, "--wait", "--timeout", "10m")

    async def holds() -> bool:
        return bool(sidecars_of(await as_admitted(injection.models, INJECT)))

    took = await timed(lambda: eventually(holds, deadline=60, every=0.3))
    seen(f"the admission policy was accepted, and held after {took:.1f} s more")


async def as_admitted(
    namespace: Namespace, labels: dict[str, str], annotations: dict[str, str] | None = None, **more: object
) -> Object:
    """A pod as the API server would make it; none is made."""
    spec: Object = {
        "containers": [{"name": "main", "image": f"{IMAGE}:{VERSION}", "securityContext": SECURITY}],
        **more,
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "looked-at", "labels": labels, "annotations": annotations or {}},
        "spec": spec,
    }
    said = await namespace.kubectl(
        "create", "--dry-run=server", "--output=json", "--filename", "-", given=json.dumps(pod)
    )
    made: Object = json.loads(said)
    return made


def sidecars_of(pod: Object) -> list[Object]:
    return [one for one in pod["spec"].get("initContainers", []) if one["name"] == SIDECAR]


def environment_of(pod: Object) -> dict[str, str]:
    [sidecar] = sidecars_of(pod)
    return {one["name"]: one.get("value", "") for one in sidecar["env"]}


async def test_only_labelled_pods_of_its_namespaces_get_a_sidecar(injection: Injection, seen: Seen) -> None:
    first = {"name": "first", "image": f"{IMAGE}:{VERSION}", "securityContext": SECURITY}
    labelled = await as_admitted(injection.models, INJECT, initContainers=[first], terminationGracePeriodSeconds=300)
    assert [one["name"] for one in labelled["spec"]["initContainers"]] == [SIDECAR, "first"]
    assert labelled["spec"]["initContainers"][0]["restartPolicy"] == "Always"
    assert labelled["spec"]["terminationGracePeriodSeconds"] == 300
    for namespace, labels in (
        (injection.models, {}),
        (injection.models, {"tokenstream.dev/inject": "false"}),
        (injection.release, INJECT),
    ):
        plain = await as_admitted(namespace, labels)
        assert "initContainers" not in plain["spec"]
        assert plain["spec"]["terminationGracePeriodSeconds"] == 30
    seen("first among init containers, also beside others; unlabelled pods and other namespaces unchanged")


async def test_annotations_are_settings_of_one_pod(injection: Injection, seen: Seen) -> None:
    plain = environment_of(await as_admitted(injection.models, INJECT))
    annotations = {"settings.tokenstream.dev/SNAPSHOT_INTERVAL": "3", "settings.tokenstream.dev/GAP_TIMEOUT": "4"}
    changed = environment_of(await as_admitted(injection.models, INJECT, annotations))
    assert plain["TOKENSTREAM_SNAPSHOT_INTERVAL"] == "1"
    assert {name: value for name, value in changed.items() if plain.get(name) != value} == {
        "TOKENSTREAM_SNAPSHOT_INTERVAL": "3",
        "TOKENSTREAM_GAP_TIMEOUT": "4",
    }
    seen("one setting changed and one added by annotation; the others are the release's")


async def test_every_token_arrives_through_injected_sidecars(world: Outside, injection: Injection, seen: Seen) -> None:
    await injection.models.apply(model_deployment("model", model_pod_spec(world, grace=20), labels=INJECT))
    pods = await ready_pods(injection.models, MODELS, 2)
    assert all(sidecars_of(pod) for pod in pods)
    async with world.asking():
        await world.more_answers(12)
    judged = world.judge()
    judged.require_faultless()
    seen(f"{judged.responses} responses of 2 model pods through their own sidecars; pods are restricted", judged)


async def test_model_pods_are_rolled_under_load(world: Outside, injection: Injection, seen: Seen) -> None:
    async with world.asking():
        await world.more_answers(4)
        await injection.models.kubectl("rollout", "restart", "deployment/model")
        took = await timed(lambda: injection.models.rolled_out("deployment/model"))
        await ready_pods(injection.models, MODELS, 2)
        await world.more_answers(4)
    judged = world.judge()
    judged.require_faultless()
    seen(f"2 model pods and their sidecars replaced in {took:.0f} s while {judged.responses} responses ran", judged)


async def test_the_node_of_model_pods_is_drained_under_load(world: Outside, injection: Injection, seen: Seen) -> None:
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "model"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "model"}}},
    }
    await injection.models.apply(budget)
    async with world.asking():
        await world.more_answers(4)
        held_back = await drained(injection.models, MODELS)
        await ready_pods(injection.models, MODELS, 2)
        await world.more_answers(4)
    judged = world.judge()
    judged.require_faultless()
    assert held_back, "the budget never held an eviction back"
    seen(f"both model pods evicted, {held_back} evictions held back by the budget", judged)


async def test_the_sidecar_starts_first_and_stops_last(world: Outside, injection: Injection, seen: Seen) -> None:
    pod = model_deployment("ordered", model_pod_spec(world, grace=20), replicas=1, labels=INJECT)
    await injection.models.kubectl("scale", "deployment/model", "--replicas=0")
    await gone(injection.models, "pods", MODELS)
    await injection.models.apply(pod)
    [made] = await ready_pods(injection.models, "app=ordered", 1)
    following = [asyncio.create_task(_log(injection.models, name_of(made), one)) for one in (SIDECAR, "model")]
    world.work.open = True
    await eventually(lambda: len(world.work.given) >= 4, deadline=120)
    await injection.models.kubectl("delete", "pod", name_of(made), "--wait=false")
    sidecar, model = await asyncio.gather(*following)
    world.work.open = False
    await ready_pods(injection.models, "app=ordered", 1)
    await world.answered()
    judged = world.judge()
    judged.require_faultless()
    started, asked, ended = (_when(model, what) for what in ("started", "asked to stop", "ended"))
    serving, stopping, stopped = (_when(sidecar, what) for what in ('"http_listening"', '"stopping"', '"stopped"'))
    assert serving < started < asked < ended < stopping < stopped
    await injection.models.kubectl("delete", "deployment/ordered")
    drain = (stopped - stopping).total_seconds()
    seen(
        f"the model ended {(ended - asked).total_seconds():.1f} s after SIGTERM, then the sidecar stopped in {drain:.1f} s",
        judged,
    )


async def _log(namespace: Namespace, pod: str, container: str) -> list[str]:
    """Its lines with their times, until it ends."""
    said = await namespace.kubectl("logs", pod, "--container", container, "--follow", "--timestamps", deadline=500)
    return said.splitlines()


def _when(lines: list[str], what: str) -> datetime:
    """The time of the only line with these words."""
    found = [line for line in lines if what in line]
    assert len(found) == 1, f"{what}: {found or lines[-5:]}"
    moment = re.sub(r"(\.\d{6})\d*Z", r"\1+00:00", found[0].split(" ", 1)[0])
    return datetime.fromisoformat(moment)


async def test_uninstalling_takes_injection_away(injection: Injection, seen: Seen) -> None:
    await injection.models.kubectl("delete", "deployments,pdb", "--all")
    await injection.release.helm("uninstall", "ts", "--wait", "--timeout", "6m")
    policies = "mutatingadmissionpolicies,mutatingadmissionpolicybindings"
    left = json.loads(await run("kubectl", "get", policies, "--output=json"))["items"]
    assert left == []
    await gone(injection.models, "pods")

    async def unchanged() -> bool:
        return not sidecars_of(await as_admitted(injection.models, INJECT))

    took = await timed(lambda: eventually(unchanged, deadline=60, every=0.3))
    seen(f"no policy is left; labelled pods are unchanged after {took:.1f} s")
