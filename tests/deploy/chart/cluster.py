"""Whether a cluster would take an object: Kubernetes' own schemas, strict, and those of the custom resources the chart makes.

The schemas are those of `kubernetes-validate`; its own reading of them takes a tenth of a second an object.
"""

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate

Manifest = dict[str, Any]
Refused = jsonschema_rs.ValidationError
CRDS = Path(__file__).parent / "crds"
KUBERNETES = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / "v1.37.0-local-strict"
CUSTOM = {"PodMonitor", "PrometheusRule", "ScaledObject"}
_SHARED = "/api/_definitions.json#/$defs/"


def look_at(manifest: Manifest) -> None:
    """Raises Refused for a field that does not exist, or holds what it can't; FileNotFoundError for an unknown kind."""
    validator(manifest["apiVersion"], manifest["kind"]).validate(manifest)


@functools.cache
def validator(api_version: str, kind: str) -> jsonschema_rs.Draft202012Validator:
    group, _, version = api_version.rpartition("/")
    if kind in CUSTOM:
        return jsonschema_rs.Draft202012Validator(json.loads((CRDS / f"{kind}.{version}.json").read_text()))
    name = "-".join(part for part in (kind.lower(), group.split(".")[0], version) if part)
    text = (KUBERNETES / f"{name}.json").read_text().replace(_SHARED, "#/$defs/")
    return jsonschema_rs.Draft202012Validator(json.loads(text) | {"$defs": definitions()})


@functools.cache
def definitions() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((KUBERNETES / "_definitions.json").read_text())["$defs"]
    return found
