"""Schemas of the custom resources the chart makes, from the definitions their makers publish: `python -m deploy.chart.crds`.

They are kept in tests/deploy/chart/crds, so that no test needs Go to look at a PodMonitor. Both projects are under Apache-2.0.
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


def main() -> int:
    CRDS.mkdir(exist_ok=True)
    for module, paths in MODULES.items():
        done = subprocess.run(["go", "mod", "download", "-json", module], check=True, capture_output=True, text=True)
        folder = Path(json.loads(done.stdout)["Dir"])
        for path in paths:
            definition = yaml.safe_load((folder / path).read_text())
            kind = definition["spec"]["names"]["kind"]
            for version in definition["spec"]["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                schema["$comment"] = f"From {module}, {path} (Apache-2.0), without descriptions, made strict."
                out = CRDS / f"{kind}.{version['name']}.json"
                out.write_text(json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n")
    return 0


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
