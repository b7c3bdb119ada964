"""The chart with relays as a Deployment of their own, on a real node, under load: installed, rolled, drained, upgraded, removed.

The steps build on each other and run in this order.
"""

from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from deploy.node.cluster import Namespace, Object, create_namespace, name_of, run, timed
from deploy.node.conftest import Seen
from deploy.node.evictions import drained
from deploy.node.outside import Outside
from deploy.node.workload import (
    CHART,
    RESTRICTED,
    SECRET,
    gone,
    model_deployment,
    model_pod_spec,
    program,
    ready_pods,
    secret,
    values,
    write_values,
)
from devtools.stores import opened
from support.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1200)]

RELAYS = "app.kubernetes.io/component=relay"
API = "app.kubernetes.io/component=api"
OURS = "app.kubernetes.io/instance=ts"


@dataclass
class Release:
    namespace: Namespace
    values: Object
    store_url: str
    directory: Path
    before: int
    """How many responses model pods had produced when it was installed."""

    async def helm(self, *command: str, **changes: object) -> str:
        content = {**self.values, **changes}
        path = await write_values(self.directory, command[0], content)
        return await self.namespace.helm(*command, "ts", CHART, "--values", path, "--wait", "--timeout", "10m")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def release(world: Outside, tmp_path_factory: pytest.TempPathFactory) -> Release:
    namespace = await create_namespace("relays", RESTRICTED)
    store_url = await world.create_database()
    await namespace.apply(secret(world, store_url), program())
    return Release(namespace, values(world), store_url, tmp_path_factory.mktemp("values"), len(world.work.produced))


async def test_the_chart_installs_and_everything_becomes_ready(release: Release, seen: Seen) -> None:
    await release.helm("install")
    pods = await release.namespace.pods(OURS)
    running = [pod for pod in pods if pod["status"]["phase"] == "Running"]
    assert len(running) == 5, [name_of(pod) for pod in pods]
    seen(f"{len(running)} pods ready: 2 relays, 1 archive, 2 api; topics and schema made by Jobs")


async def test_pods_are_restricted_and_hold_no_credentials_of_the_cluster(release: Release, seen: Seen) -> None:
    [pod, *_] = await release.namespace.pods(RELAYS)
    inside = "import os, pathlib; print(os.getuid(), os.path.exists('/var/run/secrets/kubernetes.io'))"
    assert await release.namespace.execute(name_of(pod), "relay", "python", "-c", inside) == "65532 False\n"
    with pytest.raises(AssertionError, match="Read-only file system"):
        await release.namespace.execute(name_of(pod), "relay", "python", "-c", "open('/var/lib/tokenstream/x', 'w')")
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        await release.namespace.kubectl("run", "loose", "--image=localhost/pause:1", "--image-pull-policy=Never")
    seen("enforce=restricted admits them, and refuses a loose pod; uid 65532, no token, read-only root")


async def test_every_token_of_model_pods_arrives_once_and_in_order(
    world: Outside, release: Release, seen: Seen
) -> None:
    await release.namespace.apply(model_deployment("model", model_pod_spec(world)))
    await release.namespace.rolled_out("deployment/model")
    async with world.asking():
        await world.more_answers(12)
    judged = world.judge()
    judged.require_faultless()
    seen(f"{judged.responses} responses of 2 model pods, 2 relays", judged)


async def test_what_was_produced_is_stored_and_served(world: Outside, release: Release, seen: Seen) -> None:
    produced = world.work.produced[release.before :]
    assert produced
    async with opened(release.store_url) as store:
        for one in produced:
            stored = await eventually(lambda one=one: store.get(one.response_id), deadline=120)  # type: ignore[misc]
            assert stored is not None
            texts = {part.part: part.text for part in stored.record.parts}
            assert (stored.record.status, texts) == ("complete", one.texts)
    [pod, *_] = await release.namespace.pods(API)
    # Its token is the service's own key, as a browser's backend would sign one; here the pod is asked for its health.
    async with aiohttp.ClientSession(f"http://{pod['status']['podIP']}:8484") as api:
        assert (await api.get("/healthz")).status == 200
        refused = await api.get(f"/v1/responses/{produced[0].response_id}")
        assert refused.status == 401
        token = _signed(world.key)
        answer = await api.get(f"/v1/responses/{produced[0].response_id}", headers={"Authorization": f"Bearer {token}"})
        record = await answer.json()
    assert record["text"] == produced[0].texts["text"]
    seen(f"{len(produced)} records in PostgreSQL equal what was produced; the api asks for credentials")


