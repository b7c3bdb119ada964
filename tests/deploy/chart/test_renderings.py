"""What Helm made of the chart, kept in `rendered`: whether it is of these sources, and whether a cluster would take it.

No Helm is needed here. That `rendered` is what Helm makes is looked at by `make chart-test`, and by the digests in its stamp.
"""

import copy
import functools
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from deploy.chart import renderings
from deploy.chart.cluster import CRDS, OLDEST, Manifest, Refused, look_at
from deploy.chart.renderings import INJECTION, PATCH, RENDERED
from deploy.chart.values import CHART

ALL = [*sorted(RENDERED.glob("*.yaml")), INJECTION]


@functools.cache
def _read(path: Path) -> list[Manifest]:
    return [found for found in yaml.load_all(path.read_text(), yaml.CSafeLoader) if found]


def manifests(path: Path) -> list[Manifest]:
    """The objects of a file; the caller's own, to change."""
    return copy.deepcopy(_read(path))


def of(case: str, kind: str) -> dict[str, Manifest]:
    """Objects of a kind, by component (or by name, where they have none)."""
    found = [manifest for manifest in manifests(RENDERED / f"{case}.yaml") if manifest["kind"] == kind]
    labelled = [(each["metadata"].get("labels", {}).get("app.kubernetes.io/component"), each) for each in found]
    return {component or each["metadata"]["name"]: each for component, each in labelled}


def pods(path: Path) -> list[tuple[str, Manifest]]:
    """Every pod that comes of a file: its labels and spec, whatever makes it."""
    found = []
    for each in manifests(path):
        if each["kind"] == "Pod":
            found.append((each["metadata"]["name"], each))
        elif each["kind"] in ("Deployment", "Job"):
            found.append((each["metadata"]["name"], each["spec"]["template"]))
    return found


def test_renderings_are_made_of_these_sources_and_by_nobody_else() -> None:
    """Fails after any change to the chart until `make chart` was run; that needs Helm."""
    told = set(renderings.STAMP.read_text().splitlines())
    now = set(renderings.stamp_now().splitlines())
    assert sorted(told ^ now) == [], "run `make chart`"


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_cluster_knows_every_field(path: Path) -> None:
    looked_at = Counter[str]()
    for manifest in manifests(path):
        look_at(manifest)
        looked_at[manifest["kind"]] += 1
    expected = {
        "bare": {"Deployment": 1, "HorizontalPodAutoscaler": 1, "Pod": 1, "Secret": 1},
        "injection-bridge": {
            "ConfigMap": 1,
            "Job": 1,
            "MutatingAdmissionPolicy": 1,
            "MutatingAdmissionPolicyBinding": 1,
            "NetworkPolicy": 2,
            "Pod": 1,
            "ServiceAccount": 1,
        },
        "deployment": {
            "Deployment": 3,
            "Job": 2,
            "NetworkPolicy": 6,
            "Pod": 1,
            "PodDisruptionBudget": 3,
            "Service": 1,
            "ServiceAccount": 1,
        },
        "direct": {
            "Deployment": 4,
            "HorizontalPodAutoscaler": 1,
            "Job": 2,
            "NetworkPolicy": 7,
            "Pod": 1,
            "PodDisruptionBudget": 4,
            "Service": 2,
            "ServiceAccount": 1,
        },
        "everything": {
            "Deployment": 3,
            "HorizontalPodAutoscaler": 1,
            "Job": 2,
            "NetworkPolicy": 6,
            "Pod": 1,
            "PodDisruptionBudget": 3,
            "PodMonitor": 1,
            "ScaledObject": 2,
            "Service": 1,
            "ServiceAccount": 1,
        },
        "injection": {
            "ConfigMap": 1,
            "Job": 1,
            "MutatingAdmissionPolicy": 1,
            "MutatingAdmissionPolicyBinding": 1,
            "NetworkPolicy": 2,
            "Pod": 1,
            "ServiceAccount": 1,
        },
        "library": {"Deployment": 1},
        "sidecar": {
            "Deployment": 2,
            "Job": 2,
            "NetworkPolicy": 5,
            "Pod": 1,
            "PodDisruptionBudget": 2,
            "PodMonitor": 2,
            "Secret": 2,
            "Service": 1,
            "ServiceAccount": 1,
        },
    }
    if path == INJECTION:
        assert looked_at == {"ConfigMap": 1, "MutatingAdmissionPolicy": 1, "MutatingAdmissionPolicyBinding": 1}
    else:
        assert looked_at == expected[path.stem]


