"""Derives values.schema.json from the values: types from their defaults, the rest from their comments. A misspelt
value is refused.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from deploy.chart.values import Value

# Settings that hold a secret or the place of one: these come from Secrets.
SECRET = (
    "ABLY_KEY",
    "API_ABLY_KEYS",
    "API_TOKENS",
    "BRIDGE_TOKENS",
    "BRIDGE_UPSTREAM_KEY",
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SASL_USERNAME",
    "KAFKA_SSL_CAFILE",
    "KAFKA_SSL_CERTFILE",
    "KAFKA_SSL_KEYFILE",
    "KAFKA_SSL_KEY_PASSWORD",
    "STORE_URL",
)
NEVER_PLAIN = (
    "ABLY_KEY",
    "API_ABLY_KEYS",
    "API_TOKENS",
    "BRIDGE_TOKENS",
    "BRIDGE_UPSTREAM_KEY",
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SSL_KEY_PASSWORD",
)
_REFERENCE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "description": "Name of the Secret"},
        "key": {"type": "string", "description": "Key in it; left out, the setting's name as `ably-key`"},
    },
}


def schema_of(values: Iterable[Value], settings: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """`settings` are names and meanings of the program's own settings, which the chart passes on."""
    root: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart tokenstream",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "global": {"type": "object", "description": "Values shared between charts; none is read"},
            "enabled": {"type": "boolean", "description": "For the condition of a chart that depends on this one"},
        },
    }
    for value in values:
        parent = root
        for name in value.path[:-1]:
            parent = parent["properties"].setdefault(name, _section())
        known = parent["properties"].setdefault(value.path[-1], {})
        known |= {"description": value.description, **_typed(value, settings)}
    return root


def _section() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _typed(value: Value, settings: Sequence[tuple[str, str]]) -> dict[str, Any]:
    match value.path:
        case (*_, "settings"):
            return _settings(settings)
        case ("secrets",):
            return _only(dict(settings), _REFERENCE)
        case ("secretValues",):
            return _only(dict(settings), {"type": "string"})
    if value.schema:
        return value.schema
    match value.default:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer", "minimum": 0}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array"}
        case dict():
            return {"type": "object"}
        case other:
            raise TypeError(f"{value.name}: give its type in a comment `# @schema`, because {other!r} has none")


def _settings(settings: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Plain settings: every one but those that must not be read by whoever may read a release's values."""
    plain = {name: meaning for name, meaning in settings if name not in NEVER_PLAIN}
    properties = {
        name: {"type": ["string", "number", "boolean", "null"], "description": meaning}
        for name, meaning in plain.items()
    }
    # A database's address holds its password; a bucket's doesn't.
    properties["STORE_URL"]["pattern"] = "^(s3|gs|az|file)://"
    properties["STORE_URL"]["type"] = ["string", "null"]
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _only(meanings: dict[str, str], each: dict[str, Any]) -> dict[str, Any]:
    properties = {name: {**each, "description": meanings[name]} for name in SECRET}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def rendered(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
