"""The image's Dockerfile, the compose file, and every YAML file beside them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from deploy.chart.renderings import RENDERED, ROOT
from deploy.chart.values import CHART
from devtools import kafka
from processor.config.settings import Settings

DEPLOY = ROOT / "deploy"
BIN = ROOT / ".venv" / "bin"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SCHEMA = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
LINT = """
extends: default
rules:
  line-length: disable
  document-start: disable
  braces: disable
  brackets: disable
  truthy: {check-keys: false}
  comments: {min-spaces-from-content: 1}
  indentation: {indent-sequences: consistent}
"""


def ran(*command: str) -> str:
    """What it printed. Fails unless it ended with 0."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_dockerfile_has_no_known_fault() -> None:
    ran(str(BIN / "hadolint"), "--no-color", "deploy/Dockerfile")


def test_hadolint_sees_a_fault(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\nRUN cd /tmp\n")
    with pytest.raises(AssertionError, match="DL3007"):
        ran(str(BIN / "hadolint"), "--no-color", str(tmp_path / "Dockerfile"))


def test_the_image_is_made_of_what_reaches_the_build() -> None:
    """Whatever the Dockerfile copies is let through by .dockerignore, and is there."""
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word
        for line in (DEPLOY / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied == let_through
    assert all((ROOT / path).exists() for path in copied)


def test_the_image_ends_as_a_user_without_rights_and_by_its_entry_point() -> None:
    final = (DEPLOY / "Dockerfile").read_text().split("\nFROM ")[-1]
    assert "\nUSER 65532:65532\n" in final
    assert 'ENTRYPOINT ["tokenstream"]\nCMD ["run"]\n' in final
    assert "RUN" not in re.findall(r"^[A-Z]+", final, re.MULTILINE)


def test_the_build_lock_has_a_hash_for_everything_and_no_address() -> None:
    lock = (DEPLOY / "requirements-build.lock").read_text()
    names = re.findall(r"^[a-z0-9.-]+==", lock, re.MULTILINE)
    assert names
    assert lock.count("--hash=sha256:") >= len(names)
    assert "://" not in lock


def test_the_compose_file_is_as_the_specification_says() -> None:
    jsonschema_rs.validate(SCHEMA, COMPOSE)


def test_a_misspelt_key_of_a_compose_file_is_seen() -> None:
    wrong = {"services": {"x": {"image": "y", "depend_on": ["z"]}}}
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(SCHEMA, wrong)


def test_what_the_compose_file_mounts_is_there() -> None:
    mounts = [volume for service in COMPOSE["services"].values() for volume in service.get("volumes", [])]
    files = [volume.split(":")[0] for volume in mounts if volume.startswith("./")]
    assert len(files) == 5
    assert all((DEPLOY / path).exists() for path in files)
    named = {volume.split(":")[0] for volume in mounts if not volume.startswith("./")}
    assert named == set(COMPOSE["volumes"])


def test_the_compose_file_is_open_to_this_machine_alone_and_pins_its_images() -> None:
    for name, service in COMPOSE["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert re.search(r":v?\d+\.\d+[\w.-]*$", service["image"]), name


def test_the_image_is_built_on_one_release_of_python() -> None:
    assert re.search(r"^ARG BASE=python:3\.11\.\d+-slim-\w+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)


def test_the_compose_file_runs_the_kafka_that_tests_run() -> None:
    assert COMPOSE["services"]["kafka"]["image"] == f"apache/kafka:{kafka.VERSION}"


def test_the_compose_file_gives_settings_there_are() -> None:
    known = {f"TOKENSTREAM_{row.name}" for row in Settings.describe()}
    ours = [service for service in COMPOSE["services"].values() if service["image"].startswith("tokenstream:")]
    assert len(ours) == 5
    for service in ours:
        assert set(service["environment"]) <= known
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


def test_the_compose_file_starts_the_gateway_and_the_bridge_only_when_asked() -> None:
    services = COMPOSE["services"]
    profiles = {name: service["profiles"] for name, service in services.items() if "profiles" in service}
    assert profiles == {"gateway": ["gateway"], "bridge": ["bridge"]}
    assert services["gateway"]["environment"]["TOKENSTREAM_REALTIME"] == "direct"
    scraped = yaml.safe_load((DEPLOY / "compose" / "prometheus.yaml").read_text())["scrape_configs"]
    names = {name for each in scraped for found in each["dns_sd_configs"] for name in found["names"]}
    assert names == {"tokenstream", *profiles}


def test_versions_agree() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    example = yaml.safe_load((DEPLOY / "examples" / "model-chart" / "Chart.yaml").read_text())
    told = {chart["version"], chart["appVersion"], example["dependencies"][0]["version"]}
    told |= {
        service["image"].split(":")[1] for service in COMPOSE["services"].values() if "tokenstream:" in service["image"]
    }
    assert told == {version[1]}
    assert f"ARG VERSION={version[1]}\n" in (DEPLOY / "Dockerfile").read_text()


def test_prometheus_takes_the_configuration_of_the_compose_file(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yaml").write_bytes((DEPLOY / "compose" / "prometheus.yaml").read_bytes())
    (tmp_path / "alerts.yaml").write_bytes((DEPLOY / "prometheus" / "alerts.yaml").read_bytes())
    told = ran("promtool", "check", "config", str(tmp_path / "prometheus.yaml"))
    assert "rules found" in told


def test_every_yaml_file_is_in_order() -> None:
    ours = [path for path in DEPLOY.rglob("*.yaml") if "templates" not in path.parts]
    ours += [*CHART.glob("*.yaml"), *(RENDERED.parent / "values").glob("*.yaml")]
    assert len(ours) > 12
    ran(str(BIN / "yamllint"), "--strict", "--config-data", LINT, *map(str, ours))