@pytest.mark.parametrize("path", [path for path in ALL if "injection" not in path.stem], ids=lambda path: path.stem)
def test_so_does_the_oldest_one_the_chart_is_for(path: Path) -> None:
    told = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    assert told == f">={OLDEST}-0"
    for manifest in manifests(path):
        look_at(manifest, OLDEST)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("PodMonitor", {"spec": {"selector": {}, "podMetricsEndpoints": [{"intervall": "15s"}]}}),
        ("PrometheusRule", {"spec": {"groups": [{"name": "x", "rules": [{"expr": "1", "allert": "X"}]}]}}),
        ("ScaledObject", {"spec": {"scaleTargetReff": {"name": "x"}, "triggers": []}}),
    ],
)
def test_a_misspelt_field_of_a_custom_resource_is_seen(kind: str, wrong: Manifest) -> None:
    (path,) = CRDS.glob(f"{kind}.*.json")
    with pytest.raises(Refused):
        look_at({"apiVersion": f"any/{path.stem.partition('.')[2]}", "kind": kind, **wrong})


def test_a_misspelt_field_of_kubernetes_is_seen() -> None:
    deployment = of("deployment", "Deployment")["relay"]
    deployment["spec"]["template"]["spec"]["containers"][0]["startupProb"] = {}
    with pytest.raises(Refused, match="startupProb"):
        look_at(deployment)


@pytest.mark.parametrize("path", [path for path in ALL if path != INJECTION], ids=lambda path: path.stem)
def test_pods_meet_the_restricted_profile(path: Path) -> None:
    found = pods(path)
    assert found
    for _, pod in found:
        spec = pod["spec"]
        ours = [each for each in spec.get("initContainers", []) + spec["containers"] if "tokenstream" in each["image"]]
        assert ours
        for container in ours:
            security = container["securityContext"]
            assert security["runAsNonRoot"]
            assert security["runAsUser"] == 65532
            assert security["readOnlyRootFilesystem"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]
        if path.stem != "library":  # there the pod is the model service's
            assert spec["automountServiceAccountToken"] is False
            assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for volume in spec.get("volumes", []):
            assert volume == NO_TOKEN or set(volume) == {"name", "projected"}


NO_TOKEN = {"name": "tokenstream-no-token", "emptyDir": {}}


def environment(container: Manifest) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container["env"]}


