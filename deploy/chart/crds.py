"""Fetches schemas that other projects publish: `python -m deploy.chart.crds`.

The schemas of the chart's custom resources are kept in tests/deploy/chart/crds, with that of compose files, so that
no test needs Go to check a PodMonitor. All three projects are under Apache-2.0.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from deploy.chart.renderings import ROOT

CRDS = ROOT / "tests" / "deploy" / "chart" / "crds"
MODULES = {
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
    "github.com/kedacore/keda/v2@v2.21.0": ("config/crd/bases/keda.sh_scaledobjects.yaml",),
}
COMPOSE = "github.com/compose-spec/compose-go/v2@v2.16.2"


def main() -> int:
    CRDS.mkdir(exist_ok=True)
    write(
        CRDS.parent / "compose-spec.json", json.loads((folder_of(COMPOSE) / "schema" / "compose-spec.json").read_text())
    )
    for module, paths in MODULES.items():
        for path in paths:
            definition = yaml.safe_load((folder_of(module) / path).read_text())
            kind = definition["spec"]["names"]["kind"]
            for version in definition["spec"]["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                schema["$comment"] = f"From {module}, {path} (Apache-2.0), without descriptions, made strict."
                write(CRDS / f"{kind}.{version['name']}.json", schema)
    return 0


def folder_of(module: str) -> Path:
    done = subprocess.run(["go", "mod", "download", "-json", module], check=True, capture_output=True, text=True)
    return Path(json.loads(done.stdout)["Dir"])


def write(path: Path, schema: dict[str, Any]) -> None:
    path.write_text(json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n")
    print(f"wrote {path}")


def strict(node: Any, *, name: str = "") -> Any:
    """As JSON Schema, refusing fields that are not named, as the API server's strict validation does."""
    if isinstance(node, list):
        return [strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    kept = {
        key: {each: strict(inner, name=each) for each, inner in value.items()} if key == "properties" else strict(value)
        for key, value in node.items()
        if key not in ("description", "format", "default", "nullable") and not key.startswith("x-")
    }
    free = node.get("x-kubernetes-preserve-unknown-fields") or name == "metadata"
    if "properties" in node and "additionalProperties" not in node and not free:
        kept["additionalProperties"] = False
    return kept


if __name__ == "__main__":
    sys.exit(main())
