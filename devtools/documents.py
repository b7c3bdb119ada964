"""Documents derived from the code: `python -m devtools.documents` writes them, `--check` reports which are not
current.

Tables are in Markdown, each between two marks of cog (https://cog.readthedocs.io); the first mark names the function
here that makes it.
The JSON Schemas and the chart's files are whole files.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from cogapp import Cog

from deploy.chart import documents as chart
from deploy.chart.values import read_values
from processor.api.openapi import describe
from processor.cli.commands import DEVELOPMENT
from processor.cli.main import app
from processor.config.settings import Settings
from processor.telemetry.metrics import Metrics
from topics import limits
from topics.json_text import MAX_NESTING
from topics.records import STATUS_BY_REASON, Reason
from topics.wire import json_schemas

ROOT = Path(__file__).parents[1]
TABLES = (
    "docs/operations/runbook.md",
    "docs/reference/cli.md",
    "docs/reference/http.md",
    "docs/reference/limits.md",
    "docs/reference/metrics.md",
    "docs/reference/records.md",
    "docs/reference/settings.md",
    "helm/tokenstream/README.md",
)


def settings() -> str:
    rows = ((f"`{row.name}`", row.default, row.meaning) for row in Settings.describe())
    return _table(("name", "default", "meaning"), rows)


def chart_values() -> str:
    rows = ((f"`{value.name}`", f"`{json.dumps(value.default)}`", value.description) for value in read_values())
    return _table(("value", "default", "meaning"), rows)


def metrics() -> str:
    return _table(("name", "type", "labels", "meaning"), _metrics())


def _metrics() -> Iterator[tuple[str, ...]]:
    made = Metrics()
    for gauge in made.of_a_partition:
        gauge.labels("", "")  # without a series the registry does not know the labels
    for family in made.registry.collect():
        if family.name.startswith("tokenstream_"):
            labels = {label: None for sample in family.samples for label in sample.labels if label != "le"}
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield f"`{name}`", family.type, ", ".join(f"`{label}`" for label in labels), family.documentation


OF_API = {"api": True, "streams": False}
OF_GATEWAY = {"api": False, "streams": True}


def api_paths() -> str:
    return _table(("request", "what it does", "statuses"), _paths(describe("", **OF_API)))


def gateway_paths() -> str:
    return _table(("request", "what it does", "statuses"), _paths(describe("", **OF_GATEWAY)))


def _paths(description: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for path, item in description["paths"].items():
        for method in ("get", "delete", "post"):
            if method in item:
                operation = item[method]
                statuses = ", ".join(sorted(operation["responses"]))
                yield f"`{method.upper()} {path}`", f"{operation['summary']}.", statuses


def query_parameters() -> str:
    """Those of paths with a channel: the others take the same ones and `channel`."""
    rows = (row for row in _query_parameters(describe("", **OF_API)) if "{channel}" in row[0])
    return _table(("path", "parameter", "values", "meaning"), rows)


def gateway_parameters() -> str:
    return _table(("path", "parameter", "values", "meaning"), _query_parameters(describe("", **OF_GATEWAY)))


def _query_parameters(description: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for path, item in description["paths"].items():
        for parameter in item.get("get", {}).get("parameters", ()):
            if parameter["in"] == "query":
                values = _values(parameter["schema"])
                yield f"`{path}`", f"`{parameter['name']}`", values, parameter["description"]


def _values(schema: dict[str, Any]) -> str:
    match schema:
        case {"type": "integer", "minimum": least, "maximum": most, "default": default}:
            return f"{least}-{most}, default {default}"
        case {"enum": values, "default": default}:
            return f"{', '.join(f'`{value}`' for value in values)}, default `{default}`"
        case {"type": "array", "items": {"enum": values}}:
            return ", ".join(f"`{value}`" for value in values)
        case {"type": "array", "minItems": least, "maxItems": most}:
            return f"string, {least}-{most} times"
    return "string"


@dataclass(frozen=True, slots=True)
class CommandHelp:
    """One command: its words, and what `--help` prints of it. `options` are pairs of a name and a help text."""

    name: str
    help: str
    usage: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    runs: bool


def command_help() -> list[CommandHelp]:
    """Returns every command that is not hidden, in alphabetical order, without those of the development tools."""
    return sorted(_command_help(typer.main.get_command(app), "tokenstream"), key=lambda command: command.name)


def _command_help(command: Any, name: str) -> Iterator[CommandHelp]:
    subcommands = getattr(command, "commands", {})
    shown = [one for one in command.params if one.name not in _COMMON_OPTIONS]
    named = [(_option(one), getattr(one, "help", None) or "") for one in shown]
    yield CommandHelp(
        name,
        (command.help or "").partition("\n\n")[0].replace("\n", " "),
        tuple(option if one.required else f"[{option}]" for one, (option, _) in zip(shown, named, strict=True)),
        tuple((option, text) for option, text in named if text),
        not subcommands or bool(getattr(command, "invoke_without_command", False)),
    )
    for part, subcommand in subcommands.items():
        if not subcommand.hidden and part not in DEVELOPMENT:
            yield from _command_help(subcommand, f"{name} {part}")


_COMMON_OPTIONS = frozenset({"config", "version", "install_completion", "show_completion"})


def _option(parameter: Any) -> str:
    return str(
        (parameter.name or "").upper() if parameter.param_type_name == "argument" else max(parameter.opts, key=len)
    )


def commands() -> str:
    rows = (
        (f"`{' '.join((one.name, *one.usage))}`", one.help)
        for one in command_help()
        if one.runs and one.name != "tokenstream"
    )
    return _table(("command", "what it does"), rows)


def command_options() -> str:
    rows = ((f"`{one.name}`", f"`{option}`", text) for one in command_help() for option, text in one.options)
    return _table(("command", "option", "meaning"), rows)


def record_limits() -> str:
    safe = "(2^53 - 1)"
    return _table(
        ("what", "limit", "beyond it"),
        [
            (
                "`responseId`",
                f"1-{limits.MAX_RESPONSE_ID_BYTES:,} bytes of UTF-8, no control characters, not `.` or `..`",
                "`too_large`, or `invalid`",
            ),
            (
                "`channel`",
                f"1-{limits.MAX_CHANNEL_BYTES:,} bytes of UTF-8, no control characters, not beginning with `[` or `:`",
                "`invalid`",
            ),
            ("`seq`", f"0-{limits.MAX_SEQ:,} {safe}", "`invalid`"),
            ("`ts`", f"0-{limits.MAX_TIME_MS:,} {safe}, milliseconds since the epoch", "`invalid`"),
            ("`text`", f"{limits.MAX_TEXT_BYTES:,} bytes of UTF-8, after JSON escapes are undone", "`too_large`"),
            ("`kind`", f"1-{limits.MAX_KIND_CHARACTERS} of `a-z`, `0-9`, `_`, `.`, `-`", "`invalid`"),
            ("`part`", f"1-{limits.MAX_PART_CHARACTERS} characters", "`too_large`, or `invalid`"),
            ("parts of a response", f"{limits.MAX_PARTS}", "`too_large`, and a gap"),
            (
                "`metadata`, `usage`, `error`, `partInfo`, each",
                f"{limits.MAX_OBJECT_BYTES:,} bytes as compact JSON, {limits.MAX_OBJECT_DEPTH} levels",
                "`too_large`",
            ),
            ("`reason`", ", ".join(f"`{reason}`" for reason in STATUS_BY_REASON), "`invalid`"),
            ("nesting of the whole value", f"{MAX_NESTING} levels", "`too_large`"),
            ("the whole record", "`max.message.bytes` of the topic", "the broker refuses it"),
        ],
    )


def dead_letter_reasons() -> str:
    return _table(("reason", "meaning"), ((f"`{reason}`", reason.meaning) for reason in Reason))


def dead_letter_remedies() -> str:
    rows = ((f"`{reason}`", reason.meaning, reason.remedy) for reason in Reason)
    return _table(("reason", "what happened", "what to do"), rows)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(heads)
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, *rows)).replace("\n", f"\n|{'---|' * len(heads)}\n", 1)


def whole_files() -> Iterator[tuple[Path, str]]:
    for name, schema in json_schemas().items():
        yield ROOT / "topics" / "schemas" / f"{name}.json", json.dumps(schema, indent=2) + "\n"
    yield from chart.wanted()


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    behind = [(path, text) for path, text in whole_files() if not path.exists() or path.read_text() != text]
    for path, text in behind:
        print(f"{path.relative_to(ROOT)} is {'not up to date' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    tables: int = Cog().main(
        ["cog", "--check" if check else "-r", "--verbosity=1", *(str(ROOT / name) for name in TABLES)]
    )
    return tables or int(check and bool(behind))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