def test_secrets_are_files_and_reach_only_who_needs_them() -> None:
    deployments = of("everything", "Deployment")
    jobs = of("everything", "Job")
    seen = {}
    for role, owner in {**deployments, **jobs}.items():
        spec = owner["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        sources = spec["volumes"][0]["projected"]["sources"]
        files = {item["path"] for source in sources for item in source["secret"]["items"]}
        given = {name for name in environment(container) if name.endswith("_FILE") or "CAFILE" in name}
        assert len(given) == len(files)
        for name in given:
            assert environment(container)[name].startswith("/run/secrets/tokenstream/")
        seen[role] = files
        mount = container["volumeMounts"][0]
        assert mount["readOnly"]
        assert mount["mountPath"] == "/run/secrets/tokenstream"
    kafka = {"kafka-sasl-username", "kafka-sasl-password", "kafka-ssl-cafile"}
    assert seen == {
        "relay": kafka | {"ably-key"},
        "archive": kafka | {"store-url"},
        "api": kafka | {"ably-key", "store-url", "api-tokens"},
        "topics": kafka,
        "migrate": {"store-url"},
    }


def test_with_direct_no_pod_has_an_ably_key_and_gateways_read_the_store() -> None:
    deployments = of("direct", "Deployment")
    containers = {role: each["spec"]["template"]["spec"]["containers"][0] for role, each in deployments.items()}
    for container in containers.values():
        assert environment(container)["TOKENSTREAM_REALTIME"] == "direct"
        assert not [name for name in environment(container) if "ABLY" in name]
    given = {name for name in environment(containers["gateway"]) if name.endswith("_FILE")}
    assert given == {"TOKENSTREAM_STORE_URL_FILE", "TOKENSTREAM_API_TOKENS_FILE"}
    assert containers["gateway"]["args"] == ["gateway"]
    spec = deployments["gateway"]["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] >= 30


def test_no_value_of_a_secret_stands_in_a_pod() -> None:
    for case, value in (("bare", "app.key:secret"), ("sidecar", "postgresql://")):
        for kind in ("Deployment", "Job", "Pod"):
            assert value not in json.dumps(of(case, kind))


def test_a_setting_of_one_role_wins_over_that_of_all() -> None:
    deployments = of("everything", "Deployment")
    drains = {
        role: environment(each["spec"]["template"]["spec"]["containers"][0])["TOKENSTREAM_DRAIN_TIMEOUT"]
        for role, each in deployments.items()
    }
    assert drains == {"relay": "40", "archive": "30", "api": "30"}
    relay = environment(deployments["relay"]["spec"]["template"]["spec"]["containers"][0])
    assert relay["TOKENSTREAM_CHANNEL_PATTERN"] == 'chat:[0-9]+ "quoted" \\d'
    assert relay["TOKENSTREAM_SNAPSHOT_INTERVAL"] == "2.5"
    assert relay["TOKENSTREAM_MAX_RESPONSE_BYTES"] == "8388608"


@pytest.mark.parametrize("case", ["deployment", "everything", "bare"])
def test_a_relay_is_given_longer_to_stop_than_it_may_drain(case: str) -> None:
    spec = of(case, "Deployment")["relay"]["spec"]["template"]["spec"]
    drain = float(environment(spec["containers"][0])["TOKENSTREAM_DRAIN_TIMEOUT"])
    assert spec["terminationGracePeriodSeconds"] >= drain + 10


def sidecar() -> Manifest:
    deployment = of("library", "Deployment")["tokenstream"]
    container: Manifest = deployment["spec"]["template"]["spec"]["initContainers"][0]
    return container


def test_the_sidecar_is_a_native_one_that_cannot_take_the_model_out_of_service() -> None:
    container = sidecar()
    assert container["restartPolicy"] == "Always"
    assert container["args"] == ["relay"]
    assert container["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "tokenstream"}
    assert "readinessProbe" not in container
    assert environment(container)["TOKENSTREAM_ABLY_KEY_FILE"] == "/run/secrets/tokenstream/ably-key"
    assert not any("STORE" in name for name in environment(container))


def test_the_sidecar_has_an_empty_folder_where_kubernetes_mounts_the_token() -> None:
    mount = {"name": NO_TOKEN["name"], "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
    assert mount in sidecar()["volumeMounts"]
    assert NO_TOKEN in of("library", "Deployment")["tokenstream"]["spec"]["template"]["spec"]["volumes"]
    assert NO_TOKEN in yaml.safe_load(PATCH.read_text())["spec"]["template"]["spec"]["volumes"]
    mutation = of("injection", "MutatingAdmissionPolicy")["injection"]["spec"]["mutations"][0]["jsonPatch"][
        "expression"
    ]
    assert f'mountPath: "{mount["mountPath"]}", name: "{NO_TOKEN["name"]}"' in mutation
    assert f'emptyDir: Object.spec.volumes.emptyDir{{}}, name: "{NO_TOKEN["name"]}"' in mutation


def test_a_pod_with_a_sidecar_has_time_for_the_model_and_then_for_the_drain() -> None:
    spec = of("library", "Deployment")["tokenstream"]["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 10 + 20 + 10


def test_the_kustomize_component_adds_the_same_container() -> None:
    patch = yaml.safe_load(PATCH.read_text())
    assert patch["spec"]["template"]["spec"]["initContainers"] == [sidecar()]


def test_injection_asks_for_its_label_and_settings_come_from_its_config_map() -> None:
    policy = of("injection", "MutatingAdmissionPolicy")["injection"]["spec"]
    assert policy["matchConstraints"]["objectSelector"] == {"matchLabels": {"tokenstream.dev/inject": "true"}}
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert (rule["operations"], rule["resources"]) == (["CREATE"], ["pods"])
    config = of("injection", "ConfigMap")["injection"]["data"]
    assert config["TOKENSTREAM_KAFKA_BOOTSTRAP_SERVERS"] == "kafka:9092"
    assert config["TOKENSTREAM_DRAIN_TIMEOUT"] == "12.5"
    assert config["modelStopSeconds"] == "20"
    binding = of("injection", "MutatingAdmissionPolicyBinding")["injection"]["spec"]
    assert binding["paramRef"]["name"] == of("injection", "ConfigMap")["injection"]["metadata"]["name"]
    assert binding["policyName"] == of("injection", "MutatingAdmissionPolicy")["injection"]["metadata"]["name"]


def test_an_injected_bridge_has_secrets_of_its_own_and_stops_before_the_relay() -> None:
    spec = of("injection-bridge", "MutatingAdmissionPolicy")["injection"]["spec"]
    added = spec["mutations"][0]["jsonPatch"]["expression"].split("+ [JSONPatch")
    (relay,) = [line for line in added if "/spec/initContainers/0" in line]
    (bridge,) = [line for line in added if "/spec/initContainers/1" in line]
    assert ('args: ["relay"]' in relay, 'args: ["bridge"]' in bridge) == (True, True)
    assert "tokenstream-bridge-secrets" in bridge
    assert "ABLY" not in bridge
    assert "BRIDGE" not in relay
    assert 'name: "TOKENSTREAM_BRIDGE_UPSTREAM", value: "http://localhost:8000/v1"' in bridge
    (volume,) = [line for line in added if "/spec/volumes/-" in line and "tokenstream-bridge-secrets" in line]
    assert ("bridge-upstream-key" in volume, "ably" in volume) == (True, False)
    assert {each["name"]: each["expression"] for each in spec["variables"]}["grace"].endswith("+ 40")


def test_what_is_scaled_is_what_is_open_and_unread_not_what_is_uncommitted() -> None:
    scaled = of("everything", "ScaledObject")
    queries = {role: [each["metadata"]["query"] for each in scaled[role]["spec"]["triggers"]] for role in scaled}
    assert queries == {
        "relay": [
            'sum(tokenstream_open_responses{namespace="tokenstream"})',
            'sum(tokenstream_consumer_lag_records{namespace="tokenstream",topic="tokenstream.tokens"})',
        ],
        "archive": ['sum(tokenstream_consumer_lag_records{namespace="tokenstream",topic="tokenstream.responses"})'],
    }
    for role in scaled:
        assert "fallback" not in scaled[role]["spec"]  # one to a number of replicas takes away pods that are needed
        assert "replicas" not in of("everything", "Deployment")[role]["spec"]


def test_egress_is_open_to_the_brokers_ably_and_the_store() -> None:
    policy = of("everything", "NetworkPolicy")["relay"]["spec"]
    assert [port["port"] for port in policy["egress"][1]["ports"]] == [9093, 9094, 443, 5432, 8443]


def test_selectors_tell_roles_and_releases_apart() -> None:
    found = of("deployment", "Deployment")
    selectors = [json.dumps(each["spec"]["selector"], sort_keys=True) for each in found.values()]
    assert len(set(selectors)) == 3
    for each in found.values():
        assert each["spec"]["selector"]["matchLabels"].items() <= each["spec"]["template"]["metadata"]["labels"].items()


def test_a_cluster_takes_the_alerts_as_a_custom_resource() -> None:
    spec = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    assert spec["groups"]
    look_at({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "spec": spec})
