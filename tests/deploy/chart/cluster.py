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
SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
NEWEST, OLDEST = "1.37.0", "1.30.0"
CUSTOM = {"PodMonitor", "PrometheusRule", "ScaledObject"}
_SHARED = "/api/_definitions.json#/$defs/"


def look_at(manifest: Manifest, kubernetes: str = NEWEST) -> None:
    """Raises Refused for a field that does not exist, or holds what it can't; FileNotFoundError for an unknown kind."""
    validator(manifest["apiVersion"], manifest["kind"], kubernetes).validate(manifest)


@functools.cache
def validator(api_version: str, kind: str, kubernetes: str) -> jsonschema_rs.Draft202012Validator:
    group, _, version = api_version.rpartition("/")
    if kind in CUSTOM:
        return jsonschema_rs.Draft202012Validator(json.loads((CRDS / f"{kind}.{version}.json").read_text()))
    name = "-".join(part for part in (kind.lower(), group.split(".")[0], version) if part)
    text = (folder(kubernetes) / f"{name}.json").read_text().replace(_SHARED, "#/$defs/")
    return jsonschema_rs.Draft202012Validator(json.loads(text) | {"$defs": definitions(kubernetes)})


@functools.cache
def definitions(kubernetes: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder(kubernetes) / "_definitions.json").read_text())["$defs"]
    return found


def folder(kubernetes: str) -> Path:
    return SCHEMAS / f"v{kubernetes}-local-strict"
