"""Reads the chart's values from values.yaml: each with its default, and the comment above it.

The lines of the comment from one that begins with `# -- ` on are the description. A line `# @schema {enum: [a, b]}`
has the JSON Schema keywords that the default does not imply.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "helm" / "tokenstream"
_BEGIN = "# -- "
_SCHEMA = "# @schema "


class Undocumented(ValueError):
    """A value without a comment that begins with `# -- `."""


@dataclass(frozen=True, slots=True)
class Value:
    """`path` as people give it to `--set`. `schema` are the JSON Schema keywords of its comment."""

    path: tuple[str, ...]
    default: Any
    description: str
    schema: dict[str, Any]

    @property
    def name(self) -> str:
        return ".".join(self.path)


def read_values(path: Path = CHART / "values.yaml") -> list[Value]:
    """In the order of the file. Raises Undocumented: a value nobody explains is one nobody can use."""
    text = path.read_text()
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise Undocumented(f"{path} holds no values")
    return list(_walk(root, (), text.splitlines(), yaml.safe_load(text)))


def _walk(node: yaml.MappingNode, above: tuple[str, ...], lines: list[str], loaded: Any) -> Iterator[Value]:
    for key, child in node.value:
        path, default = (*above, key.value), loaded[key.value]
        description, schema = _comment(lines, key.start_mark.line)
        section = isinstance(child, yaml.MappingNode) and not child.flow_style and bool(child.value)
        if description and section:
            section = any(_comment(lines, inner.start_mark.line)[0] for inner, _ in child.value)
        if description:
            # What is shown below it, row by row, need not be shown in one.
            yield Value(path, {} if section else default, description, schema)
        elif not section:
            raise Undocumented(f'{".".join(path)} has no comment that begins with "{_BEGIN}"')
        if section:
            yield from _walk(child, path, lines, default)


def _comment(lines: list[str], key_line: int) -> tuple[str, dict[str, Any]]:
    """The description and schema in the comment that ends just above `key_line`."""
    block: list[str] = []
    for line in reversed(lines[:key_line]):
        if not line.strip().startswith("#"):
            break
        block.insert(0, line.strip())
    schema: dict[str, Any] = {}
    words: list[str] = []
    for line in block:
        if line.startswith(_SCHEMA):
            schema |= yaml.safe_load(line.removeprefix(_SCHEMA))
        elif line.startswith(_BEGIN):
            words = [line.removeprefix(_BEGIN)]
        elif words:
            words.append(line.removeprefix("#").strip())
    return " ".join(words), schema
