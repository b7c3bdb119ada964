"""What this project asks for leaves out versions with known advisories."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
FLOORS = {
    "orjson": ("3.11.6", "CVE-2025-67221: unbounded recursion of nested values"),
    "aiohttp": ("3.14.4", "fixes of the HTTP parser up to this version"),
    "pyjwt": ("2.15", "fixes of the checks of algorithms and headers up to this version"),
}
JARS = {
    "kafka_2.13": ("4.4.0", "CVE-2026-111108 and CVE-2026-111115 up to 4.3.1"),
    "log4j-slf4j-impl": ("2.26.1", "CVE-2026-34477, CVE-2026-34478, CVE-2026-34480 and CVE-2026-49844"),
}


def requirements() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    return {found.name: found for found in map(Requirement, asked)}


@pytest.mark.parametrize("name", FLOORS)
def test_the_lowest_version_allowed_has_no_known_advisory(name: str) -> None:
    floor, reason = FLOORS[name]
    lowest = [Version(part.version) for part in requirements()[name].specifier if part.operator in (">=", "==", "~=")]
    assert lowest, name
    assert max(lowest) >= Version(floor), reason


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
@pytest.mark.parametrize("name", FLOORS)
def test_the_locked_version_has_no_known_advisory(name: str, lock: str) -> None:
    locked = re.search(rf"^{name}==(\S+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE)
    assert locked is not None
    assert Version(locked[1]) >= Version(FLOORS[name][0]), FLOORS[name][1]


@pytest.mark.parametrize("artifact", JARS)
def test_the_local_brokers_jars_have_no_known_advisory(artifact: str) -> None:
    pom = (ROOT / "deploy" / "kafka" / "pom.xml").read_text(encoding="utf-8")
    pinned = re.search(rf"<artifactId>{re.escape(artifact)}</artifactId>\s*<version>(\S+)</version>", pom)
    assert pinned is not None
    assert Version(pinned[1]) >= Version(JARS[artifact][0]), JARS[artifact][1]


def test_the_compose_file_runs_the_brokers_version() -> None:
    compose = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    image = re.search(r"image: apache/kafka:(\S+)", compose)
    assert image is not None
    assert Version(image[1]) >= Version(JARS["kafka_2.13"][0])
