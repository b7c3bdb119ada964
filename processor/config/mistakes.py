"""Describes wrong values of settings."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from processor.config.sources import PREFIX

_NUMBERS: Final = frozenset(
    {"int_parsing", "int_from_float", "float_parsing", "finite_number"}
    | {"greater_than", "greater_than_equal", "less_than_equal"}
)
"""Mistakes of which the meaning of the setting, which has the unit, explains what to write instead."""


def explain(error: ValidationError, fields: Mapping[str, FieldInfo]) -> list[str]:
    """Returns one line for each wrong value, which is quoted where it cannot be a secret."""
    lines: dict[str, str] = {}
    for mistake in error.errors(include_url=False):
        name = str(mistake["loc"][0])
        field = fields[name]
        reason = _reason(mistake["type"], mistake.get("ctx", {}), mistake["msg"])
        if mistake["type"] != "value_error" and field.repr and "SecretStr" not in str(field.annotation):
            reason += f', not "{mistake["input"]}"'
        if mistake["type"] in _NUMBERS:
            reason += f" ({field.description})"
        lines.setdefault(name, f"{PREFIX}{name.upper()}: {' '.join(reason.split())}")
    return list(lines.values())


def _reason(kind: str, context: Mapping[str, Any], message: str) -> str:
    match kind:
        case "value_error":
            return str(context["error"])
        case "bool_parsing":
            return "must be true or false"
        case "literal_error":
            return f"must be {context['expected'].replace(chr(39), '')}"
        case "int_parsing" | "int_from_float":
            return "must be a whole number"
        case "float_parsing" | "finite_number":
            return "must be a number"
        case "byte_size" | "byte_size_unit":
            return "must be a number of bytes, as 1048576 or 64MiB"
        case "greater_than":
            return f"must be above {context['gt']:g}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case _:
            return message
