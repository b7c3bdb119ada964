"""Keeps Helm's output for the chart: as manifests for users without Helm, and for tests on machines without it.

`sources.sha256` shows from which sources they were rendered, and that nobody edited them: both can be checked without
Helm.
"""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from deploy.chart.values import CHART

ROOT = CHART.parents[1]
CASES = ROOT / "tests" / "deploy" / "chart" / "values"
RENDERED = ROOT / "tests" / "deploy" / "chart" / "rendered"
STAMP = RENDERED / "sources.sha256"
EXAMPLE = ROOT / "deploy" / "examples" / "model-chart"
INJECTION = ROOT / "deploy" / "injection" / "injection.yaml"
PATCH = ROOT / "deploy" / "kustomize" / "sidecar.yaml"
KUBERNETES = "1.37.0"
_MADE = "# Made from helm/tokenstream by `make chart`; change it there.\n"
# Users without Helm edit these values: brokers, the image, and the Secret `tokenstream` with the key `ably-key`.
_PLAIN = (
    "mode=sidecar",
    "injection.enabled=true",
    "settings.KAFKA_BOOTSTRAP_SERVERS=kafka:9092",
    "secrets.ABLY_KEY.name=tokenstream",
    "archive.enabled=false",
    "api.enabled=false",
    "fullnameOverride=tokenstream",
)


def wanted(helm: str) -> Iterator[tuple[Path, str]]:
    """Every file that is made, with the text it should hold; the stamp last. `helm` is the program."""
    made: dict[Path, str] = {}
    for case in sorted(CASES.glob("*.yaml")):
        made[RENDERED / case.name] = _MADE + template(helm, CHART, "--values", str(case))
    with example(helm) as chart:
        library = template(helm, chart)
    made[RENDERED / "library.yaml"] = _MADE + library
    made[INJECTION] = _MADE + template(helm, CHART, *_sets(_PLAIN), "--show-only", "templates/injection.yaml")
    made[PATCH] = _MADE + _patch(library)
    yield from made.items()
    yield STAMP, stamp(made)


def template(helm: str, chart: Path, *options: str) -> str:
    """Raises CalledProcessError, with Helm's output in its `stderr`."""
    command = [helm, "template", "tokenstream", str(chart), "--namespace", "tokenstream", "--kube-version", KUBERNETES]
    done = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
    return done.stdout.rstrip() + "\n"


class example:  # noqa: N801 - used as a function
    """The example chart in a folder of its own, with this chart put in as its dependency."""

    def __init__(self, helm: str) -> None:
        self._helm = helm
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> Path:
        chart = Path(self._folder.name) / "model-chart"
        shutil.copytree(EXAMPLE, chart, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
        shutil.copytree(CHART, chart / "charts" / "tokenstream")
        return chart

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _sets(pairs: Iterable[str]) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


def _patch(library: str) -> str:
    """A strategic merge patch of what the example chart's pod has of us; the label and the name are kustomize's business."""
    (deployment,) = [found for found in yaml.safe_load_all(library) if found]
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    spec = {name: pod[name] for name in ("terminationGracePeriodSeconds", "initContainers", "volumes")}
    metadata = {"labels": {"tokenstream.dev/sidecar": "true"}}
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "any"},
        "spec": {"template": {"metadata": metadata, "spec": spec}},
    }
    return yaml.safe_dump(patch, sort_keys=False, width=120)


def sources() -> list[Path]:
    """Everything the renderings depend on. What is made by `documents`, which changes more often and needs no Helm, is in none."""
    made = (CHART / "README.md", CHART / "values.schema.json")
    chart = [path for path in CHART.rglob("*") if path.is_file() and path not in made]
    chart = [path for path in chart if CHART / "files" not in path.parents]
    example = [path for path in EXAMPLE.rglob("*") if path.is_file() and "charts" not in path.parts]
    return sorted([*chart, *CASES.glob("*.yaml"), *example, Path(__file__)])


def stamp(made: dict[Path, str]) -> str:
    """One line a file, as `sha256sum` prints them."""
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources()}
    digests |= {path: hashlib.sha256(text.encode()).hexdigest() for path, text in made.items()}
    return "".join(f"{digest}  {path.relative_to(ROOT)}\n" for path, digest in sorted(digests.items()))


def stamp_now() -> str:
    """The stamp as the files on disk give it."""
    texts = [*RENDERED.glob("*.yaml"), INJECTION, PATCH]
    return stamp({path: path.read_text() for path in texts})