def _signed(key: str) -> str:
    from devtools.emulator.server import demo_token

    return demo_token(key, {"*": ["history"]}, None, 600)


async def test_relays_are_rolled_under_load(world: Outside, release: Release, seen: Seen) -> None:
    async with world.asking():
        await world.more_answers(4)
        await release.namespace.kubectl("rollout", "restart", "deployment/ts-tokenstream-relay")
        took = await timed(lambda: release.namespace.rolled_out("deployment/ts-tokenstream-relay"))
        await world.more_answers(4)
    judged = world.judge()
    judged.require_faultless()
    seen(f"2 relays replaced in {took:.0f} s while {judged.responses} responses ran", judged)


async def test_the_node_is_drained_under_load(world: Outside, release: Release, seen: Seen) -> None:
    """With one node the evicted pods wait until it takes pods again; the budget lets one relay go at a time."""
    async with world.asking():
        await world.more_answers(4)
        held_back = await drained(release.namespace, RELAYS)
        await ready_pods(release.namespace, RELAYS, 2)
        await world.more_answers(4)
    judged = world.judge()
    judged.require_faultless()
    assert held_back, "the budget never held an eviction back"
    seen(f"all pods evicted, {held_back} evictions held back by budgets, node uncordoned", judged)


async def test_a_changed_key_is_taken_up_without_a_restart(world: Outside, release: Release, seen: Seen) -> None:
    before = sorted(name_of(pod) for pod in await release.namespace.pods(RELAYS))
    key = "local.key:changed"
    await release.namespace.apply(secret_with(world, release, key))

    async def is_there() -> bool:
        shown = [
            await release.namespace.execute(pod, "relay", "cat", "/run/secrets/tokenstream/ably-key") for pod in before
        ]
        return all(one.strip() == key for one in shown)

    took = await timed(lambda: eventually(is_there, deadline=300, every=0.5))
    await world.new_realtime(key)
    async with world.asking():
        await world.more_answers(6)
    judged = world.judge()
    judged.require_faultless()
    assert sorted(name_of(pod) for pod in await release.namespace.pods(RELAYS)) == before
    seen(f"the Secret's new key was in the pods after {took:.0f} s; a service that knows only it was served", judged)


def secret_with(world: Outside, release: Release, key: str) -> Object:
    changed = secret(world, release.store_url)
    changed["stringData"]["ably-key"] = key
    return changed


async def test_an_upgrade_changes_settings_under_load(world: Outside, release: Release, seen: Seen) -> None:
    settings = {**release.values["settings"], "SNAPSHOT_INTERVAL": 2}
    async with world.asking():
        await world.more_answers(3)
        await release.helm("upgrade", settings=settings, relay={"replicas": 3})
        await world.more_answers(3)
    judged = world.judge()
    judged.require_faultless()
    pods = await ready_pods(release.namespace, RELAYS, 3)
    environment = {one["name"]: one.get("value") for one in pods[0]["spec"]["containers"][0]["env"]}
    assert environment["TOKENSTREAM_SNAPSHOT_INTERVAL"] == "2"
    seen("3 relays with the new setting; the Jobs ran again", judged)


async def test_helm_test_finds_nothing_wrong(release: Release, seen: Seen) -> None:
    said = await release.namespace.helm("test", "ts", "--timeout", "6m", "--logs")
    assert "Succeeded" in said, said
    seen("doctor in a pod: Kafka, topics, realtime service, key and store")


async def test_uninstalling_leaves_nothing(release: Release, seen: Seen) -> None:
    """But for the pod of `helm test`, which Helm keeps for its logs."""
    own = ("deployment/model", "configmap/model-program", f"secret/{SECRET}")
    await release.namespace.kubectl("delete", *own, "pod/ts-tokenstream-test")
    await release.namespace.helm("uninstall", "ts", "--wait", "--timeout", "6m")
    kinds = (await run("kubectl", "api-resources", "--verbs=list", "--namespaced", "--output=name")).split()
    kinds = [kind for kind in kinds if not kind.startswith("events")]
    await gone(release.namespace, "pods")

    async def nothing_of_its_own() -> bool:
        left = await release.namespace.found(",".join(kinds))
        rest = sorted(f"{one['kind']} {name_of(one)}" for one in left)
        assert rest == ["ConfigMap kube-root-ca.crt", "ServiceAccount default"], rest
        return True

    await eventually(nothing_of_its_own, deadline=120, every=0.5)
    seen(f"{len(kinds)} kinds of objects asked: only what every namespace has is left, and `helm test`'s pod")
