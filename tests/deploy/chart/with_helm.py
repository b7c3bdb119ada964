"""Checks that need Helm: that the renderings are Helm's own, and what the chart refuses. Run by `make chart-test`."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.chart import renderings
from deploy.chart.cluster import look_at
from deploy.chart.values import CHART

HELM = os.environ.get("HELM", "helm")
CASES = sorted((Path(__file__).parent / "values").glob("*.yaml"))
ABSENT = "(not given)"
LEAST = {
    "settings.KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    "secrets.ABLY_KEY.name": "tokenstream",
    "secrets.STORE_URL.name": "tokenstream",
}


def template(*options: str, **values: str) -> str:
    sets = [word for name, value in values.items() if value != ABSENT for word in ("--set", f"{name}={value}")]
    return renderings.template(HELM, CHART, *sets, *options)


def refusal(**values: str) -> str:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        template(**values)
    told: str = refused.value.stderr
    return " ".join(told.split())


def test_what_is_kept_is_what_helm_makes() -> None:
    behind = [str(path) for path, text in renderings.wanted(HELM) if not path.exists() or path.read_text() != text]
    assert behind == [], "run `make chart`"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_lint_has_nothing_to_say(case: Path) -> None:
    command = [HELM, "lint", "--strict", "--kube-version", renderings.KUBERNETES, str(CHART), "--values", str(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_chart_passes_lint() -> None:
    with renderings.example(HELM) as chart:
        done = subprocess.run([HELM, "lint", "--strict", str(chart)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"settings.KAFKA_BOOTSTRAP_SERVERS": ""}, "settings.KAFKA_BOOTSTRAP_SERVERS is not set"),
        ({"secrets.ABLY_KEY.name": ABSENT}, "secrets.ABLY_KEY is not set"),
        ({"secrets.STORE_URL.name": ABSENT}, "STORE_URL is not set, which archive needs"),
        ({"secrets.STORE_URL.name": ABSENT, "archive.enabled": "false"}, "STORE_URL is not set, which api needs"),
        ({"secretValues.ABLY_KEY": "app.key:secret"}, "ABLY_KEY is in secrets and in secretValues: keep one."),
        ({"settings.STORE_URL": "s3://bucket/x"}, "STORE_URL is in settings and in secrets: keep one."),
        ({"relay.terminationGracePeriodSeconds": "29"}, "give 30 or more, or drain for less."),
        (
            {"relay.settings.DRAIN_TIMEOUT": "60", "relay.terminationGracePeriodSeconds": "69"},
            "relay.terminationGracePeriodSeconds is 69, and DRAIN_TIMEOUT 60: give 70 or more",
        ),
        ({"api.terminationGracePeriodSeconds": "5"}, "api.terminationGracePeriodSeconds is 5: give 20 or more."),
        ({"relay.hpa.enabled": "true", "relay.keda.enabled": "true"}, "relay.hpa and relay.keda are both enabled"),
        ({"relay.keda.enabled": "true", "topics.apply.partitions": "6"}, "relay.keda.maxReplicas is 12, and"),
        (
            {"relay.hpa.enabled": "true", "relay.hpa.minReplicas": "13"},
            "relay.hpa.minReplicas is more than maxReplicas.",
        ),
        ({"injection.enabled": "true"}, "injection.enabled needs mode=sidecar."),
        ({"relay.replica": "2"}, "additional properties 'replica' not allowed"),
        ({"settings.DRAIN_TIMOUT": "2"}, "additional properties 'DRAIN_TIMOUT' not allowed"),
    ],
    ids=str,
)
def test_values_that_cannot_work_together_are_refused_in_a_sentence(values: dict[str, str], sentence: str) -> None:
    assert sentence in refusal(**LEAST | values)


def test_all_mistakes_are_told_at_once() -> None:
    told = refusal()
    assert "KAFKA_BOOTSTRAP_SERVERS is not set" in told
    assert "ABLY_KEY is not set" in told
    assert "STORE_URL is not set" in told


def test_injection_is_refused_where_the_cluster_is_too_old_for_it() -> None:
    values = LEAST | {"mode": "sidecar", "injection.enabled": "true"}
    sets = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    command = [HELM, "template", "x", str(CHART), "--kube-version", "1.35.0", *sets]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "needs Kubernetes 1.36" in done.stderr


def test_a_chart_that_includes_the_sidecar_is_told_what_it_lacks() -> None:
    with renderings.example(HELM) as chart, pytest.raises(subprocess.CalledProcessError) as refused:
        renderings.template(HELM, chart, "--set", "tokenstream.settings.KAFKA_BOOTSTRAP_SERVERS=")
    assert "KAFKA_BOOTSTRAP_SERVERS is not set, which the sidecar needs" in refused.value.stderr


@pytest.mark.parametrize(
    ("name", "all_roles", "own", "wanted"),
    [
        ("API_PUBLIC", "true", "false", "false"),
        ("ABLY_CHANNEL_RATE", "25", "0", "0"),
        ("CORS_ORIGINS", "*", "", None),
        ("API_PUBLIC", "true", "null", "true"),
        ("API_PUBLIC", "null", "false", "false"),
    ],
)
@pytest.mark.parametrize("where", ["relay", "api", "sidecar"])
def test_a_role_overrides_all_roles_with_any_value(
    where: str, name: str, all_roles: str, own: str, wanted: str | None
) -> None:
    values = {f"settings.{name}": all_roles, f"{where}.settings.{name}": own}
    sidecar = {"mode": "sidecar", "injection.enabled": "true"} if where == "sidecar" else {}
    made = [each for each in yaml.safe_load_all(template(**LEAST | values | sidecar)) if each]
    if where == "sidecar":
        (config,) = [each for each in made if each["kind"] == "ConfigMap"]
        environment = config["data"]
    else:
        (role,) = [
            each for each in made if each["kind"] == "Deployment" and each["metadata"]["name"].endswith(f"-{where}")
        ]
        (container,) = role["spec"]["template"]["spec"]["containers"]
        environment = {each["name"]: each["value"] for each in container["env"]}
    concerned = where == "api" or not name.startswith(("API_", "CORS_"))
    assert environment.get(f"TOKENSTREAM_{name}") == (wanted if concerned else None)


def test_alerts_and_dashboards_come_whole() -> None:
    on = {f"monitoring.{name}.enabled": "true" for name in ("prometheusRule", "dashboards")}
    made = [each for each in yaml.safe_load_all(template(**LEAST | on)) if each]
    (rule,) = [each for each in made if each["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    look_at(rule)
    dashboards = [each for each in made if each["kind"] == "ConfigMap"]
    files = {path.name: path.read_text() for path in (CHART / "files" / "dashboards").glob("*.json")}
    assert {name: text for each in dashboards for name, text in each["data"].items()} == {
        f"tokenstream-{name}": text.rstrip("\n") for name, text in files.items()
    }
    for each in dashboards:
        look_at(each)


def test_what_the_page_tells_people_to_type_is_taken() -> None:
    page = (renderings.ROOT / "docs" / "quickstart-operator.md").read_text()
    typed = re.search(r"<!-- test: two commands -->\n```sh\n(.*?)```", page, re.DOTALL)
    assert typed
    install = (
        typed[1]
        .split("\nkubectl")[0]
        .replace("helm install", f"'{HELM}' template --kube-version {renderings.KUBERNETES}")
    )
    environment = {**os.environ, "ABLY_KEY": "app.key:secret"}
    done = subprocess.run(
        install, shell=True, cwd=renderings.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = [each["kind"] for each in yaml.safe_load_all(done.stdout) if each]
    assert {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "ConfigMap", "Secret", "Job"} <= set(made)
    examples = [
        each for each in yaml.safe_load_all((renderings.ROOT / "deploy/examples/model.yaml").read_text()) if each
    ]
    for each in examples:
        look_at(each)


def test_two_releases_do_not_get_in_each_others_way() -> None:
    command = [HELM, "template", "other", str(CHART), "--namespace", "there"]
    sets = [word for name, value in LEAST.items() for word in ("--set", f"{name}={value}")]
    done = subprocess.run([*command, *sets], capture_output=True, text=True, check=True)
    names = {
        (each["metadata"]["name"], each["metadata"]["namespace"]) for each in yaml.safe_load_all(done.stdout) if each
    }
    assert all(name.startswith("other-tokenstream") and namespace == "there" for name, namespace in names)


def test_an_api_with_verification_keys_gets_no_key_that_may_publish() -> None:
    api = ("--show-only", "templates/api.yaml")
    keys = {**LEAST, "secrets.API_ABLY_KEYS.name": "tokenstream"}
    assert "TOKENSTREAM_ABLY_KEY_FILE" in template(*api, **LEAST)
    spared = template(*api, **keys)
    assert "TOKENSTREAM_API_ABLY_KEYS_FILE" in spared
    assert "TOKENSTREAM_ABLY_KEY_FILE" not in spared
    assert "TOKENSTREAM_ABLY_KEY_FILE" in template(*api, **keys, **{"settings.PROBE_CHANNEL": "probe"})
    assert "TOKENSTREAM_ABLY_KEY_FILE" in template("--show-only", "templates/relay.yaml", **keys)
